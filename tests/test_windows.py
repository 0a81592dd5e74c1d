"""The bookkeeping of batches, whatever the order in which calls end."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from s3memo.calls import Call
from s3memo.flight import Outcome
from s3memo.versions import Key
from s3memo.windows import Board, Item, Progress

nothing: Any = None


def item_of(digest: str | None) -> Item:
    """A call with that key; None: one that failed before it had a key."""
    if digest is None:
        return Item(error=ValueError())
    return Item(call=Call(nothing, Key("f", "0", digest), nothing, nothing, nothing))


@given(
    st.lists(st.sampled_from([None, *"abcdefgh"]), max_size=40),
    st.booleans(),
    st.integers(1, 6),
    st.data(),
)
def test_every_call_goes_out_once_of_one_key_one_runs_and_no_more_than_allowed_have_begun(
    digests: list[str | None], ordered: bool, most: int, data: st.DataObject
) -> None:
    board = Board(ordered=ordered, most=most)
    items = [item_of(digest) for digest in digests]
    left, running, begun, out = [*items], list[Item](), set[Item](), list[Item]()
    while left or not board.is_empty:
        steps = [name for name, may in (("plan", left), ("start", board.can_start), ("end", running)) if may]
        step = data.draw(st.sampled_from(steps)) if steps else "take"
        if step == "plan":
            size = data.draw(st.integers(1, len(left)))
            board.plan(left[:size])
            del left[:size]
        elif step == "start":
            item = board.start()
            if item is not None:
                running.append(item)
                assert [other.key for other in running].count(item.key) == 1
        elif step == "end":
            item = running.pop(data.draw(st.integers(0, len(running) - 1)))
            item.outcome = Outcome(1)
            for other in board.end(item):
                assert other.key == item.key
                if data.draw(st.booleans()):
                    other.outcome = Outcome(1)
                    board.settle(other)
                else:
                    board.again(other)
        assert board.running == len(running)
        while (item := board.take()) is not None:
            assert item.has_landed
            out.append(item)
        begun = {item for item in items if item.has_landed and item.error is None} - {*out}
        assert len(begun) + len(running) <= most
    assert sorted(map(id, out)) == sorted(map(id, items))
    if ordered:
        assert out == items


def test_progress_counts_what_was_stored_computed_and_failed() -> None:
    progress = Progress(total=3)
    for outcome in (Outcome(1, seconds=2.0, is_hit=True), Outcome(1, seconds=3.0), None):
        progress.count(Item(outcome=outcome))
    assert progress == Progress(3, 3, hits=1, computed=1, failed=1, seconds_saved=2.0)
