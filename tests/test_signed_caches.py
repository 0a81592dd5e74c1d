"""What somebody who can write to the bucket can do, with signing keys and with the pickle codec, and what they cannot."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from s3memo import Cache, DecodeError, EncodeError, IntegrityError, MemoryStore, SettingsError
from s3memo.envelope import unseal
from s3memo.signing import NO_KEYS, SigningKeys
from s3memo.versions import parse_object_key

KEY, NEXT, FOREIGN = "k" * 32, "n" * 32, "f" * 32


@dataclass
class Point:
    """A class that only pickle stores."""

    x: int
    y: int


class Trap:
    """Shows whether it was unpickled."""

    sprung = 0

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return Trap.spring, ()

    @staticmethod
    def spring() -> None:
        Trap.sprung += 1


class Program:
    """One program's function over a store that programs share; `runs` counts how often it computed."""

    def __init__(self, store: MemoryStore, result: Any = None, **options: Any) -> None:
        self.cache = Cache(store, memory=None, **options)
        self.runs = 0

        def function(number: int, secret: str = "hunter2") -> Any:
            self.runs += 1
            return [number] if result is None else result

        self.function = self.cache.cached(name="jobs.f", version=1, ignore=("secret",))(function)

    def call(self, number: int = 1) -> Any:
        return self.function(number)

    def errors(self) -> int:
        return self.function.cache_info().errors


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def results(store: MemoryStore) -> list[str]:
    return [info.key for info in store.list("")]


def recorded_in(store: MemoryStore) -> Mapping[str, str]:
    [object_key] = results(store)
    return unseal(store.get(object_key), object_key="", keys=NO_KEYS).header.arguments


def assert_computes_anew(program: Program, error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    """The object is a visible miss, once: what is computed replaces it."""
    caplog.clear()
    value = program.call()
    assert program.runs == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert error.__name__ in caplog.text
    assert "a stored result is unreadable and is computed anew" in caplog.text
    assert program.call() == value
    assert program.runs == 1
    assert len(results(program.cache.store)) == 1  # type: ignore[arg-type]


def test_who_shares_a_key_shares_results(store: MemoryStore) -> None:
    Program(store, signing_keys=[KEY]).call()
    for keys in ([KEY], [KEY.encode()], (NEXT, KEY)):
        reader = Program(store, signing_keys=keys)
        assert reader.call() == [1]
        assert reader.runs == reader.errors() == 0


def test_a_key_is_rotated_without_a_miss(store: MemoryStore) -> None:
    Program(store, signing_keys=[KEY]).call()
    assert Program(store, signing_keys=[KEY, NEXT]).call(2) == [2]  # first, all learn to read what the new one signs
    newer = Program(store, signing_keys=[NEXT, KEY])  # then it signs
    assert newer.call(3) == [3]
    assert Program(store, signing_keys=[KEY, NEXT]).call(3) == [3]
    last = Program(store, signing_keys=[NEXT])  # and when what the old one signed has expired, that goes
    assert last.call(3) == [3]
    assert last.runs == 0


@pytest.mark.parametrize("writer", [{}, {"signing_keys": [FOREIGN]}], ids=["unsigned", "foreign key"])
def test_what_no_key_of_ours_signed_is_computed_anew(
    store: MemoryStore, writer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    Program(store, ["forged"], **writer).call()
    assert_computes_anew(Program(store, signing_keys=[KEY]), IntegrityError, caplog)


def test_an_altered_object_is_computed_anew(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    Program(store, signing_keys=[KEY]).call()
    [object_key] = results(store)
    altered = bytearray(store.get(object_key))
    altered[-1] ^= 1
    store.put(object_key, altered)
    assert_computes_anew(Program(store, signing_keys=[KEY]), IntegrityError, caplog)


def test_an_object_that_was_copied_to_another_call_is_computed_anew(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Program(store, signing_keys=[KEY])
    writer.call(2)
    [source] = results(store)
    target = writer.function.cache_key(1).prefix + source.rpartition("/")[2]
    store.put(target, store.get(source))
    store.delete([source])
    assert_computes_anew(Program(store, signing_keys=[KEY]), IntegrityError, caplog)


def test_an_object_that_was_renamed_to_look_newer_is_computed_anew(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    Program(store, signing_keys=[KEY]).call()
    [source] = results(store)
    found = parse_object_key(source)
    assert found is not None
    prefix, version = found
    data = store.get(source)
    store.delete([source])
    store.put(prefix + source.rpartition("/")[2].replace(f"_{version.nonce}.", "_00000000."), data)
    assert_computes_anew(Program(store, signing_keys=[KEY]), IntegrityError, caplog)


def test_a_tombstone_takes_no_key_and_costs_no_more_than_a_computation(store: MemoryStore) -> None:
    Program(store, signing_keys=[KEY]).call()
    Program(store).function.cache_invalidate(1)
    reader = Program(store, signing_keys=[KEY])
    assert reader.call() == reader.call() == [1]
    assert reader.runs == 1
    assert reader.errors() == 0


def test_what_was_deleted_is_computed_anew(store: MemoryStore) -> None:
    Program(store, signing_keys=[KEY]).call()
    store.delete(results(store))
    reader = Program(store, signing_keys=[KEY])
    assert reader.call() == reader.call() == [1]
    assert reader.runs == 1


def test_an_old_result_that_is_put_back_under_its_own_name_is_served_and_so_is_one_from_another_bucket(
    store: MemoryStore,
) -> None:
    writer = Program(store, ["old"], signing_keys=[KEY])
    writer.call()
    [object_key] = results(store)
    data = store.get(object_key)
    writer.function.cache_invalidate(1)
    store.delete(results(store))
    other = MemoryStore()
    for bucket in (store, other):
        bucket.put(object_key, data)
        assert Program(bucket, ["new"], signing_keys=[KEY]).call() == ["old"]


def test_who_has_no_keys_reads_what_is_signed_as_if_it_were_not(store: MemoryStore) -> None:
    Program(store, signing_keys=[KEY]).call()
    reader = Program(store)
    assert reader.call() == [1]
    assert reader.runs == 0


def test_keys_are_told_nowhere(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    Program(store).call()
    with caplog.at_level(logging.DEBUG):
        program = Program(store, signing_keys=[KEY])
        program.call()
    with pytest.raises(SettingsError) as caught:
        Cache(store, signing_keys=KEY)
    for text in (caplog.text, repr(program.cache), repr(vars(program.cache)), str(caught.value)):
        assert KEY not in text


def test_keys_come_from_the_environment_and_from_configure() -> None:
    script = (
        "import s3memo\n{configure}\nstore = s3memo.MemoryStore()\n"
        "f = s3memo.Cache(store).cached(name='f', version=1)(lambda x: [x])\nf(1)\n"
        "[info] = store.list('')\nprint(store.get(info.key)[7])\n"
    )
    for configure, environment, variant in (
        ("", {}, "0"),
        ("", {"S3MEMO_SIGNING_KEYS": KEY}, "1"),
        (f"s3memo.configure(signing_keys=[{KEY!r}])", {}, "1"),
        ("s3memo.configure(signing_keys=[])", {"S3MEMO_SIGNING_KEYS": KEY}, "0"),
    ):
        child = subprocess.run(
            [sys.executable, "-c", script.format(configure=configure)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout.split() == [variant], child.stderr


def test_pickle_demands_keys(store: MemoryStore) -> None:
    with pytest.raises(SettingsError, match='codec="pickle" needs signing_keys=, or S3MEMO_SIGNING_KEYS'):
        Cache(store, codec="pickle")
    with pytest.raises(SettingsError, match="codec='json' must be 'msgpack' or 'pickle'"):
        Cache(store, codec="json", signing_keys=[KEY])  # type: ignore[arg-type]


def test_pickle_stores_what_msgpack_cannot_and_gives_each_caller_its_own(store: MemoryStore) -> None:
    cache = Cache(store, codec="pickle", signing_keys=[KEY])
    function = cache.cached(name="f", version=1)(lambda x: Point(x, [x]))  # type: ignore[arg-type]
    first = function(1)
    held, again = function(1), function(1)
    assert first == held == again == Point(1, [1])  # type: ignore[arg-type]
    assert len({id(value) for value in (first, held, again)}) == 3
    [info] = store.list("")
    header = unseal(store.get(info.key), object_key="", keys=NO_KEYS, codecs={"pickle"}).header
    assert header.codec == "pickle"
    assert function.cache_info().memory_hits == 2


def test_pickle_is_not_loaded_by_who_did_not_ask_for_it(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    for keys in ([KEY], []):
        Program(store, Trap(), codec="pickle", signing_keys=[KEY]).function.cache_refresh(1)
        assert_computes_anew(Program(store, signing_keys=keys), DecodeError, caplog)
        assert "written with the codec 'pickle', and this cache reads msgpack" in caplog.text
    assert Trap.sprung == 0


@pytest.mark.parametrize("attack", ["foreign key", "moved", "altered", "unsigned"])
def test_pickle_is_not_loaded_unless_a_key_of_ours_signed_it_under_that_name(
    store: MemoryStore, attack: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [FOREIGN] if attack == "foreign key" else [KEY]
    number = 2 if attack == "moved" else 1
    writer = Program(store, Trap(), codec="pickle", signing_keys=keys)
    writer.call(number)
    [source] = results(store)
    data = bytearray(store.get(source))
    store.delete([source])
    if attack == "altered":
        data[-1] ^= 1
    if attack == "unsigned":
        data[7:48] = b"\x00" + data[8:16]
    store.put(writer.function.cache_key(1).prefix + source.rpartition("/")[2], data)
    assert_computes_anew(Program(store, codec="pickle", signing_keys=[KEY]), IntegrityError, caplog)
    assert Trap.sprung == 0


def test_a_cache_of_pickles_reads_what_msgpack_wrote(store: MemoryStore) -> None:
    Program(store, signing_keys=[KEY]).call()
    reader = Program(store, codec="pickle", signing_keys=[KEY])
    assert reader.call() == [1]
    assert reader.runs == 0


def test_what_cannot_be_pickled_is_returned_uncached_with_a_warning(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    lock = threading.Lock()
    program = Program(store, [lock], codec="pickle", signing_keys=[KEY])
    assert program.call() == [lock]
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        "EncodeError: the result, of type list, holds what cannot be pickled: cannot pickle '_thread.lock'" in warning
    )
    assert not results(store)
    with pytest.raises(EncodeError):
        program.function.cache_set(lambda: None, 1)


def test_a_pickle_of_what_is_no_more_is_computed_anew(
    store: MemoryStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Program(store, Point(1, 2), codec="pickle", signing_keys=[KEY]).call()
    monkeypatch.delattr(sys.modules[__name__], "Point")
    reader = Program(store, codec="pickle", signing_keys=[KEY])
    assert_computes_anew(reader, DecodeError, caplog)
    assert "the pickled result cannot be loaded: AttributeError" in caplog.text


def test_pickles_are_of_a_protocol_that_every_python_here_reads(store: MemoryStore) -> None:
    Program(store, Point(1, 2), codec="pickle", signing_keys=[KEY]).call()
    [object_key] = results(store)
    sealed = unseal(store.get(object_key), object_key=object_key, keys=SigningKeys([KEY]), codecs={"pickle"})
    assert bytes(sealed.payload()[:2]) == pickle.PROTO + b"\x05"


def test_arguments_are_recorded_where_asked_and_ignored_ones_never(store: MemoryStore) -> None:
    for recorded in (False, True):
        function = Program(store, record_arguments=recorded).function
        function.cache_refresh(7)
        assert recorded_in(store) == ({"number": "7"} if recorded else {})
        function.cache_clear()
        function.cache_set([0], 8)
        assert recorded_in(store) == ({"number": "8"} if recorded else {})
        function.cache_clear()


def test_arguments_are_recorded_as_the_call_began() -> None:
    store = MemoryStore()

    class Drain:
        @Cache(store, record_arguments=True).cached(name="drain", version=1, ignore=("self",))
        def __call__(self, rows: list[int]) -> int:
            rows.clear()
            return 0

    Drain().__call__([1, 2, 3])
    assert recorded_in(store) == {"rows": "list of 3"}
