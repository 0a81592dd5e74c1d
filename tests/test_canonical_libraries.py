"""Arrays, frames and models as arguments: what counts of them, and what does not."""

from __future__ import annotations

import datetime as dt
import functools
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import attrs
import dateutil.tz
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import pytz
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s3memo import fingerprint  # noqa: F401  functions and classes get their form there
from s3memo.errors import KeyDerivationError
from s3memo.keys import digest_of

STRUCTURE = np.dtype([("flag", "i1"), ("value", "f8")], align=True)
NUMBERS = np.arange(24.0).reshape(4, 6)
MOMENTS = pd.date_range("2026-01-01", periods=3, freq="D", tz="Europe/Berlin")


class Unit(pydantic.BaseModel):
    size: int = 1
    _cached: int = pydantic.PrivateAttr(default=0)


class Open(pydantic.BaseModel, extra="allow"):
    size: int = 1


@attrs.define
class Slotted:
    x: int
    hidden: int = attrs.field(default=0, eq=False)


@attrs.define(slots=False)
class Unslotted:
    x: int

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.x


@attrs.define
class Caching:
    x: int

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.x


class Roomy:
    __slots__ = ("hidden",)


@attrs.define
class Filled(Roomy):
    x: int


@attrs.define(slots=False)
class Listed(list[int]):
    x: int = 0


class Stuffed(Unit):
    __slots__ = ("hidden",)


def filled(value: Any) -> Any:
    object.__setattr__(value, "hidden", 1)
    return value


def computed(value: Any) -> Any:
    assert value.double == 2 * value.x
    return value


class Quantity(np.ndarray[Any, Any]):
    pass


def structured(padding: int) -> np.ndarray[Any, Any]:
    array = np.frombuffer(bytes([padding]) * 32, dtype=STRUCTURE).copy()
    array["flag"], array["value"] = 1, 2.0
    return array


def long_doubles(padding: int) -> np.ndarray[Any, Any]:
    array = np.frombuffer(bytes([padding]) * 32, dtype=np.longdouble).copy()
    array[:] = 1.5
    return array


def under_a_null(hidden: int) -> pa.Array:
    validity, data = pa.py_buffer(b"\x05"), pa.py_buffer(np.array([1, hidden, 3], "i4"))
    return pa.Array.from_buffers(pa.int32(), 3, [validity, data])


def nanoseconds(value: int, dtype: Any) -> pl.Series:
    return pl.Series([value], dtype=pl.Int64).cast(dtype)


class Scaled(pa.ExtensionType):  # type: ignore[misc]  # pyarrow comes without types
    def __init__(self, by: int) -> None:
        self.by = by
        super().__init__(pa.int64(), "tests.scaled")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"%d" % self.by

    @classmethod
    def __arrow_ext_deserialize__(cls, _: Any, serialized: bytes) -> Scaled:
        return cls(int(serialized))


def scaled(by: int) -> pa.ExtensionArray:
    return pa.ExtensionArray.from_storage(Scaled(by), pa.array([1, 2]))


def numbered(indices: list[int | None], names: list[str | None]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), pa.array(names, pa.string()))


def days(**options: Any) -> pd.DatetimeIndex:
    return pd.date_range("2026-01-07 10:00", periods=2, freq=pd.offsets.CustomBusinessDay(**options))


def zoned(zone: Any, unit: str = "us") -> pd.Series:
    return pd.Series(pd.DatetimeIndex(["2026-01-01"], tz="UTC").as_unit(unit)).dt.tz_convert(zone)


ZONES: list[Any] = [
    *(dt.timezone(dt.timedelta(hours=1), "X"), dt.timezone(dt.timedelta(hours=2), "X"), dt.UTC),
    *(pytz.UTC, pytz.FixedOffset(60), pytz.timezone("Europe/Berlin"), pytz.timezone("Europe/Vienna")),
    *(dateutil.tz.tzutc(), dateutil.tz.tzoffset("X", 3600), dateutil.tz.tzoffset("X", 7200)),
    *(dateutil.tz.gettz("Europe/Berlin"), dateutil.tz.gettz("Europe/Vienna")),
]

EQUAL: list[tuple[Any, Any]] = [
    (NUMBERS, np.asfortranarray(NUMBERS)),
    (NUMBERS[::2, ::-1], NUMBERS[::2, ::-1].copy()),
    (NUMBERS, np.broadcast_to(NUMBERS, (1, 4, 6))[0]),
    (np.array(3.0), np.array([3.0]).reshape(())),
    (structured(0), structured(255)),
    (structured(0)["value"], structured(255)["value"]),
    (long_doubles(0), long_doubles(255)),
    (np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 9], [False, True])),
    (np.array(["a", "bb"], object), np.array(["a", "b" * 2], object)),
    (np.array(["x"], np.dtypes.StringDType()), np.array(["x"], np.dtypes.StringDType())),
    (sp.csr_array(np.eye(3)), sp.csr_array(np.eye(3)).copy()),
    (sp.dok_array(np.eye(2)), sp.dok_array(np.eye(2)[::-1])[::-1].todok()),
    (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), pd.DataFrame(np.array([[1, 3], [2, 4]]), columns=["a", "b"])),
    (pd.DataFrame({"a": [1, 2, 3]}).iloc[:2], pd.DataFrame({"a": [1, 2]})),
    (pd.Series([1, None], dtype="Int64"), pd.Series([1, 5], dtype="Int64").where(pd.Series([True, False]))),
    (pd.MultiIndex.from_product([[1, 2], ["a"]])[:1], pd.MultiIndex.from_tuples([(1, "a")])),
    (pl.Series("s", [1, 2, 3]), pl.concat([pl.Series("s", [1]), pl.Series("s", [2, 3])], rechunk=False)),
    (pl.Series(["a", None, "b"])[1:], pl.Series([None, "b"])),
    (pa.array([1, 2, 3]).slice(1), pa.array([2, 3])),
    (pa.chunked_array([[1], [2, 3]]), pa.chunked_array([[1, 2, 3]])),
    (under_a_null(0), under_a_null(7)),
    (pa.array(["a", None, "b"]).slice(1), pa.array([None, "b"])),
    (pa.array([[1], None, [2, 3]]).slice(2), pa.array([[2, 3]])),
    (pa.array([{"a": 1}, {"a": 2}]).slice(1), pa.array([{"a": 2}])),
    (pa.array([True, False, True]).slice(1), pa.array([False, True])),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),) * 2,
    (pa.array(["a"], pa.string_view()),) * 2,
    (pa.array(["a"], pa.large_string()),) * 2,
    (pa.array(["a", "b", "a"]).dictionary_encode(), pa.array(["a", "b", "a"]).dictionary_encode()),
    (scaled(1), scaled(1)),
    (numbered([0, 1], ["a", "b"]), numbered([1, 0, 1], ["a", "b"])[1:]),
    (
        pa.chunked_array([numbered([0], ["a", "b"]), numbered([1], ["a", "b"])]),
        pa.chunked_array([numbered([0, 1], ["a", "b"])]),
    ),
    (
        pa.array([["a"], None, ["b"]], pa.list_(pa.string_view())).slice(1),
        pa.array([None, ["b"]], pa.list_(pa.string_view())),
    ),
    (pa.array([None, [1, 2]], pa.list_(pa.int8(), 2)).slice(1), pa.array([[1, 2]], pa.list_(pa.int8(), 2))),
    (pl.Series([[1], None, [], [2, 3]])[1:], pl.Series([None, [], [2, 3]])),
    (pl.Series([[1, 2], None], dtype=pl.Array(pl.Int8, 2))[:1], pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2))),
    (
        pl.Series([{"a": [1]}, None, {"a": []}])[1:],
        pl.Series([None, {"a": []}], dtype=pl.Struct({"a": pl.List(pl.Int64)})),
    ),
    (days(holidays=["2026-01-06"]), days(holidays=["2026-01-06"])),
    (Unit(size=2), Unit(size=2)),
    (Slotted(1), Slotted(1)),
    (Unslotted(1), computed(Unslotted(1))),
    (Caching(1), computed(Caching(1))),
]
"""Pairs whose two members are one argument."""

DIFFERENT: list[list[Any]] = [
    [np.zeros(2), np.zeros(2, "f4"), np.zeros(2, ">f8"), np.zeros((2, 1)), np.zeros((1, 2)), np.zeros(3), [0.0, 0.0]],
    [np.array([0.0]), np.array([-0.0]), np.array([1.0]), np.array([np.nan])],
    [np.array([1], "M8[s]"), np.array([1], "M8[ms]"), np.array([1], "m8[s]"), np.array([1])],
    [np.array(["a"]), np.array([b"a"]), np.array(["a"], object), np.array(["a"], "U2")],
    [np.array([1, "1"], object), np.array([1, 1], object), np.array([True, "1"], object)],
    [1.0, np.float64(1), np.float32(1), np.int64(1), np.bool_(True), np.array(1.0), np.longdouble(1)],
    [np.str_("a"), "a", np.bytes_(b"a"), np.datetime64("2026"), np.datetime64("2026-01")],
    [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(0)],
    [np.zeros(1, [("a", "i1")]), np.zeros(1, [("b", "i1")]), np.zeros(1, [("a", "i2")]), np.zeros(1, "V1")],
    [np.rec.array([(1,)], dtype=[("a", "i1")]), np.array([(1,)], dtype=[("a", "i1")])],
    [np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 2]), np.ma.masked],
    [np.ma.masked_array([1], fill_value=1), np.ma.masked_array([1], fill_value=2)],
    [np.ma.masked_array(np.matrix([[1, 2]])), np.ma.masked_array([[1, 2]])],
    [np.dtype("f8"), np.dtype("f4"), np.float64, "f8", np.dtype("f8", metadata={"unit": "m"})],
    [np.add, np.subtract, np.concatenate, np.stack],
    [sp.csr_array(np.eye(2)), sp.csc_array(np.eye(2)), sp.csr_matrix(np.eye(2)), sp.coo_array(np.eye(2)), np.eye(2)],
    [sp.csr_array(np.eye(2)), sp.csr_array(np.eye(3)), sp.csr_array(2 * np.eye(2))],
    [sp.dia_array(np.eye(2)), sp.bsr_array(np.eye(2)), sp.lil_array(np.eye(2)), sp.dok_array(np.eye(2))],
    [pd.Series([1, 2]), pd.Series([1, 2], name="x"), pd.Series([1, 2], index=[1, 0]), pd.Series([1.0, 2.0])],
    [pd.Series(["a"]), pd.Series(["a"], dtype=object), pd.Series(["a"], dtype="category"), pd.Series(["b"])],
    [pd.Series(["a"], dtype=pd.StringDtype("python")), pd.Series(["a"], dtype=pd.StringDtype("pyarrow"))],
    [pd.Series(["a"], dtype=pd.CategoricalDtype(["a", "b"])), pd.Series(["a"], dtype=pd.CategoricalDtype(["b", "a"]))],
    [pd.Series(["a"], dtype=pd.CategoricalDtype(["a"], ordered=True)), pd.Series(["a"], dtype="category")],
    [pd.Series([1, None], dtype="Int64"), pd.Series([1, None], dtype="Int32"), pd.Series([1, 1], dtype="Int64")],
    [pd.Series([True, None], dtype="boolean"), pd.Series([1.0, None], dtype="Float64"), pd.Series([1.0, np.nan])],
    [pd.Series([1], dtype="int64[pyarrow]"), pd.Series([1], dtype="Int64"), pd.Series([1])],
    [MOMENTS, MOMENTS.tz_convert("UTC"), MOMENTS.tz_localize(None), MOMENTS._with_freq(None), MOMENTS.as_unit("s")],
    [pd.Series(MOMENTS), pd.Series(MOMENTS.tz_convert("UTC"))],
    [zoned(zone) for zone in ZONES],
    [zoned(zone)[0] for zone in ZONES],
    [zoned(zone).dtype for zone in ZONES],
    [zoned("UTC").dtype, zoned("UTC", "ns").dtype],
    [days(), days(holidays=["2026-01-06"]), days(weekmask="Mon Tue"), days(offset=dt.timedelta(hours=1))],
    [pd.DatetimeIndex(["2026-01-07 10:00"], freq=pd.offsets.BusinessHour(end=end)) for end in ("17:00", "18:00")],
    [pd.RangeIndex(2), pd.Index([0, 1]), pd.Index([0, 1], dtype=object), pd.Index([0.0, 1.0])],
    [pd.period_range("2026", periods=2, freq="M"), pd.period_range("2026", periods=2, freq="D")],
    [pd.interval_range(0, 2), pd.interval_range(0, 2, closed="left"), pd.IntervalIndex.from_tuples([(0, 1), (1, 3)])],
    [pd.Series(pd.arrays.SparseArray([0, 1])), pd.Series(pd.arrays.SparseArray([0, 2])), pd.Series([0, 1])],
    [pd.arrays.SparseArray([0, 0], fill_value=0), pd.arrays.SparseArray([0, 0, 0], fill_value=0)],
    [pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [2], "a": [1]}), pd.DataFrame({"a": [1]})],
    [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False), pd.DataFrame()],
    [pd.Timestamp("2026"), pd.Timestamp("2026", tz="UTC"), pd.Timestamp("2026").as_unit("s"), np.datetime64("2026")],
    [pd.Timedelta("1s"), pd.Timedelta("1s").as_unit("ms"), pd.NaT, pd.NA, None, float("nan")],
    [pd.Period("2026-01", "M"), pd.Period("2026-01", "D"), pd.Interval(0, 1), pd.Interval(0, 1, "both")],
    [pd.offsets.MonthEnd(1), pd.offsets.MonthEnd(2), pd.offsets.Day(1), pd.offsets.MonthEnd(1, normalize=True)],
    [pl.Series([1]), pl.Series([1], dtype=pl.Int32), pl.Series("x", [1]), pl.Series([1, None]), pl.Series([None, 1])],
    [pl.Series(["a"]), pl.Series(["a"], dtype=pl.Categorical), pl.Series(["a"], dtype=pl.Enum(["a"]))],
    [pl.Series(["a"], dtype=pl.Enum(["a", "b"])), pl.Series(["a"], dtype=pl.Enum(["a"]))],
    [pl.Series([[1], [2]]), pl.Series([[1, 2], []], dtype=pl.List(pl.Int64)), pl.Series([[1], [2]], dtype=pl.Array(pl.Int64, 1))],
    [pl.Series([{"a": 1}]), pl.Series([{"b": 1}]), pl.Series(["1"], dtype=pl.String).cast(pl.Decimal(10, 1))],
    [pl.Series([1], dtype=pl.Datetime("us")), pl.Series([1], dtype=pl.Datetime("ms")), pl.Series([1], dtype=pl.Duration("us"))],
    [nanoseconds(value, dtype) for dtype in (pl.Datetime("ns"), pl.Duration("ns"), pl.Time) for value in (1, 2)],
    [nanoseconds(value, pl.Time).implode() for value in (1, 2)],
    [nanoseconds(value, pl.Datetime("ns")).reshape((1, 1)) for value in (1, 2)],
    [nanoseconds(value, pl.Duration("ns")).to_frame("a").to_struct() for value in (1, 2)],
    [pl.Series([[None]], dtype=pl.List(pl.Int8)), pl.Series([[]], dtype=pl.List(pl.Int8)), pl.Series([None], dtype=pl.List(pl.Int8))],
    [pl.Series([None, {"a": 1}]), pl.Series([{"a": None}, {"a": 1}])],
    [pl.Series(["a"], dtype=pl.Categorical(pl.Categories(name))) for name in ("x", "y")],
    [pl.Series([1]).ext.to(pl.Extension("e", pl.Int64, more)) for more in ("x", "y")],
    [pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]}), pl.DataFrame({"a": [1.0]}), pl.DataFrame()],
    [pa.array([1]), pa.array([1], pa.int32()), pa.array([None, 1]), pa.array([1, None]), pa.chunked_array([[1]])],
    [pa.array(["ab", "c"]), pa.array(["a", "bc"]), pa.array([b"ab", b"c"]), pa.array(["ab", "c"], pa.large_string())],
    [pa.array([[1], [2]]), pa.array([[1, 2], []]), pa.array([[1, 2]]), pa.array([[1], [2]], pa.list_(pa.int64(), 1))],
    [pa.array([None]), pa.array([None, None]), pa.array([None], pa.int8())],
    [pa.array([{"a": None}]), pa.array([None], pa.struct([("a", pa.int64())])), pa.array([{"b": None}])],
    [pa.table({"a": [1]}), pa.table({"b": [1]}), pa.table({"a": [1]}, metadata={"k": "v"}), pa.record_batch({"a": [1]})],
    [pa.scalar(1), pa.scalar(1, pa.int8()), pa.scalar(None, pa.int8()), pa.scalar("1")],
    [pa.scalar(None, pa.list_(pa.int8())), pa.scalar([], pa.list_(pa.int8())), pa.scalar([None], pa.list_(pa.int8()))],
    [scaled(1), scaled(2), pa.array([1, 2]), scaled(1)[0], scaled(2)[0], scaled(1).type, scaled(2).type],
    [numbered([0, 1], ["a", "b"]), numbered([1, 0], ["b", "a"]), numbered([0, 1], ["a", "b", "c"])],
    [numbered([0, None], ["a"]), numbered([0, 1], ["a", None]), numbered([0, None], ["a", None])],
    [pa.chunked_array([numbered([0], ["a"]), numbered([0], ["b"])]), pa.chunked_array([numbered([0, 1], ["a", "b"])])],
    [pa.array(["a", None], pa.string_view()), pa.array([None, "a"], pa.string_view()), pa.array([b"a", None], pa.binary_view())],
    [pa.int8(), pa.int16(), pa.list_(pa.int8()), pa.list_(pa.int16()), pa.timestamp("s"), pa.timestamp("s", "UTC")],
    [pa.field("a", pa.int8()), pa.field("a", pa.int8(), nullable=False), pa.schema([("a", pa.int8())])],
    [pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.string(), ordered=True)],
    [Unit(), Unit(size=1), Unit(size=2), Open(), Open(size=1), Open(size=1, more=2)],
    [Slotted(1), Slotted(2), Slotted(1, hidden=3), Unslotted(1)],
]  # fmt: skip
"""Lists whose members are all different arguments."""


@pytest.mark.parametrize(("one", "same"), EQUAL, ids=lambda value: type(value).__name__)
def test_how_it_lies_in_memory_does_not_count(one: Any, same: Any) -> None:
    assert digest_of(one) == digest_of(same)


@pytest.mark.parametrize("values", DIFFERENT, ids=lambda values: type(values[0]).__name__)
def test_what_a_function_could_tell_apart_has_digests_apart(values: list[Any]) -> None:
    digests = [digest_of(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digests == [digest_of(value) for value in values]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.random.default_rng(1), "pass a seed"),
        (np.random.PCG64(1), "pass a seed"),
        (pl.LazyFrame({"a": [1]}), r"pass what \.collect\(\) returns"),
        (pl.Series([object()], dtype=pl.Object), "Python objects"),
        (zoned(dateutil.tz.tzlocal()), "of type dateutil.tz.tz.tzlocal"),
        (np.ma.masked_array(np.zeros(2).view(Quantity)), "it masks a .*Quantity, which may hold more"),
        (filled(Filled(1)), "it has attributes besides its fields"),
        (filled(Stuffed()), "it has attributes besides its fields"),
        (Listed(1), "Listed, which extends list and may hold more"),
        (np.frompyfunc(lambda x: x, 1, 1), "not one of numpy's own"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_key_says_what_to_pass_instead(value: Any, said: str) -> None:
    with pytest.raises(KeyDerivationError, match=said):
        digest_of(value)


def test_a_subclass_of_an_array_may_hold_more_and_is_refused() -> None:
    with pytest.raises(KeyDerivationError, match=r"Quantity, which extends numpy\.ndarray and may hold more"):
        digest_of(np.zeros(2).view(Quantity))


@given(hnp.arrays(st.sampled_from([np.int16, np.float64, np.complex64]), hnp.array_shapes(max_dims=4)), st.data())
def test_a_view_is_what_it_shows(array: np.ndarray[Any, Any], data: st.DataObject) -> None:
    view = array.transpose(data.draw(st.permutations(range(array.ndim))))
    view = view[tuple(slice(None, None, data.draw(st.sampled_from([1, -1, 2]))) for _ in range(view.ndim))]
    assert digest_of(view) == digest_of(view.copy(order="C")) == digest_of(view.copy(order="F"))


def test_equal_slices_of_a_larger_array_are_equal_and_others_are_not() -> None:
    large = np.zeros(3_000_000)
    large[2_500_000] = 1
    assert digest_of(large[:1_000_000]) == digest_of(large[1_000_000:2_000_000])
    assert digest_of(large[1_000_000:2_000_000]) != digest_of(large[2_000_000:])


def _strided(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.repeat(array, 2)[::2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.ones(4_000_000),
        lambda: np.asfortranarray(np.ones((2000, 2000))),
        lambda: np.ones((2, 2_000_000), order="F"),
        lambda: _strided(np.ones(4_000_000)),
        lambda: np.ones(2_000_000, np.longdouble),
        lambda: np.ma.masked_array(np.ones(4_000_000), np.zeros(4_000_000, bool)),
        lambda: pd.DataFrame(np.ones((40_000, 100))),
        lambda: pd.Series(np.ones(4_000_000, "i8"), dtype="Int64"),
        lambda: pl.Series(np.ones(4_000_000)),
        lambda: pa.array(np.ones(4_000_000)),
    ],
)
def test_what_is_large_is_hashed_where_it_is(make: Callable[[], Any]) -> None:
    value = make()
    digest_of(value)  # whatever is imported or kept at the first time is not what is measured
    tracemalloc.start()
    digest_of(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize(
    "make",
    [
        lambda: pa.array(np.ones(4_000_000), mask=np.arange(4_000_000) == 1),
        lambda: pa.array(["x" * 100, None] * 200_000),
        lambda: pa.array(["x" * 100] * 200_000, pa.string_view()).slice(1),
        lambda: numbered([0] * 4_000_000, ["x" * 100]),
    ],
)
def test_what_arrow_holds_is_hashed_where_it_is(make: Callable[[], Any]) -> None:
    value, pool = make(), pa.default_memory_pool()
    measured = pa.proxy_memory_pool(pool)
    pa.set_memory_pool(measured)
    try:
        digest_of(value)
    finally:
        pa.set_memory_pool(pool)
    assert measured.max_memory() < 16 * 2**20


def test_no_library_is_imported_for_a_program_that_does_not_use_it() -> None:
    program = """if True:
        import sys
        from s3memo import fingerprint
        from s3memo.keys import digest_of
        digest_of({"a": [1, 2.0, "x"], "b": print})
        print({"numpy", "pandas", "polars", "pyarrow", "scipy", "pydantic", "attrs"} & sys.modules.keys())
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
