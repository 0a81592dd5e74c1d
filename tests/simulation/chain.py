"""The promise of a state, judged from what happened: sequence numbers are the witness, so no search is needed.

Each value names the operation that wrote it and the one whose value it was made of. The versions that ever were, in the
order of their numbers, are then the one order in which all writes took effect, and every operation must fit it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["get", "set", "update", "clear"]
Outcome = Literal["done", "refused", "maybe"]


class GapError(AssertionError):
    """A number was left out, or a version is of nobody."""


class LostUpdateError(AssertionError):
    """An acknowledged write is nowhere."""


class DoubledUpdateError(AssertionError):
    """A write took effect twice."""


class PhantomUpdateError(AssertionError):
    """A write took effect that its writer was told had not."""


class BrokenChainError(AssertionError):
    """An update was made of another value than the one it replaced."""


class OrderError(AssertionError):
    """A write that began after another's end took effect before it."""


class StaleReadError(AssertionError):
    """A reader got a value older than one that was acknowledged before it began, or one that never was."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a version says: who wrote it, and whose value it replaced by its own account; None: nobody's."""

    by: str | None
    made_of: str | None = None


@dataclass(eq=False)
class Event:
    """One operation; it took effect between two moments if at all. One that is in doubt may do so at any later time."""

    name: str
    kind: Kind
    begun: float
    ended: float = math.inf
    outcome: Outcome = "maybe"
    got: str | None = None
    """By whom the value was that a `get` returned."""


def check(versions: Mapping[int, Written], events: Iterable[Event], *, reads_are_fresh: bool = True) -> None:
    """Raise the error of the first promise that is broken; `versions` are all that ever were, by number."""
    if sorted(versions) != list(range(1, len(versions) + 1)):
        raise GapError(f"the numbers are {sorted(versions)}")
    places: defaultdict[str | None, list[int]] = defaultdict(list)
    for number, written in sorted(versions.items()):
        places[written.by].append(number)
    graves = places.pop(None, [])
    events = sorted(events, key=lambda event: event.begun)
    writes = {event.name: event for event in events if event.kind in {"set", "update"}}
    if places.keys() - writes.keys():
        raise GapError(f"nobody wrote {places.keys() - writes.keys()}")
    for write in writes.values():
        _check_count(write, places[write.name])
        _check_chain(write, places[write.name], versions)
    place_of = {name: numbers[0] for name, numbers in places.items() if name and numbers}
    known = 0  # the highest number that somebody had been told of when an operation began
    told = sorted((write for write in writes.values() if write.outcome == "done"), key=lambda write: write.ended)
    for event in events:
        while told and told[0].ended < event.begun:
            known = max(known, place_of[told.pop(0).name])
        if event.kind in {"set", "update"}:
            if place_of.get(event.name, math.inf) <= known:
                raise OrderError(f"{event.name} is {place_of[event.name]}, and began after {known} was acknowledged")
        elif event.outcome == "done":
            _check_seen(event, known if reads_are_fresh else 0, place_of, graves, writes)


def _check_chain(write: Event, numbers: list[int], versions: Mapping[int, Written]) -> None:
    for number in numbers:
        replaced = versions[number - 1].by if number > 1 else None
        if write.kind == "update" and versions[number].made_of != replaced:
            raise BrokenChainError(f"{number} is made of {versions[number].made_of} and replaced {replaced}")


def _check_count(write: Event, numbers: list[int]) -> None:
    if len(numbers) > 1:
        raise DoubledUpdateError(f"{write.name} is {numbers}")
    if write.outcome == "done" and not numbers:
        raise LostUpdateError(f"{write.name} was acknowledged and is nowhere")
    if write.outcome == "refused" and numbers:
        raise PhantomUpdateError(f"{write.name} was refused and is {numbers}")


def _check_seen(
    event: Event, known: int, place_of: Mapping[str, int], graves: list[int], writes: Mapping[str, Event]
) -> None:
    """Judge a `get`, or a `clear`, which left a tombstone that a reader might see."""
    if event.got is None:
        if (known or event.kind == "clear") and not any(number > known for number in graves):
            raise (LostUpdateError if event.kind == "clear" else StaleReadError)(
                f"{event.name} saw or left no tombstone after {known}, which was acknowledged before it began"
            )
    elif event.got not in place_of or writes[event.got].begun > event.ended:
        raise StaleReadError(f"{event.name} got what {event.got} had not written")
    elif place_of[event.got] < known:
        raise StaleReadError(f"{event.name} got {place_of[event.got]}, and {known} was acknowledged before it began")
