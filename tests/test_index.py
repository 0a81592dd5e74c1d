"""The index against a plain dict, and walks against what they may cost."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3memo import index
from s3memo.index import Index, Walk
from s3memo.spans import END, Known, Name, Span
from s3memo.versions import Version, base32

PAGE = 10


def version(number: int, *, dead: bool = False) -> str:
    return Version(number, number, None, 0, f"{number:08x}", dead=dead).name


def digest_of(number: int) -> str:
    return base32(random.Random(number).randbytes(20))


def names_of(stored: dict[str, int], foreign: Iterable[str] = ()) -> list[Name]:
    """So many versions of each digest, and what somebody else has put there."""
    ours = [(f"{digest}/{version(number + 1)}", number) for digest, count in stored.items() for number in range(count)]
    return sorted([*ours, *((name, 0) for name in foreign)])


def walk_over(walk: Walk, names: list[Name]) -> list[Span]:
    """Read pages as a store answers them, until the walk is done."""
    spans = []
    while walk.start_after is not None:
        if walk.is_sparse:
            walk.skip()
            continue
        page = [name for name in names if name[0] > walk.start_after][:PAGE]
        spans.append(walk.read(page, seen_at=float(len(spans))))
        assert len(spans) < 1000
    return spans


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "PAGE_SIZE", PAGE)


numbers = st.integers(0, 60)
stores = st.dictionaries(numbers.map(digest_of), st.integers(1, 2 * PAGE + 1), max_size=40)
foreign_names = st.lists(
    st.sampled_from(
        ["README", "~", "0", "v", digest_of(3), f"{digest_of(3)}-x/y", f"{digest_of(5)}/note\n.s3m", "w/é"]
    ),
    unique=True,
)


@given(stores, st.sets(numbers.map(digest_of), min_size=1), foreign_names)
def test_a_walk_shows_every_version_of_what_it_covers(
    stored: dict[str, int], wanted: set[str], foreign: list[str]
) -> None:
    names = names_of(stored, foreign)
    for walk in (Walk(sorted(wanted)), Walk()):
        everything = walk.start_after == ""
        held = Index()
        for span in walk_over(walk, names):
            held.land(span)
        for digest in {*wanted, *stored} if everything else wanted:
            known = held.find(digest)
            assert known is not None or not everything
            if known is not None:
                expected = sorted(version(number + 1) for number in range(stored.get(digest, 0)))
                assert [name for name, _ in known.versions] == expected
                assert sorted(size for _, size in known.versions) == [*range(stored.get(digest, 0))]


@given(
    *(st.integers(1, 300), st.integers(1, 200), st.integers(0, 2**32), st.booleans()),
    st.sampled_from([1, 1, PAGE, 20 * PAGE]),
)
def test_a_walk_takes_no_more_pages_than_digests_nor_than_there_are(
    stored: int, wanted: int, seed: int, clustered: bool, heavy: int
) -> None:
    """And one more where a digest has whole pages of versions, which is then left to be listed by itself."""
    chance = random.Random(seed)
    digests = sorted(base32(chance.randbytes(20)) for _ in range(max(stored, wanted)))
    begin = chance.randrange(len(digests) - wanted + 1)
    chosen = digests[begin : begin + wanted] if clustered else sorted(chance.sample(digests, wanted))
    versions = dict.fromkeys(chance.sample(digests, stored), 1)
    versions[chance.choice(list(versions))] = heavy
    names = names_of(versions)
    walk, pages = Walk(chosen), 0
    held = Index()
    while walk.start_after is not None:
        if walk.is_sparse:
            walk.skip()
            continue
        held.land(walk.read([name for name in names if name[0] > walk.start_after][:PAGE], seen_at=0))
        pages += 1
    left = sum(held.find(digest) is None for digest in chosen)
    assert pages + left <= min(wanted, math.ceil(len(names) / PAGE) + 1) + (heavy >= PAGE)


@given(
    st.lists(st.tuples(st.integers(0, 10**6).map(digest_of), st.integers(1, 4)), max_size=150),
    st.integers(0, 10**6).map(digest_of),
    st.integers(0, 10**6).map(digest_of),
)
@example([(digest_of(number), 1 + number % 40 // 39 * 40) for number in range(400)], digest_of(5), digest_of(6))
def test_a_span_finds_each_digest_wherever_it_lies(stored: list[tuple[str, int]], one: str, other: str) -> None:
    low, high = sorted([one, other])
    names = names_of(dict(stored))
    with patch.object(index, "PAGE_SIZE", len(names) + 1):
        whole = Walk().read(names, seen_at=1.0)
    for span in (whole, whole.part(low, high), whole.part("", high), whole.part(low, END)):
        within = [digest for digest in (*dict(stored), one, other) if span.low <= digest < span.high]
        for digest in within:
            expected = [(name[33:], size) for name, size in names if name.startswith(digest)]
            assert span.find(digest).versions == tuple(expected)


@given(stores, st.one_of(st.none(), st.sets(numbers.map(digest_of), min_size=20)))
def test_shards_cover_together_what_one_walk_would(stored: dict[str, int], wanted: set[str] | None) -> None:
    names = names_of(stored)
    walk = Walk(None if wanted is None else sorted(wanted))
    held = Index()
    held.land(walk.read(names[:PAGE] if wanted is None else [n for n in names if n[0] > min(wanted)][:PAGE], seen_at=0))
    with patch.object(index, "_WIDE", 2), patch.object(index, "_SHARD", 1):
        shards = walk.shards()
    for shard in reversed(shards):
        for span in walk_over(shard, names):
            held.land(span)
    for digest in stored if wanted is None else wanted:
        known = held.find(digest)
        assert wanted is not None or known is not None
        assert known is None or len(known.versions) == stored.get(digest, 0)


def test_wide_walks_are_sharded() -> None:
    names = names_of({digest_of(number): 1 for number in range(20 * PAGE)})
    for wanted in (None, sorted(name[:32] for name, _ in names)):
        walk = Walk(wanted)
        first = walk.read(names[:PAGE], seen_at=0)
        shards = walk.shards()
        assert 2 <= len(shards) <= 8
        spans = [first, *(span for shard in shards for span in walk_over(shard, names))]
        assert len(spans) <= 21 + len(shards)
        assert sum(span.names.count("\n") for span in spans) >= len(names)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), numbers, numbers),
        st.tuples(st.just("answer"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("learn"), numbers, st.booleans()),
    ),
    max_size=40,
)


@given(steps)
def test_an_index_knows_of_each_digest_what_was_asked_for_last(todo: list[tuple[str, int, int]]) -> None:
    held, model, asked = Index(), dict[str, tuple[int, Known | None]](), list[tuple[int, str, str]]()
    all_digests = sorted(digest_of(number) for number in range(61))
    for moment, (what, one, other) in enumerate(todo):
        if what == "ask":
            asked.append((held.ask(), *sorted((digest_of(one), digest_of(other)))))
        elif what == "learn":
            known = Known(((version(moment + 1), 1),), moment) if other else None
            held.learn(digest_of(one), known)
            model[digest_of(one)] = held.ask(), known
        elif one < len(asked):
            number, low, high = asked.pop(one)
            if other:  # a page, else a look at one digest
                shown = {each: Known(((version(moment + 1), 2),), moment) for each in all_digests if low <= each < high}
                lines = "".join(f"{each}/{known.versions[0][0]} 2\n" for each, known in shown.items())
                held.land(Span(low, high, lines, moment, asked=number))
            else:
                shown = {low: Known((), moment)}
                held.learn(low, shown[low], asked=number)
            model |= {each: (number, known) for each, known in shown.items() if model.get(each, (0,))[0] < number}
        for each in all_digests:
            assert held.find(each) == model.get(each, (0, None))[1]
        assert held.size == sum(len(span.names) for span in held.spans())


@given(steps)
def test_what_was_forgotten_for_want_of_room_does_not_come_back_as_it_was_before(
    todo: list[tuple[str, int, int]],
) -> None:
    held, written, asked = Index(max_bytes=300, max_singles=2), dict[str, Known](), list[tuple[int, str, str, float]]()
    for moment, (what, one, other) in enumerate(todo):
        if what == "ask":
            asked.append((held.ask(), *sorted((digest_of(one), digest_of(other))), float(moment)))
        elif what == "learn":
            written[digest_of(one)] = Known(((version(moment + 1), 1),), moment)
            held.learn(digest_of(one), written[digest_of(one)])
        elif one < len(asked):
            number, low, high, since = asked.pop(one)
            shown = {each: Known(((version(1), 2),), since) for each in map(digest_of, range(61)) if low <= each < high}
            lines = "".join(f"{each}/{version(1)} 2\n" for each in sorted(shown))
            held.land(Span(low, high, lines, since, asked=number))
        for digest, known in written.items():
            found = held.find(digest)
            assert found is None or found.seen_at >= known.seen_at or found.versions == known.versions


def test_a_digest_cut_by_a_page_is_as_old_as_its_first_part() -> None:
    names = names_of({digest_of(1): PAGE + 5})
    walk = Walk()
    walk.read(names[:PAGE], seen_at=10.0, asked=1)
    span = walk.read(names[PAGE:], seen_at=20.0, asked=2)
    assert (len(span.find(digest_of(1)).versions), span.seen_at, span.asked) == (PAGE + 5, 10.0, 1)


def test_what_is_learned_keeps_the_trust_of_what_was_known() -> None:
    held = Index()
    held.land(Span("", END, "", 5.0, trusted_until=100.0))
    held.learn(digest_of(1), Known(((version(1), 1),), 7.0))
    assert held.find(digest_of(1)) == Known(((version(1), 1),), 7.0, 100.0)
    held.learn(digest_of(1), None)
    assert held.find(digest_of(1)) is None
    held.learn(digest_of(1), Known((), 8.0))
    assert held.find(digest_of(1)) == Known((), 8.0, 100.0)


def test_an_index_is_bounded_and_what_was_seen_first_goes_first() -> None:
    names = names_of({digest_of(number): 1 for number in range(100)})
    held = Index(max_bytes=3000, max_singles=5)
    for span in walk_over(Walk(), names):
        held.land(span)
        assert held.size <= 3000
    assert held.find(names[0][0][:32]) is None
    assert held.find(names[-1][0][:32]) is not None
    for number in range(20):
        held.learn(digest_of(1000 + number), Known((), 1.0))
    left = [number for number in range(20) if held.find(digest_of(1000 + number)) == Known((), 1.0)]
    assert left == [*range(20 - len(left), 20)]
    assert 1 <= len(left) <= 5


def test_single_digests_for_which_there_is_no_room_are_written_into_their_spans() -> None:
    held = Index(max_singles=10)
    names = names_of({digest_of(number): 1 for number in range(0, 200, 2)})
    held.land(Span("", END, "".join(f"{name} {size}\n" for name, size in names), 0.0, asked=held.ask()))
    for number in range(200):
        held.learn(digest_of(number), Known(((version(9), number),), 1.0) if number % 5 else None)
    for number in range(200):
        found = held.find(digest_of(number))
        assert (found and found.versions) == (((version(9), number),) if number % 5 else None)
    assert held.size == sum(len(span.names) for span in held.spans())


def test_an_index_in_too_many_pieces_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_MAX_SPANS", 20)
    held = Index(max_singles=4)
    held.land(Span("", END, "", 0.0, asked=held.ask()))
    late = held.ask()
    for number in range(100):
        held.learn(digest_of(number), None)
        assert len(held.spans()) <= 20
    held.land(Span("", END, "", 0.0, asked=late))
    assert held.find(digest_of(1)) is None, "what was asked for before may be older than what was forgotten"


def test_a_page_is_wanted_after_eight_single_listings_and_again_when_its_names_no_longer_count() -> None:
    held = Index()

    def lists_until_page(now: float) -> int:
        for count in range(1000):
            if held.wants_page(now, 60.0):
                return count
            held.count_single()
        return -1

    assert lists_until_page(0.0) == 8
    held.count_page(Span("", END, "", 0.0))
    assert lists_until_page(59.0) == -1  # it shows all there is
    assert lists_until_page(60.0) == 0
    held.count_page(Span("", "8" * 32, "", 60.0))  # a quarter
    assert lists_until_page(60.0) == 31
