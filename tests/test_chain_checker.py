"""The judge of the state protocol, on histories that are known to be good and to be bad."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.chain import (
    BrokenChainError,
    DoubledUpdateError,
    Event,
    GapError,
    LostUpdateError,
    OrderError,
    PhantomUpdateError,
    StaleReadError,
    Written,
    check,
)


def done(name: str, begun: float, ended: float, kind: Any = "update", got: str | None = None) -> Event:
    return Event(name, kind, begun, ended, "done", got)


def chain(*writers: str | None) -> dict[int, Written]:
    """Return versions by these writers, each made of the one before; None is a tombstone."""
    before = (None, *writers)
    return {
        number: Written(by, made_of if by else None)
        for number, (by, made_of) in enumerate(zip(writers, before, strict=False), start=1)
    }


GOOD: dict[str, tuple[dict[int, Written], list[Event]]] = {
    "nothing happened": ({}, []),
    "one after the other": (chain("a", "b"), [done("a", 1, 2), done("b", 3, 4)]),
    "at the same time, either way": (chain("b", "a"), [done("a", 1, 4), done("b", 2, 3)]),
    "a set is made of nothing": (
        {1: Written("a"), 2: Written("b")},
        [done("a", 1, 2), done("b", 3, 4, "set")],
    ),
    "in doubt, and it took effect": (chain("a", "b"), [Event("a", "update", 1), done("b", 3, 4)]),
    "in doubt, and it did not": (chain("b"), [Event("a", "update", 1), done("b", 3, 4)]),
    "in doubt, and it took effect late": (chain("b", "a"), [Event("a", "update", 1), done("b", 3, 4)]),
    "refused": (chain("b"), [Event("a", "update", 1, 2, "refused"), done("b", 3, 4)]),
    "cleared": (
        chain("a", None, "b"),
        [done("a", 1, 2), done("c", 3, 4, "clear"), done("g", 4.5, 5, "get"), done("b", 6, 7)],
    ),
    "two clears share a tombstone": (chain(None), [done("c", 1, 4, "clear"), done("d", 2, 3, "clear")]),
    "read before, during and after": (
        chain("a", "b"),
        [
            done("a", 1, 2),
            done("b", 3, 6),
            done("g", 2.5, 2.8, "get", "a"),
            done("h", 4, 5, "get", "b"),
            done("i", 7, 8, "get", "b"),
        ],
    ),
    "read nothing where nothing was yet": (chain("a"), [done("g", 0, 3, "get"), done("a", 1, 2)]),
}

BAD: dict[str, tuple[type[AssertionError], dict[int, Written], list[Event]]] = {
    "a number is left out": (GapError, {1: Written("a"), 3: Written("b", "a")}, [done("a", 1, 2), done("b", 3, 4)]),
    "nobody wrote it": (GapError, chain("a", "x"), [done("a", 1, 2)]),
    "lost": (LostUpdateError, chain("a"), [done("a", 1, 2), done("b", 3, 4)]),
    "overwritten by one made of the same": (
        BrokenChainError,
        {1: Written("a"), 2: Written("b", "a"), 3: Written("c", "a")},
        [done("a", 1, 2), done("b", 3, 5), done("c", 3, 6)],
    ),
    "applied twice": (DoubledUpdateError, chain("a", "a"), [done("a", 1, 2)]),
    "in doubt and applied twice": (
        DoubledUpdateError,
        chain("a", "b", "a"),
        [Event("a", "update", 1), done("b", 2, 3)],
    ),
    "refused and applied": (PhantomUpdateError, chain("a"), [Event("a", "update", 1, 2, "refused")]),
    "in the wrong order": (OrderError, chain("b", "a"), [done("a", 1, 2), done("b", 3, 4)]),
    "in doubt, and before one that had ended": (
        OrderError,
        chain("b", "a"),
        [done("a", 1, 2), Event("b", "update", 3)],
    ),
    "an old value is read": (
        StaleReadError,
        chain("a", "b"),
        [done("a", 1, 2), done("b", 3, 4), done("g", 5, 6, "get", "a")],
    ),
    "a value is read before it was written": (
        StaleReadError,
        chain("a"),
        [done("g", 1, 2, "get", "a"), done("a", 3, 4)],
    ),
    "a value is read that never was": (StaleReadError, {}, [Event("a", "update", 1), done("g", 2, 3, "get", "a")]),
    "nothing is read": (StaleReadError, chain("a"), [done("a", 1, 2), done("g", 3, 4, "get")]),
    "an old tombstone is read": (StaleReadError, chain(None, "a"), [done("a", 1, 2), done("g", 3, 4, "get")]),
    "a clear left nothing": (LostUpdateError, chain("a"), [done("a", 1, 2), done("c", 3, 4, "clear")]),
}


@pytest.mark.parametrize("history", GOOD)
def test_it_accepts(history: str) -> None:
    versions, events = GOOD[history]
    check(versions, events)


@pytest.mark.parametrize("history", BAD)
def test_it_rejects(history: str) -> None:
    error, versions, events = BAD[history]
    with pytest.raises(error):
        check(versions, events)


def test_where_reads_may_be_old_only_what_never_was_is_rejected() -> None:
    old, never = BAD["an old value is read"], BAD["a value is read that never was"]
    check(old[1], old[2], reads_are_fresh=False)
    with pytest.raises(StaleReadError):
        check(never[1], never[2], reads_are_fresh=False)
