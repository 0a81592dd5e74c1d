from __future__ import annotations

import ctypes
import dataclasses
import datetime as dt
import enum
import functools
import io
import itertools
import math
import pathlib
import struct
import sys
import tracemalloc
from collections import OrderedDict, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo import fingerprint  # noqa: F401  functions and classes get their form there
from s3memo.canonical import MAX_DEPTH
from s3memo.errors import KeyDerivationError, SettingsError
from s3memo.keys import digest_of, register_key
from tests.samples import interpreters, values
from tests.samples.values import Colour, Job, Model, Point

FEW = st.sampled_from(["", "a", "b", "a b", "ab"])  # few values, so that equal ones meet
ATOMS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2), st.sampled_from([0.0, -0.0, 1.0, float("nan"), 1j, 0j]),
    FEW, FEW.map(str.encode), FEW.map(str.encode).map(bytearray),
)  # fmt: skip
HASHABLE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.just(1.0), FEW, FEW.map(str.encode)),
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=4,
)
VALUES = st.recursive(
    ATOMS | HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Job, FEW, st.lists(inner, max_size=2))
    ),
    max_leaves=8,
)


def model(value: Any) -> Any:  # noqa: PLR0911  one for each kind
    """What is meant by two values being one: told with Python's own equality, of types and parts."""
    kind = type(value)
    match value:
        case float():
            return kind, "nan" if math.isnan(value) else struct.pack("<d", value)
        case complex():
            return kind, model(value.real), model(value.imag)
        case bytearray():
            return kind, bytes(value)
        case list() | tuple():
            return kind, tuple(map(model, value))
        case set() | frozenset():
            return kind, frozenset(map(model, value))
        case dict():
            return kind, frozenset((model(key), model(item)) for key, item in value.items())
        case Job():
            return kind, value.name, model(value.steps)
    return kind, value


@given(VALUES, VALUES)
def test_two_values_share_a_digest_exactly_if_they_are_equal_and_typed_alike(a: Any, b: Any) -> None:
    assert (digest_of(a) == digest_of(b)) == (model(a) == model(b))


@given(VALUES)
def test_a_digest_knows_no_identity(value: Any) -> None:
    def rebuilt(part: Any) -> Any:
        match part:
            case Point():
                return Point(*map(rebuilt, part))
            case list() | tuple() | set() | frozenset():
                return type(part)(map(rebuilt, part))
            case dict():
                return {rebuilt(key): rebuilt(item) for key, item in reversed(part.items())}
            case str():
                return "".join(list(part))
        return part

    assert digest_of(rebuilt(value)) == digest_of(value)
    assert digest_of([value, value]) == digest_of([value, rebuilt(value)])


def test_every_kind_of_value_has_a_digest_of_its_own() -> None:
    digests = [digest_of(value) for value in values.VALUES]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 32 for digest in digests)


@pytest.mark.parametrize(
    "different",
    [
        (1, 1.0, True, "1", b"1", bytearray(b"1"), memoryview(b"1"), 1 + 0j, Decimal(1), [1], (1,), {1}, {1: None}),
        (0.0, -0.0, 0, False, None, "", b"", (), [], {}, set(), frozenset()),
        ([("a", "b c")], [("a b", "c")], [("a", "b", "c")], ["a", ("b", "c")], [["a", "b"], "c"]),
        (((1, (True,)),), ((1, (1,)),), ((True, (1,)),)),
        ({1: 2, 3: 4}, {1: 4, 3: 2}, {1: {2: 3}}, {(1, 2): 3}, [(1, 2), (3, 4)]),
        ({"a": 1}, OrderedDict(a=1), defaultdict(None, a=1), defaultdict(int, a=1)),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (Decimal("1.0"), Decimal("1.00"), Decimal("NaN"), Decimal("sNaN"), Decimal("NaN7"), Decimal("-NaN")),
        (complex(0.0, -0.0), complex(-0.0, 0.0), complex(float("nan"), 1), complex(1, float("nan"))),
        (dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, fold=1)),  # noqa: DTZ001  naive is a kind
        (
            dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")),
        ),
        (pathlib.Path("a"), pathlib.PurePath("a"), pathlib.PureWindowsPath("a"), "a"),
        (Colour.RED, "red", Colour.BLUE, Colour),
        (Point(1, 2), (1, 2), {"x": 1, "y": 2}),
        (range(3), [0, 1, 2], (0, 1, 2), range(0, 3, 2)),
        ("\ud800\udc00", "\U00010000", "\ud800", "\udc00"),
    ],
)
def test_these_are_all_different(different: tuple[Any, ...]) -> None:
    assert len({digest_of(value) for value in different}) == len(different)


def test_every_nan_is_one() -> None:
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
    assert digest_of(odd) == digest_of(float("nan"))
    assert digest_of(complex(odd, odd)) == digest_of(complex(float("nan"), float("nan")))


@given(st.binary(max_size=64), st.sampled_from([1, 2, 3, -1, -2]))
def test_a_view_counts_by_what_it_shows(data: bytes, step: int) -> None:
    assert digest_of(memoryview(data)[::step]) == digest_of(memoryview(data[::step]))


def test_format_and_shape_of_a_view_count() -> None:
    data = memoryview(bytes(range(12)))
    views = [data, data.cast("b"), data.cast("H"), data.cast("B", (3, 4)), data.cast("B", (4, 3))]
    assert len({digest_of(view) for view in views}) == len(views)


def test_a_view_of_objects_holds_addresses_and_has_no_key() -> None:
    with pytest.raises(KeyDerivationError, match="holds addresses"):
        digest_of(memoryview((ctypes.py_object * 2)(1, 2)))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_large_buffer_is_hashed_where_it_is(kind: type) -> None:
    data = kind(bytes(2**24))
    tracemalloc.start()
    try:
        digest_of([data])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [memoryview(bytes(2**24))[::2], {"a": [0] * 2**17}, {"a": {"b": [0] * 2**17}}, {"a": np.full(2**17, 1, object)}],
    ids=["strided", "list", "nested", "objects"],
)
def test_what_is_large_is_not_gathered_before_it_is_hashed(value: Any) -> None:
    digest_of(np.array([1], object))  # what is imported at the first time is not what is measured
    tracemalloc.start()
    try:
        digest_of(value)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1])
def test_around_the_size_from_which_buffers_are_hashed_apart_all_bytes_count(size: int) -> None:
    data = bytes(size)
    others = [data[:-1], data + b"\0", data[:-1] + b"\1", b"\1" + data[1:]]
    views = [memoryview(data), memoryview(data[:-1] + b"\1"), memoryview(data * 2)[::2][:-1]]
    everything = [data, *others, *views, "\0" * size, bytearray(data)]
    assert len({digest_of(value) for value in everything}) == len(everything)
    assert digest_of(memoryview(data * 2)[::2]) == digest_of(memoryview(data))


class Record(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int32), ("b", ctypes.c_char * 2**20))


@pytest.mark.parametrize("array", [Record, Record * 2, ctypes.c_uint32.__ctype_be__ * 2**18, ctypes.c_bool * 2**20])
def test_a_large_view_of_any_format_counts_all_over(array: type[ctypes.Structure]) -> None:
    changed = array()
    ctypes.memset(ctypes.byref(changed, ctypes.sizeof(changed) - 1), 1, 1)
    assert digest_of(memoryview(array())) == digest_of(memoryview(array())) != digest_of(memoryview(changed))


def test_a_large_buffer_is_hashed_after_a_fork_too() -> None:
    program = """
import os, signal
from s3memo.keys import digest_of
here = digest_of(bytes(2**22))
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if digest_of(bytes(2**22)) == here else 1)
print(os.waitpid(child, 0)[1])
"""
    assert interpreters.run("-c", program) == "0\n"


class MyInt(int):
    pass


class Loose(Point):
    """A named tuple that can have more attributes, for it says nothing of slots."""


class Undecorated(Job):
    def __init__(self, extra: object) -> None:
        super().__init__("a", [])
        self.extra = extra


@dataclasses.dataclass
class ListWithFields(list[int]):
    name: str = ""


@dataclasses.dataclass
class Unset:
    late: int = dataclasses.field(init=False)


class Roomy:
    __slots__ = ("hidden",)


@dataclasses.dataclass(slots=True)
class Filled(Roomy):
    x: int


@dataclasses.dataclass
class CodedError(Exception):
    code: int


@dataclasses.dataclass
class Compiled(struct.Struct):  # a type written in C, of which Python makes a class while it runs
    x: int = 0


class Meta(type):
    def __s3memo_key__(cls) -> object:
        return "a class"


@dataclasses.dataclass
class OfMeta(metaclass=Meta):
    x: int


def _filled() -> Filled:
    filled = Filled(1)
    filled.hidden = 2  # type: ignore[attr-defined]
    return filled


def _local_dataclass(n: int) -> Any:
    @dataclasses.dataclass
    class Local:
        x: int

        def scaled(self) -> int:
            return self.x * n

    return Local(1)


def _local_member(n: int) -> Any:
    class Local(enum.Enum):
        ONE = 1

        def scaled(self) -> int:
            return n

    return Local.ONE


def _released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


class Opaque(enum.Enum):
    ONE = object()


class Broken:
    def __s3memo_key__(self) -> object:
        raise RuntimeError("not today")


class Selfish:
    def __s3memo_key__(self) -> object:
        return self


_ZONE_FILE = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 0, 0, 0) + b"UTC\0"


def _loose() -> Loose:
    loose = Loose(1, 2)
    loose.extra = 3  # type: ignore[attr-defined]
    return loose


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "of type object"),
        (MyInt(1), "MyInt, which extends int and may hold more"),
        (Undecorated(1), "Undecorated, which extends tests.samples.values.Job and may hold more"),
        (ListWithFields("a"), "ListWithFields, which extends list"),
        (_loose(), "it has attributes besides its fields"),
        (_filled(), "it has attributes besides its fields"),
        (CodedError(1), "it extends Exception, and may hold more than its fields"),
        (Compiled("i"), "it extends _struct.Struct, and may hold more than its fields"),
        (_local_dataclass(1), "made in a function that may make others like it: define it outside"),
        (_local_member(1), "made in a function that may make others like it: define it outside"),
        (_released(), r"which cannot be read \(ValueError: .*released"),
        ({10**5000: object()}, r"the value\[<int>\], of type object"),
        (Unset(), "no attribute 'late'"),
        (Opaque.ONE, "made of value, of type object"),
        (Broken(), "RuntimeError: not today"),
        (Selfish(), "contains itself"),
        (itertools.count(), r"of type itertools.count.*__s3memo_key__.*register_key\(count"),
        ({"a": [1, {2: object()}]}, r"the value\['a'\]\[1\]\[2\], of type object"),
        ([{object()}], r"the value\[0\]\{<object.*>\}, of type object"),
        ({(1, object()): 2}, r"\[1\], of type object"),
        (Job("a", [1, object()]), r"steps\[1\], of type object"),
        (Point(1, object()), "y, of type object"),  # type: ignore[arg-type]
        (dt.datetime(2026, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()), "tzinfo, of type .*Zone"),
        (ZoneInfo.from_file(io.BytesIO(_ZONE_FILE)), "has no key"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_key_is_an_error_that_says_why(value: Any, said: str) -> None:
    with pytest.raises(KeyDerivationError, match=said):
        digest_of(value)


class Adding:
    """A key that is asked for while the dictionary that it stands in is written, and adds to it."""

    def __init__(self, to: dict[Any, Any]) -> None:
        self.to = to

    def __s3memo_key__(self) -> int:
        self.to[len(self.to)] = 1
        return 1


def test_what_changes_while_it_is_read_is_an_error() -> None:
    growing: dict[Any, Any] = {}
    growing[Adding(growing)] = 1
    with pytest.raises(KeyDerivationError, match=r"the value\[<.*>\], which cannot be read .* changed size"):
        digest_of(growing)


def test_what_a_full_stack_cannot_read_is_an_error() -> None:
    nested: Any = ()
    for _ in range(80):
        nested = Job("", [nested])

    def digest_below(frames: int) -> str:
        return digest_below(frames - 1) if frames else digest_of(nested)

    assert digest_below(0)
    with pytest.raises(KeyDerivationError, match=r"cannot be read .*recursion"):
        digest_below(sys.getrecursionlimit() - 200)


def test_what_a_metaclass_says_of_its_classes_is_not_of_their_instances() -> None:
    assert digest_of(OfMeta(1)) != digest_of(OfMeta(2))
    assert digest_of(OfMeta) != digest_of(OfMeta(1))


def test_what_contains_itself_is_an_error() -> None:
    items: list[Any] = [1]
    items.append({"back": items})
    with pytest.raises(KeyDerivationError, match=r"\[1\]\['back'\], which contains itself"):
        digest_of(items)
    twice = [1]
    assert digest_of([twice, twice]) == digest_of([[1], [1]])


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 10_000])
def test_what_is_nested_too_deep_is_an_error(depth: int) -> None:
    nested: Any = ()
    for _ in range(depth - 1):
        nested = [nested]
    with pytest.raises(KeyDerivationError, match="nested more than 250 levels deep"):
        digest_of(nested)


def test_depth_up_to_the_limit_counts() -> None:
    def nest(levels: int) -> Any:
        nested: Any = []
        for _ in range(levels - 1):
            nested = [nested]
        return nested

    assert digest_of(nest(MAX_DEPTH)) != digest_of(nest(MAX_DEPTH - 1))


def test_a_class_says_itself_what_its_instances_count_as() -> None:
    assert digest_of(Model([1, 2])) == digest_of(Model([1, 2]))
    assert digest_of(Model([1, 2])) != digest_of(Model([2, 1]))
    assert digest_of(Model([1])) != digest_of([1])


class Stranger:
    def __init__(self, name: str) -> None:
        self.name = name


class Relative(Stranger):
    pass


def test_a_registered_type_counts_as_its_function_says() -> None:
    register_key(Stranger, lambda stranger: stranger.name)
    assert digest_of(Stranger("a")) == digest_of(Stranger("a"))
    assert digest_of(Stranger("a")) != digest_of(Stranger("b"))
    assert digest_of(Stranger("a")) != digest_of("a")
    with pytest.raises(KeyDerivationError, match=r"Relative, which extends .*Stranger"):
        digest_of(Relative("a"))


def test_a_registration_outlasts_what_is_learnt_of_a_library_later() -> None:
    program = """if True:
        import numpy
        from s3memo.keys import digest_of, register_key
        masked = numpy.ma.masked_array([1])
        register_key(numpy.ma.MaskedArray, lambda array: "masked")
        before = digest_of(masked)
        digest_of(numpy.zeros(1))
        print(digest_of(masked) == before)
    """
    assert interpreters.run("-c", program) == "True\n"


@pytest.mark.parametrize(
    ("kind", "fn", "said"),
    [
        ("Stranger", str, "must be a class"),
        (Stranger, "name", "must be a function"),
        (dict, str, "exact as they are"),
    ],
)
def test_a_registration_that_makes_no_sense_is_refused(kind: Any, fn: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        register_key(kind, fn)


def _digests_here() -> list[str]:
    return [digest_of(value) for value in values.VALUES]


@pytest.mark.parametrize("seed", [1, 2])
def test_digests_are_equal_under_every_hash_seed(seed: int) -> None:
    printed = interpreters.run("-m", "tests.samples.values", seed=seed).splitlines()
    assert printed[: len(values.VALUES)] == _digests_here()


def test_digests_and_tags_are_those_of_every_python_version_and_release() -> None:
    """A change here makes every stored result unfindable: it needs a new format number and a word in the CHANGELOG."""
    recorded = Path(values.__file__).with_suffix(".digests").read_text()
    assert interpreters.run("-m", "tests.samples.values") == recorded


@dataclasses.dataclass
class Seeded:
    a: int
    seed: dataclasses.InitVar[int] = 0

    def __post_init__(self, seed: int) -> None:
        if seed:
            self._seed = seed

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.a


def test_a_dataclass_that_holds_more_than_its_fields_is_refused() -> None:
    plain, computed = Seeded(1), Seeded(1)
    assert computed.double == 2
    assert digest_of(plain) == digest_of(computed)
    with pytest.raises(KeyDerivationError, match="attributes besides its fields"):
        digest_of(Seeded(1, 10))


class Namesake(NamedTuple):
    x: float
    y: float


def test_classes_with_the_same_fields_are_not_confused() -> None:
    assert digest_of(Namesake(1, 2)) != digest_of(Point(1, 2))
