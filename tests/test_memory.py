from __future__ import annotations

import contextlib
import gc
import math
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from types import FrameType
from typing import Any

import cachetools
import pytest

from s3memo import codec, memory
from s3memo.codec import NO_CLASSES, Classes
from s3memo.envelope import Envelope, seal
from s3memo.errors import SettingsError
from s3memo.events import Recorder, Tally
from s3memo.memory import Held, Memory, MemoryTier
from s3memo.quick import Cell
from s3memo.signing import NO_KEYS
from s3memo.versions import Key, Listing, Version, base32
from tests.measuring import calls

RECORDER = Recorder("f")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(name: str) -> Key:
    return Key("f", "t", name)


def sealed(value: Any, classes: Classes = NO_CLASSES) -> Envelope:
    fields: dict[str, Any] = {"created": 1, "ttl": None, "elapsed": 0, "function": "f"}
    return seal(codec.encode(value, classes), object_key="", keys=NO_KEYS, **fields)


def held(value: Any, order: int = 1, classes: Classes = NO_CLASSES, most: int = sys.maxsize) -> Held:
    version = Version(order, order, None, 0, "00000000")
    return Held.of(version, value, sealed(value, classes), confirmed=0.0, classes=classes, most=most)


def test_a_newer_version_stays() -> None:
    memory = Memory(MemoryTier())
    memory.put(key("a"), held("new", 2), lifetime=10, recorder=RECORDER)
    memory.put(key("a"), held("old", 1), lifetime=10, recorder=RECORDER)
    found = memory.slot(key("a"))
    assert found is not None
    assert found.held.load() == "new"


def test_what_has_expired_makes_room() -> None:
    clock = Clock()
    memory = Memory(MemoryTier(max_entries=2), timer=clock)
    memory.put(key("brief"), held(1), lifetime=1, recorder=RECORDER)
    memory.put(key("long"), held(2), lifetime=100, recorder=RECORDER)
    clock.now = 2
    memory.put(key("other"), held(3), lifetime=100, recorder=RECORDER)
    assert memory.slot(key("brief")) is None
    assert memory.slot(key("long")) is not None


def test_the_least_recently_used_goes_first() -> None:
    memory = Memory(MemoryTier(max_entries=2))
    for name in "ab":
        memory.put(key(name), held(name), lifetime=10, recorder=RECORDER)
    memory.slot(key("a"))
    memory.put(key("c"), held("c"), lifetime=10, recorder=RECORDER)
    assert [memory.slot(key(name)) is not None for name in "abc"] == [True, False, True]


def test_what_is_larger_than_the_tier_is_not_held_and_evicts_nobody() -> None:
    memory = Memory(MemoryTier(max_bytes=2000))
    memory.put(key("small"), held("x"), lifetime=10, recorder=RECORDER)
    memory.put(key("large"), held("x" * 5000), lifetime=10, recorder=RECORDER)
    assert memory.slot(key("small")) is not None
    assert memory.slot(key("large")) is None


def test_what_is_held_weighs_what_it_takes_here() -> None:
    text = "x" * 100_000
    assert held([text]).weight < 2000, "a mutable value is held as its object, which is compressed"
    assert held(text).weight > 100_000, "an immutable one is held itself"
    assert held(text).size < 2000


@dataclass(frozen=True)
class Secretive:
    x: int

    def __sizeof__(self) -> int:
        raise RuntimeError("nobody asks")


def test_no_class_is_asked_how_large_its_instances_are() -> None:
    classes = Classes({"Secretive": Secretive})
    for value in (Secretive(1), (Secretive(1), Secretive(2))):
        weighed = held(value, classes=classes)
        assert weighed.is_shared
        assert 0 < weighed.room < 1000


MANY = 10_000


@pytest.mark.parametrize(
    ("value", "most"),
    [
        (tuple(range(MANY)), sys.maxsize),
        ((*range(MANY), "x", None), sys.maxsize),
        (frozenset(range(MANY)), sys.maxsize),
        ((tuple(map(str, range(MANY))),) * 100, sys.maxsize),
        (tuple((number, str(number)) for number in range(MANY)), 1000),
        (tuple(map(Decimal, range(MANY))), 1000),
    ],
    ids=["ints", "mixed", "frozenset", "the same many times", "pairs and a small tier", "decimals and a small tier"],
)
def test_a_large_value_is_weighed_without_a_step_for_each_part(value: Any, most: int) -> None:
    assert calls(lambda: memory._room(value, most)) < MANY / 20
    assert memory._room(value, most) > min(most, sys.getsizeof(value))


def test_what_is_in_several_places_is_there_once() -> None:
    part = tuple(range(1000, 2000))
    shared, apart = (part,) * 100, tuple(tuple(range(1000, 2000)) for _ in range(100))
    assert memory._room(apart, sys.maxsize) > 50 * memory._room(shared, sys.maxsize)


def test_a_mutable_value_cannot_be_reached_through_memory() -> None:
    mutable = held([1])
    mutable.load().append(2)
    assert mutable.load() == [1]
    immutable = held((1, "x"))
    assert immutable.load() is immutable.load()


def test_keys_are_discarded_and_counted_by_what_they_belong_to() -> None:
    memory = Memory(MemoryTier())
    for name in "abc":
        memory.put(key(name), held(name), lifetime=10, recorder=RECORDER)
    memory.discard(key("a"))
    memory.discard(key("unknown"))
    assert memory.count(lambda other: other.digest > "a") == 2
    memory.discard_all(lambda other: other.digest == "b")
    assert memory.count(lambda _: True) == 1


@pytest.mark.parametrize(
    "options", [{"max_bytes": -1}, {"max_entries": 1.5}, {"max_entries": True}, {"revalidate_after": "soon"}]
)
def test_a_tier_of_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        MemoryTier(**options)


def test_what_has_expired_is_given_up_as_soon_as_its_key_is_forgotten() -> None:
    clock = Clock()
    memory = Memory(MemoryTier(), timer=clock)
    memory.put(key("a"), held(1), lifetime=1, recorder=RECORDER)
    slot, cell = memory.slot(key("a")), Cell()
    assert slot is not None
    slot.add_cell(cell)
    cell.lease = 1, math.inf, Tally()
    clock.now = 2
    memory.discard(key("a"))
    assert cell.lease[:2] == (None, -math.inf)


def use(memory: Memory, values: dict[str, Held]) -> None:
    """Do all that can be done to a memory, with what it holds and with what it does not."""
    for name in "abb":
        memory.put(key(name), values[name], lifetime=10, recorder=RECORDER)
    memory.slot(key("b"))
    memory.discard_outdated(key("b"), Listing((Version(3, 3, None, 0, "00000000"),)))
    memory.discard(key("a"))
    memory.put(key("c"), values["c"], lifetime=10, recorder=RECORDER)
    memory.discard_all(lambda _: True)


def test_an_interruption_leaves_the_books_of_memory_in_order() -> None:
    number = instructions = 0
    values = {name: held(name) for name in "abc"}

    def step(_frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        nonlocal instructions
        if event == "opcode":
            instructions += 1
            if instructions == number:
                raise KeyboardInterrupt
        return step

    def traced(frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != cachetools.__file__:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return step

    def interrupt_everywhere() -> None:
        nonlocal number, instructions
        while instructions >= number:
            number, instructions = number + 1, 0
            memory = Memory(MemoryTier(max_entries=1))
            sys.settrace(traced)
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    use(memory, values)
            finally:
                sys.settrace(None)
            use(memory, values)
            assert memory.count(lambda _: True) == memory._slots.currsize == 0

    with ThreadPoolExecutor(1) as pool:  # to interrupt an except clause leaves its thread with that for a context
        pool.submit(interrupt_everywhere).result()
    assert number > 500


def growth(make: Callable[[int], Any], count: int = 2000) -> tuple[float, float]:
    """Return what an entry makes the process grow by, and what the tier says that it does, in bytes."""
    memory = Memory(MemoryTier())

    def put(number: int) -> None:
        digest, order = base32(number.to_bytes(20, "big")), 10**15 + number
        value = held(make(number), order)
        memory.put(Key("f", "t", digest), value, lifetime=1000.0 + number, recorder=RECORDER)
        assert value.version.name

    put(0)
    gc.collect()
    tracemalloc.start()
    try:
        before, said = tracemalloc.get_traced_memory()[0], memory._slots.currsize
        for number in range(1000, 1000 + count):
            put(number)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / count, (memory._slots.currsize - said) / count
    finally:
        tracemalloc.stop()


KNOWN = 170
"""Bytes that the index, which is not part of the tier, needs for an entry: its name, packed, and room to grow."""


@pytest.mark.parametrize(
    "make",
    [
        lambda number: number * 1000,
        lambda number: f"number {number}",
        lambda number: (number / 3, str(number), (number / 7, number / 9)),
        lambda number: {"number": number, "words": [f"word {number + n:05d}" for n in range(80)]},
        lambda number: b"x" * 10_000 + b"%d" % number,
    ],
    ids=["int", "short str", "tuple", "dict of 1 KiB", "10 kB of bytes"],
)
def test_the_tier_counts_what_an_entry_really_takes(make: Callable[[int], Any]) -> None:
    takes, said = growth(make)
    assert said == pytest.approx(takes + KNOWN, rel=0.2)
