from __future__ import annotations

import dataclasses
import decimal
import enum
import math
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zoneinfo
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.codec import MAX_DEPTH, decode, is_immutable
from s3memo.errors import DecodeError, EncodeError
from tests.measuring import calls
from tests.portraits import encode, portrait, tagged

any_text = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too
fixed_zones = st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.sampled_from(["", "CET", "\udc80"])
) | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
zones = st.none() | st.timezones() | fixed_zones
flags = st.sampled_from([0, re.IGNORECASE, re.MULTILINE | re.DOTALL, re.VERBOSE, re.ASCII])
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**200]),
    st.floats(),
    st.complex_numbers(),
    any_text,
    st.binary(max_size=8),
    st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    st.just(...),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.fractions(),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.timezones(),
    fixed_zones,
    st.uuids(),
    st.builds(UUID, bytes=st.binary(min_size=16, max_size=16), is_safe=st.sampled_from(SafeUUID)),
    st.builds(PurePosixPath, any_text),
    st.builds(PureWindowsPath, any_text),
    st.builds(Path, any_text),
    st.builds(re.compile, st.sampled_from(["", r"a+(?P<x>b)?", "(?i)ä"]), flags),
    st.builds(re.compile, st.sampled_from([b"", rb"[\x80-\xff]"]), st.sampled_from([0, re.LOCALE, re.IGNORECASE])),
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
leaves = st.one_of(
    hashables,
    st.binary(max_size=8).map(bytearray),
    st.sets(hashables, max_size=4),
    st.builds(slice, hashables, hashables, hashables),
    st.just(Decimal("-sNaN123")),
    st.builds(array, st.sampled_from("bhiqQ"), st.lists(st.integers(0, 127), max_size=4)),
    st.builds(array, st.just("d"), st.lists(st.floats(), max_size=4)),
    st.binary(max_size=8).map(memoryview),
    st.binary(max_size=3).map(lambda data: memoryview(bytearray(data * 8)).cast("i")),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.builds(slice, inner, inner),
        st.dictionaries(hashables, inner, max_size=4).map(OrderedDict),
        st.dictionaries(hashables, inner, max_size=4).map(Counter),
        st.builds(
            defaultdict, st.sampled_from([None, int, list, frozenset]), st.dictionaries(any_text, inner, max_size=3)
        ),
        st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(0, 4)),
        st.dictionaries(any_text, inner, max_size=3).map(lambda attributes: SimpleNamespace(**attributes)),
    ),
    max_leaves=12,
)


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    encoded = encode(value)
    assert portrait(decode(encoded)) == portrait(value)
    assert encode(value) == encoded


@given(values)
def test_every_buffer_is_decoded(value: Any) -> None:
    encoded = encode(value)
    assert portrait(decode(bytearray(encoded))) == portrait(decode(memoryview(encoded))) == portrait(value)


@pytest.mark.parametrize(
    "value",
    [
        [1, 1.0, True, "1", b"1", bytearray(b"1")],
        [-0.0, 0.0, math.inf, -math.inf, struct.unpack(">d", b"\x7f\xf8\0\0\0\0\0\x07")[0], 5e-324],
        [complex(-0.0, -0.0), complex(0.0, -0.0), complex(math.nan, math.inf)],
        {1: "int", "1": "str", b"1": "bytes", (1,): "tuple", None: "none", frozenset([1]): "set", 1.5: "float"},
        {"z": 1, "a": 2, "m": {"z": [], "a": ()}},
        {10**5000: 1, -(10**5000): (2,)},
        ("\ud83d\ude00", "\U0001f600", "\udc80", "\0"),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        timedelta(days=-999999999, microseconds=1),
        [UTC, timezone(timedelta(0), "UTC"), timezone(timedelta(seconds=1, microseconds=1))],
        Decimal("1E+999999999999999999"),
        [Decimal("-0.00"), Decimal("sNaN5"), Decimal("-Infinity"), Decimal("1" * 100)],
        Fraction(-(10**40), 3),
        range(10**30, -(10**30), -7),
        [PureWindowsPath("c:a\\b"), PureWindowsPath("//server/share/x"), PurePosixPath("//a/../b")],
        {frozenset({frozenset(), frozenset({frozenset()})}), frozenset()},
    ],
)
def test_examples_that_are_easily_got_wrong(value: Any) -> None:
    assert portrait(decode(encode(value))) == portrait(value)


@pytest.mark.skipif(os.name != "posix", reason="a PosixPath exists on POSIX only")
def test_the_platforms_own_path_keeps_its_type() -> None:
    assert type(decode(encode(Path("/tmp/x")))) is PosixPath
    with pytest.raises(DecodeError, match=r"a stored pathlib.*WindowsPath cannot be rebuilt"):
        decode(tagged(23, "C:\\x"))


def test_a_decimal_is_exact_whatever_the_context() -> None:
    value = Decimal("1.23456789E+4000000")
    with decimal.localcontext(decimal.Context(prec=2, Emax=10, Emin=-10, capitals=0, traps=[])):
        assert decode(encode(value)).as_tuple() == value.as_tuple()
        with pytest.raises(DecodeError):
            decode(tagged(11, "no number"))


def test_the_bytes_of_a_set_do_not_depend_on_the_hash_seed() -> None:
    program = "from s3memo.codec import encode; print(encode({'a', 'b', 'c', ('d',), frozenset('ef'), 1.5})[0].hex())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


STORED = [
    ("c0", None),
    ("c3", True),
    ("cf8000000000000000", 2**63),
    ("cb8000000000000000", -0.0),
    ("a3edb280", "\udc80"),
    ("c40100", b"\0"),
    ("9201a161", [1, "a"]),
    ("82a16201a16102", {"b": 1, "a": 2}),
    ("93c700010102", (1, 2)),
    ("93c700020102", {1, 2}),
    ("93c700030102", frozenset({1, 2})),
    ("93c7000492c7000101a161", {(1,): "a"}),
    ("92c70005c409010000000000000000", 2**64),
    ("92c70005c409ff7fffffffffffffff", -(2**63) - 1),
    ("92c70006c40178", bytearray(b"x")),
    ("93c70007cb3ff0000000000000cb8000000000000000", complex(1.0, -0.0)),
    ("94c70008000a03", range(0, 10, 3)),
    ("94c7000901c0c0", slice(1, None)),
    ("91c7000a", ...),
    ("92c7000ba4312e3530", Decimal("1.50")),
    ("93c7000cff03", Fraction(-1, 3)),
    ("9ac7000dcd07e90b1b061e0001c001", datetime(2025, 11, 27, 6, 30, 0, 1, fold=1)),  # noqa: DTZ001  no zone is a value too
    ("94c7000ecd07e90b1b", date(2025, 11, 27)),
    ("97c7000f061e000093c7001100c000", time(6, 30, tzinfo=UTC)),
    ("94c70010ff0001", timedelta(days=-1, microseconds=1)),
    ("93c70011ced693a400a3455354", timezone(timedelta(hours=1), "EST")),
    ("92c70012ad4575726f70652f4265726c696e", ZoneInfo("Europe/Berlin")),
    ("93c70013c41000112233445566778899aabbccddeeffc0", UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("92c70014a32f612f", PurePosixPath("/a")),
    ("92c70015a4633a5c61", PureWindowsPath("c:\\a")),
    ("93c70018a2612b22", re.compile("a+", re.IGNORECASE)),
    ("95c70019a33c423192c7000102c3c4026162", memoryview(b"ab")),
    ("93c7001aa33c6832c4020100", array("h", [1])),
    ("92c7001b81a16101", OrderedDict(a=1)),
    ("92c7001c81a16101", Counter(a=1)),
    ("93c7001da3696e7481a16101", defaultdict(int, a=1)),
    ("93c7001e910103", deque([1], 3)),
    ("92c7001f81a16101", SimpleNamespace(a=1)),
]


@pytest.mark.parametrize(("stored", "value"), STORED)
def test_what_was_once_written_can_be_read_for_ever(stored: str, value: Any) -> None:
    assert portrait(decode(bytes.fromhex(stored))) == portrait(value)


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Row:
    x: int


class Table(OrderedDict[str, int]):
    pass


class Name(str):
    __slots__ = ()


class Elsewhere(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


class LocalZone(ZoneInfo):
    pass


def noted(value: Any) -> Any:
    value.note = 1
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Table(a=1), "result is of type .*Table, .* a plain collections.OrderedDict"),
        ({"rows": [1, 2, 3, Table()]}, r"result\['rows'\]\[3\] is of type .*Table, .* a plain collections.OrderedDict"),
        (noted(OrderedDict(a=1)), "result, a collections.OrderedDict, .*: it has attributes of its own, .* note"),
        (noted(Counter("a")), "result, a collections.Counter, .*: it has attributes of its own, .* note"),
        (defaultdict(lambda: 0), r"result, a collections.defaultdict, .*: its default_factory is none of bool, int"),
        (
            array("u" if sys.version_info < (3, 13) else "w", "x"),
            "result, a array.array, .*: '<[uw]4' is no format of numbers",
        ),
        (memoryview(b"").cast("P"), "result, a memoryview, .*: '<P8' is no format of numbers"),
        (MappingProxyType({}), "result is of type mappingproxy, .* Python's built-in types"),
        ([Colour.RED], r"result\[0\] is of type .*Colour, which is neither in types= .*\(types=\(Colour,\)\)"),
        ((0, Point(1, 2)), r"result\[1\] is of type .*Point, .* @s3_cached\(types=\(Point,\)\)"),
        ({"a": {"b": Row(1)}}, r"result\['a'\]\['b'\] is of type .*Row, .* @s3_cached\(types=\(Row,\)\)"),
        (Name("x"), "result is of type .*Name, .* a plain str"),
        ({Name("x"): 1}, "result.<key> is of type .*Name, .* a plain str"),
        ({(1,): object()}, r"result\[\(1,\)\] is of type object, .* Python's built-in types"),
        ({10**5000: object()}, r"result\[<int>\] is of type object"),
        ([{Point(1, 2)}], r"result\[0\].<member> is of type .*Point"),
        ((number for number in range(3)), "result is of type generator, "),
        (len, "result is of type builtin_function_or_method, "),
        (int, "result is of type type, "),
        (msgpack.ExtType(1, b""), "result is of type msgpack.ext.ExtType, "),
        ([msgpack.Timestamp(1)], r"result\[0\] is of type msgpack.ext.Timestamp, "),
        (slice(0, Row(1)), "result.stop is of type .*Row"),
        (
            {"when": datetime(2025, 1, 1, tzinfo=Elsewhere())},
            r"result\['when'\], a datetime.datetime, .*: its tzinfo is of type .*Elsewhere, not None or datetime.timezone",
        ),
        (time(1, tzinfo=LocalZone("UTC")), "result, a datetime.time, .*: its tzinfo is of type .*LocalZone, not None"),
        (re.compile(Name("x")), "result, a re.Pattern, .*: its pattern is of type .*Name, not str or bytes"),
        (re.compile("a" * 10_001), "result, a re.Pattern, .*: it is longer than 10000 characters"),
        (Fraction(1, 1 << (1 << 19)), "result, a fractions.Fraction, .*: its numerator or denominator has more than"),
    ],
    ids=lambda argument: argument if isinstance(argument, str) else "",
)
def test_what_cannot_be_stored_is_named_with_its_place_and_a_remedy(value: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        encode(value)


def test_what_is_too_large_for_msgpack_is_refused() -> None:
    zeros = bytes(2**32)  # never touched, so they take no memory
    with pytest.raises(EncodeError, match=r"too large for one piece of msgpack .* Return it in smaller pieces"):
        encode([zeros])


def test_a_zone_without_a_name_is_refused() -> None:
    with open(_zone_file("Europe/Berlin"), "rb") as file:  # noqa: PTH123  ZoneInfo wants an open file
        zone = ZoneInfo.from_file(file)
    with pytest.raises(EncodeError, match=r"result, a zoneinfo.ZoneInfo, .*: its key is of type NoneType, not str"):
        encode(zone)


def test_a_pattern_that_prints_when_it_is_compiled_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    pattern = re.compile("a", re.DEBUG)
    with pytest.raises(EncodeError, match=r"result, a re.Pattern, .* such as re.DEBUG"):
        encode(pattern)
    capsys.readouterr()
    with pytest.raises(DecodeError):
        decode(tagged(24, "a", int(re.DEBUG)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {"k": value}])
def test_depth_is_limited_and_what_encodes_also_decodes(wrap: Callable[[Any], Any]) -> None:
    def nested(depth: int) -> Any:
        value = []
        for _ in range(depth):
            value = wrap(value)
        return value

    deepest = nested(MAX_DEPTH)
    assert decode(encode(deepest)) == deepest
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(EncodeError, match=r"result(\[.+\]){10}…(\[.+\]){10} is nested more than 200 levels deep"):
            encode(nested(depth))


def test_a_structure_that_contains_itself_is_refused() -> None:
    rows: list[Any] = []
    rows.append({"rows": rows})
    with pytest.raises(EncodeError, match="or the result contains itself"):
        encode(rows)


def test_a_stack_that_is_already_deep_ends_in_our_error() -> None:
    value = []
    for _ in range(MAX_DEPTH):
        value = (value,)

    def descend(left: int) -> bytes:
        return encode(value) if left == 0 else descend(left - 1)

    with pytest.raises(EncodeError, match="could not be read to its end: maximum recursion depth"):
        descend(sys.getrecursionlimit() - _stack_depth() - 100)


@given(st.binary(max_size=64))
def test_bytes_from_anywhere_are_a_value_or_a_decode_error(data: bytes) -> None:
    _decodes_or_refuses(data)


@given(values, st.data())
def test_an_altered_value_is_a_value_or_a_decode_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded)))
        encoded[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    _decodes_or_refuses(bytes(encoded))


tags = st.integers(0, 31).map(lambda code: msgpack.ExtType(code, b""))
documents = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | any_text | st.binary(max_size=16) | tags,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.builds(lambda tag, parts: [tag, *parts], tags, st.lists(inner, max_size=4)),
        st.dictionaries(any_text, inner, max_size=3),
    ),
    max_leaves=10,
)


@given(documents)
def test_any_document_of_tags_and_parts_is_a_value_or_a_decode_error(document: object) -> None:
    _decodes_or_refuses(msgpack.packb(document, unicode_errors="surrogatepass"))


def _decodes_or_refuses(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError as error:
        assert str(error)  # noqa: PT017  not raising is as good
    else:
        assert portrait(decode(encode(value))) == portrait(value)


def test_a_value_cut_anywhere_or_followed_by_anything_is_refused() -> None:
    encoded = encode({"a": [1, 2.5, (3, "x")], "b": {b"y"}})
    for length in range(len(encoded)):
        with pytest.raises(DecodeError):
            decode(encoded[:length])
    with pytest.raises(DecodeError, match="1 bytes follow the end of the stored value"):
        decode(encoded + b"\0")


@pytest.mark.parametrize(
    "parts",
    [
        (2, [1]),  # an unhashable member
        (3, {}),
        (4, 1),  # a key without a value
        (4, [1], 2),
        (5, "1"),
        (5,),
        (5, b"1", b"2"),
        (7, 1, 2),
        (8, 0, 1, 0),
        (8, 0, 1, True),
        (8, 0, 1.0, 1),
        (10, None),
        (11, "1" * 10 + "x"),
        (11, "1E+99999999999999999999999"),
        (11, 1),
        (12, 1, 0),
        (12, 1, 2.0),
        (13, 2025, 2, 30, 0, 0, 0, 0, None, 0),
        (13, 2025, 2, 1, 0, 0, 0, 0, "UTC", 0),
        (13, 2025, 2, 1, 0, 0, 0, 0, None, 2),
        (14, 0, 1, 1),
        (15, 24, 0, 0, 0, None, 0),
        (16, 10**10, 0, 0),
        (16, 0.5, 0, 0),
        (17, 10**12, None),
        (17, 0, b"UTC"),
        (18, "../../etc/passwd"),
        (18, "/etc/passwd"),
        (18, "No/Such_Zone"),
        (18, "America"),
        (18, ""),
        (19, b"123", None),
        (19, bytes(16), 7),
        (20, b"/"),
        (24, "(", 0),
        (24, "(" * 5000 + ")" * 5000, 0),
        (24, "a{1,99999999999999999999}", 0),
        (24, "a" * 10_001, 0),
        (24, "a", int(re.LOCALE)),
        (24, "a", True),
        (25,),
        (127, 1),
    ],
)
def test_parts_that_make_no_value_are_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises(DecodeError):
        decode(tagged(*parts))


@pytest.mark.parametrize(
    "document",
    [
        msgpack.ExtType(1, b""),
        [1, msgpack.ExtType(1, b"")],
        {"a": msgpack.ExtType(1, b"")},
        [msgpack.ExtType(1, b""), msgpack.ExtType(1, b"")],
        [msgpack.ExtType(1, b"payload")],
        [[msgpack.ExtType(24, b"")], "a", 0],
    ],
)
def test_a_tag_is_never_taken_for_a_value(document: object) -> None:
    with pytest.raises(DecodeError):
        decode(msgpack.packb(document))


def test_nesting_without_end_is_refused() -> None:
    for opening in (b"\x91", b"\x92\xc7\x00\x01", b"\x81\xa0"):
        with pytest.raises(DecodeError, match="StackError"):
            decode(opening * 100_000 + b"\xc0")


def test_lengths_that_are_claimed_take_no_memory() -> None:
    size = 1 << 20
    claims = b"\xdd" + (size - 1).to_bytes(4, "big")  # an array as long as all of the data
    data = (claims * 1000).ljust(size, b"\xc0")
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 4 * size
    finally:
        tracemalloc.stop()


def test_no_name_in_the_data_is_imported() -> None:
    before = set(sys.modules)
    for key in ("this", "os.path/x", "tzdata.zoneinfo.x/y", "..this/x", "a.this/x"):
        with pytest.raises(DecodeError):
            decode(tagged(18, key))
    assert {name for name in set(sys.modules) - before if not name.startswith("tzdata")} == set()


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        10**100,
        "x",
        b"x",
        1j,
        ...,
        (1, ("x", frozenset({1, (2, 3)}))),
        range(3),
        slice(1, (2,)),
        Decimal(1),
        Fraction(1, 2),
        datetime.now(UTC),
        date(2025, 1, 1),
        time(1),
        timedelta(1),
        UTC,
        ZoneInfo("Europe/Berlin"),
        UUID(int=1),
        PurePath("x"),
        Path("x"),
        re.compile("x"),
    ],
)
def test_what_nobody_can_change_is_immutable(value: Any) -> None:
    assert is_immutable(value)
    assert is_immutable((value, (value,)))
    assert not is_immutable((value, []))


@pytest.mark.parametrize(
    "value",
    [[], {}, set(), bytearray(), (1, [2]), (({},),), slice([], None), memoryview(b"x"), object(), Row(1), Point(1, 2)],
)
def test_what_somebody_might_change_is_not_immutable(value: Any) -> None:
    assert not is_immutable(value)


def test_immutability_of_a_deep_tuple_needs_no_deep_stack() -> None:
    value = ()
    for _ in range(100_000):
        value = (value,)
    assert is_immutable(value)


def test_what_many_plain_parts_are_needs_no_step_for_each() -> None:
    value = tuple(range(10_000)), frozenset(map(str, range(10_000)))
    assert calls(lambda: is_immutable(value)) < 100


def _zone_file(key: str) -> Path:
    return next(path for root in zoneinfo.TZPATH if (path := Path(root) / key).exists())


def _stack_depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    return depth
