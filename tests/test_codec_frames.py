from __future__ import annotations

import contextlib
import copy
import datetime as dt
import subprocess
import sys
import textwrap
from collections.abc import Callable
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import dateutil.tz
import msgpack
import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types
import pytest
import pytz  # type: ignore[import-untyped]  # it comes without types
from hypothesis import given
from hypothesis import strategies as st

from s3memo.codec import decode, encode, is_immutable
from s3memo.errors import DecodeError, EncodeError
from tests.measuring import peak

FROM_PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3
BERLIN = "Europe/Berlin"


def stored(value: object) -> bytearray:
    return bytearray(b"".join(encode(value)))


def returned(value: Any) -> Any:
    """What a reader gets of it, who has nothing but the bytes."""
    return decode(stored(value))


def tagged(code: int, *parts: object) -> msgpack.ExtType:
    """A value with parts that `encode` might never write, to be packed into a larger one."""
    return [msgpack.ExtType(code, b""), *parts]


def seen(value: Any) -> Any:  # noqa: C901, PLR0911, PLR0912  one case a type
    """All there is to see of a value, as something that compares simply: types, dtypes, bits, names, freq, flags."""
    kind = type(value)
    match value:
        case pd.DataFrame():
            columns = [seen(value.iloc[:, position].array) for position in range(value.shape[1])]
            return kind, seen(value.index), seen(value.columns), columns, seen(value.attrs), repr(value.flags)
        case pd.Series():
            return kind, seen(value.array), seen(value.index), seen(value.name), seen(value.attrs), repr(value.flags)
        case pd.MultiIndex():
            return kind, seen([list(value.names), list(value.levels), list(value.codes), value.sortorder])
        case pd.RangeIndex():
            return kind, value.start, value.stop, value.step, seen(value.name)
        case pd.Index():
            return kind, seen(value.array), seen(value.name), seen(getattr(value, "freq", None))
        case pd.Categorical():
            return kind, seen(value.codes), seen(value.dtype)
        case pd.CategoricalDtype():
            return kind, seen(value.categories), value.ordered
        case pd.arrays.IntervalArray():
            return kind, value.dtype, seen(value.left), seen(value.right)
        case pd.arrays.SparseArray():
            return kind, value.dtype, value.kind, seen(value.sp_values), seen(value.sp_index.to_int_index().indices)
        case pd.arrays.NumpyExtensionArray():
            return kind, seen(value.to_numpy())
        case pd.api.extensions.ExtensionArray():
            return kind, type(value.dtype), value.dtype, getattr(value, "freq", None), seen(list(value))
        case np.ndarray():
            items = seen(value.ravel().tolist()) if value.dtype.hasobject else value.tobytes()
            return kind, value.dtype, value.shape, items
        case list() | tuple():
            return kind, [seen(item) for item in value]
        case dict():
            return kind, seen(list(value.items()))
        case float() | np.floating():
            return kind, np.float64(value).tobytes()
        case pd.Timestamp():
            return kind, value, value.unit, value.fold, value.tz
        case pd.Timedelta():
            return kind, value, value.unit
        case _ if value is pd.NaT or value is pd.NA:
            return kind
        case _:
            return kind, value


def assert_same(value: Any, other: Any) -> None:
    assert seen(other) == seen(value)


NANS = np.array([0xFFF8000000000000, 0x7FF800000000BEEF, 0x8000000000000000], "u8").view("f8")

COLUMNS: dict[str, Callable[[], Any]] = {  # of three rows each
    "floats": lambda: NANS,
    **{kind: lambda kind=kind: np.array([1, 0, 3], kind) for kind in ("i1", "u2", "i8", "f4", "c16", ">i4", "bool")},
    **{f"M8[{unit}]": lambda unit=unit: np.array([1, -(2**63), 3], f"M8[{unit}]") for unit in ("s", "ms", "us", "ns")},
    "m8[us]": lambda: np.array([1, -(2**63), 3], "m8[us]"),
    "objects": lambda: pd.Series([{"a": (1,)}, [[2], 3], None], dtype=object),
    "missing objects": lambda: pd.Series([np.nan, pd.NA, pd.NaT], dtype=object),
    "text as objects": lambda: pd.Series(["a", "\udc80", ""], dtype=object),
    "scalars as objects": lambda: pd.Series([pd.Timestamp(0), np.float32(1), pd.Period("2020", "D")], dtype=object),
    "Int8": lambda: pd.array([1, None, 3], dtype="Int8"),
    "UInt64": lambda: pd.array([1, 2, 2**64 - 1], dtype="UInt64"),
    "Float32": lambda: pd.array([1.5, None, -0.0], dtype="Float32"),
    "boolean": lambda: pd.array([True, None, False], dtype="boolean"),
    "string[python]": lambda: pd.array(["a", None, "\udc80"], dtype="string[python]"),
    "string[pyarrow]": lambda: pd.array(["a", None, "ü"], dtype="string[pyarrow]"),
    "category": lambda: pd.Categorical(["b", None, "a"], categories=["z", "b", "a"], ordered=True),
    "category of times": lambda: pd.Categorical(pd.to_datetime(["2020", None, "2021"]).as_unit("s")),
    "zone": lambda: pd.array(pd.to_datetime(["2021-10-31 00:30", None, "2021-10-31 01:30"], utc=True)).tz_convert(
        ZoneInfo(BERLIN)
    ),
    "fixed zone": lambda: pd.array(pd.date_range("2020", periods=3)).tz_localize(dt.timezone(dt.timedelta(hours=5))),
    "period": lambda: pd.array(pd.PeriodIndex(["2020Q1", None, "2021Q3"], freq="Q-MAR")),
    "interval": lambda: pd.arrays.IntervalArray.from_tuples([(0, 1), None, (3, 4)], closed="both"),
    "interval of times": lambda: pd.arrays.IntervalArray.from_breaks(pd.date_range("2020", periods=4, tz=BERLIN)),
    "sparse": lambda: pd.arrays.SparseArray([0, 5, 0]),
    "sparse in blocks": lambda: pd.arrays.SparseArray([np.nan, 5, np.nan], kind="block"),
    "int64[pyarrow]": lambda: pd.array([1, None, 3], dtype="int64[pyarrow]"),
    "timestamp[pyarrow]": lambda: pd.array(pd.to_datetime(["2020", None, "2021"]), dtype="timestamp[us][pyarrow]"),
}
if FROM_PANDAS_3:
    COLUMNS["str"] = lambda: pd.array(["a", None, "ü"], dtype="str")
    COLUMNS["str in Python"] = lambda: pd.array(["a", None, "\udc80"], dtype=pd.StringDtype("python", na_value=np.nan))

INDEXES: dict[str, Callable[[], pd.Index]] = {
    "range": lambda: pd.RangeIndex(7, 1, -2, name="n"),
    "objects": lambda: pd.Index([(1, 2), "a", None], dtype=object, name=("a", 1), tupleize_cols=False),
    "text": lambda: pd.Index(["a", "b", "a"]),
    "text as objects": lambda: pd.Index(["a", "b", "a"], dtype=object),
    "bool": lambda: pd.Index([True, False, True]),
    "Int8": lambda: pd.Index([1, None, 3], dtype="Int8"),
    "days": lambda: pd.date_range("2020", periods=3, freq="2D"),
    "business days": lambda: pd.date_range("2020", periods=3, freq="B", unit="s") if FROM_PANDAS_3 else None,
    "over a change of clocks": lambda: pd.date_range("2021-10-30", periods=3, freq="D", tz=BERLIN),
    "months": lambda: pd.date_range("2020", periods=3, freq="MS", tz="UTC", name="month"),
    "no freq": lambda: pd.DatetimeIndex(["2020", None, "1999"]),
    "hours": lambda: pd.timedelta_range("1h", periods=3, freq="90min"),
    "periods": lambda: pd.period_range("2020", periods=3, freq="W-WED", name="week"),
    "intervals": lambda: pd.interval_range(0, 3, closed="left"),
    "category": lambda: pd.CategoricalIndex(["a", None, "a"], categories=["a", "b"], name="c"),
    "two levels": lambda: pd.MultiIndex.from_tuples([(1, "a"), (2, None), (1, "b")], names=["x", ("y", 1)]),
    "levels of many kinds": lambda: pd.MultiIndex(
        [pd.date_range("2020", periods=2, freq="D"), pd.CategoricalIndex(["a", "b"]), pd.RangeIndex(5)],
        [[0, 1, -1], [1, 1, 0], [4, 0, 0]],
        names=["a", "a", None],
    ),
}
INDEXES = {name: make for name, make in INDEXES.items() if make() is not None}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_as_it_was(name: str) -> None:
    series = pd.Series(COLUMNS[name](), name=("a", 1), index=list("xyz"))
    frame = pd.DataFrame({"x": series, "y": series})
    for value in (series, series.array, series.iloc[1:], series.iloc[:0], frame, frame.iloc[::2], frame.iloc[:0]):
        assert_same(value, returned(value))
    assert_same(series.dtype, returned(series.dtype))


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_comes_back_as_it_was(name: str) -> None:
    index = INDEXES[name]()
    rows, columns = pd.DataFrame({"a": range(3)}, index=index), pd.DataFrame([[1, 2, 3]], columns=index)
    for value in (index, index[::-1], index[:0], rows, rows["a"], columns, pd.DataFrame(index=index)):
        assert_same(value, returned(value))


def test_a_frame_of_all_kinds_of_columns_comes_back_with_each_in_its_place() -> None:
    frame = pd.concat([pd.Series(make(), name=name) for name, make in COLUMNS.items()] * 2, axis=1)
    assert_same(frame, returned(frame))
    shuffled = frame.iloc[:, np.random.default_rng(0).permutation(frame.shape[1])]
    assert_same(shuffled, returned(shuffled))


@pytest.mark.parametrize("rows", [0, 3])
def test_a_frame_without_columns_keeps_its_index_and_the_type_of_its_labels(rows: int) -> None:
    for labels in (pd.RangeIndex(0), pd.Index([], dtype=object), pd.MultiIndex.from_arrays([[], []])):
        frame = pd.DataFrame(index=pd.RangeIndex(rows), columns=labels)
        assert_same(frame, returned(frame))


def test_attrs_and_flags_come_back() -> None:
    frame = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    frame.attrs = {"unit": ("m", 1)}
    assert_same(frame, returned(frame))
    series = frame["a"].set_flags(allows_duplicate_labels=False)
    series.attrs = {1: [frame.index]}
    assert_same(series, returned(series))


SCALARS = [
    pd.NaT,
    pd.NA,
    *(pd.Timestamp("2020-02-29 12:34:56").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
    pd.Timestamp("9999-12-31 23:59:59.999999"),
    pd.Timestamp(1, unit="ns", tz="UTC"),
    pd.Timestamp("2021-10-31 02:30", tz=dt.timezone(dt.timedelta(hours=-3))),
    *(pd.Timestamp(2021, 10, 31, 2, 30, tz=ZoneInfo(BERLIN), fold=fold) for fold in (0, 1)),
    pd.Timestamp(2021, 10, 31, 2, 30, fold=1),
    *(pd.Timedelta(-90, "min").as_unit(unit) for unit in ("s", "ms", "us", "ns")),
    pd.Period("2020-01", "M"),
    pd.Period("2020-01-06", "W-MON"),
    pd.Interval(1, 2.5, closed="neither"),
    pd.Interval(pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2021", tz="UTC")),
    *(getattr(pd.offsets, name)(3) for name in ("Day", "Hour", "Minute", "Second", "Milli", "Micro", "Nano")),
    pd.offsets.MonthEnd(-2, normalize=True),
    pd.offsets.QuarterBegin(startingMonth=2),
    pd.offsets.YearEnd(month=4),
    pd.offsets.Week(weekday=3),
    pd.offsets.WeekOfMonth(week=1, weekday=2),
    pd.offsets.LastWeekOfMonth(weekday=4),
    pd.offsets.SemiMonthEnd(day_of_month=10),
    pd.offsets.FY5253Quarter(startingMonth=1, weekday=1, qtr_with_extra_week=2, variation="last"),
    pd.offsets.Easter(),
    pd.offsets.DateOffset(months=2, days=-1),
    pd.offsets.BusinessDay(offset=dt.timedelta(hours=1)),
    pd.offsets.BusinessHour(start="08:30", end=["12:00"]),
    pd.offsets.CustomBusinessDay(weekmask="Sun Mon", holidays=["2020-01-01"]),
]


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_a_scalar_comes_back_as_it_was(value: object) -> None:
    assert_same(value, returned(value))


@pytest.mark.parametrize(
    "dtype",
    [
        pd.CategoricalDtype(),
        pd.CategoricalDtype(["a", "b"], ordered=True),
        pd.DatetimeTZDtype("s", dt.UTC),
        pd.PeriodDtype("D"),
        pd.IntervalDtype("f4", "left"),
        pd.IntervalDtype(),
        pd.IntervalDtype(pd.DatetimeTZDtype("us", BERLIN), "left"),
        pd.SparseDtype("f8", 0.0),
        pd.Int16Dtype(),
        pd.StringDtype("python"),
    ],
    ids=repr,
)
def test_a_dtype_comes_back_as_it_was(dtype: object) -> None:
    assert_same(dtype, returned(dtype))


def test_frames_come_back_from_inside_any_container() -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", None]})
    value = {"frames": [frame, (frame["a"], {"index": frame.index})], pd.Timestamp(0): {pd.NaT, 1}}
    assert_same(value, returned(value))
    nested = pd.DataFrame({"cells": pd.Series([frame, [frame["b"]]], dtype=object)})
    assert_same(nested, returned(nested))


def assert_value_or_refused(sample: bytes, random: Random) -> None:
    """Alter one to three bytes, and cut the end off at times."""
    altered = bytearray(sample)
    for _ in range(random.randint(1, 3)):
        altered[random.randrange(len(altered))] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
    if random.random() < 0.1:
        del altered[random.randrange(len(altered)) :]
    with contextlib.suppress(DecodeError):
        decode(altered)


hashables = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.tuples(st.integers(), st.text())
)
labels = hashables.filter(lambda label: label == label)  # noqa: PLR0124  NaN is no label that is found again


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Any:
    """A column of so many rows, of those above but one whose rows pandas cannot pick."""
    series = pd.Series(COLUMNS[draw(st.sampled_from(sorted(COLUMNS.keys() - {">i4"})))]())
    return series.iloc[draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))].reset_index(drop=True)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    index = INDEXES[draw(st.sampled_from(sorted(INDEXES)))]()
    index = index[draw(st.one_of(st.just(slice(None)), st.lists(st.integers(0, 2), max_size=5)))]
    parts = draw(st.lists(columns(len(index)), max_size=5))
    frame = pd.DataFrame(dict(enumerate(parts)), index=range(len(index)), copy=draw(st.booleans()))
    frame.index = index
    names = draw(st.lists(labels, min_size=len(parts), max_size=len(parts)))
    frame.columns = pd.Index(names, dtype=object, tupleize_cols=False, name=draw(labels))
    frame.attrs = draw(st.dictionaries(st.text(max_size=2), st.lists(st.integers()), max_size=2))
    return frame


@given(frames())
def test_any_frame_comes_back_as_it_was(frame: pd.DataFrame) -> None:
    assert_same(frame, returned(frame))
    assert_same(frame.dtypes, returned(frame.dtypes))


@given(frames())
def test_whatever_comes_back_can_be_written_to_and_is_nobody_elses(frame: pd.DataFrame) -> None:
    untouched = copy.deepcopy(frame)
    data = bytes(stored(frame))
    mine, others = decode(data), decode(data)
    for position in range(mine.shape[1]):
        dtype = mine.dtypes.iloc[position]
        if not isinstance(dtype, pd.SparseDtype) and len(mine):
            mine.iloc[0, position] = "new" if isinstance(dtype, np.dtypes.ObjectDType) else mine.iloc[-1, position]
    assert_same(others, frame)
    assert_same(frame, untouched)


def test_large_blocks_lie_over_the_bytes_that_were_read() -> None:
    numbers = np.random.default_rng(0).random((100, 6))
    whole_numbers = pd.DataFrame({"n": range(100), "m": range(100)})
    frame = pd.concat([pd.DataFrame(numbers, columns=list("abcdef")), whole_numbers], axis=1)[list("anbcmdef")]
    data = stored(frame)
    back = decode(data)
    whole = np.frombuffer(data, np.uint8)
    for name in frame:
        assert np.shares_memory(back[name].to_numpy(), whole)
    floats = back[list("abcdef")].to_numpy()
    assert np.shares_memory(floats, back["f"].to_numpy())  # one block still
    back.loc[0, "a"] = 42.0
    assert back.loc[0, "a"] == 42.0
    assert frame.loc[0, "a"] == numbers[0, 0]


def test_columns_added_one_by_one_come_back_as_one_block() -> None:
    frame = pd.DataFrame(index=range(200))
    for number in range(9):
        frame[number] = np.arange(200) * 1.5
    frame["text"] = pd.Series(["a"] * 200, dtype=object)
    back = returned(frame)
    assert_same(frame, back)
    numbers = back[list(range(9))].to_numpy()
    assert np.shares_memory(numbers, back[0].to_numpy())


def test_what_cannot_be_stored_is_named_with_its_column() -> None:
    frame = pd.DataFrame({"a": [1, 2], "price": pd.Series([1, object()], dtype=object)})
    with pytest.raises(EncodeError, match=r"result\['x'\]\.data\['price'\]\[1\] is of type object"):
        encode({"x": frame})
    with pytest.raises(EncodeError, match=r"result\.columns\.values\[0\] is of type object"):
        encode(pd.DataFrame([[1]], columns=[object()]))
    with pytest.raises(EncodeError, match=r"result\.attrs\['a'\] is of type object"):
        encode(pd.Series([1]).pipe(lambda series: setattr(series, "attrs", {"a": object()}) or series))


def test_a_time_zone_of_another_library_is_named_with_the_remedy() -> None:
    zone = dateutil.tz.gettz(BERLIN)
    with pytest.raises(EncodeError, match=r"time zone is of type dateutil\.tz\..* Use one of zoneinfo"):
        encode(pd.Timestamp("2020", tz=zone))
    assert not is_immutable(pd.Timestamp("2020", tz=zone))  # and pickle, which stores it, may have it in memory


def test_time_zones_of_pytz_come_back() -> None:
    zone = pytz.timezone(BERLIN)
    stamp = pd.Timestamp("2021-10-31 00:30", tz="UTC").tz_convert(zone)
    assert_same(stamp, returned(stamp))
    assert returned(stamp).tz.zone == BERLIN
    index = pd.date_range("2020", periods=3, tz=zone)
    assert_same(index, returned(index))
    with pytest.raises(DecodeError, match="is not the name of a time zone"):
        decode(msgpack.packb(tagged(58, 0, "s", "../../etc/passwd", 0)))


def test_a_large_range_as_a_level_is_refused_with_the_remedy() -> None:
    index = pd.MultiIndex([pd.RangeIndex(2**21), ["a"]], [[5], [0]])
    with pytest.raises(EncodeError, match="remove_unused_levels"):
        encode(index)
    assert_same(index.remove_unused_levels(), returned(index.remove_unused_levels()))


def test_long_columns_of_strings_go_through_arrow() -> None:
    frame = pd.DataFrame({"s": pd.array(["a", None, "ü" * 50] * 1000, dtype="string[pyarrow]")})
    assert_same(frame, returned(frame))
    assert_same(frame.iloc[1500:], returned(frame.iloc[1500:]))


def parts_of(value: object) -> Any:
    """A small value as `encode` writes it, to be packed into one that it would not write."""
    return msgpack.unpackb(stored(value))


MONTHS = parts_of(pd.offsets.MonthEnd(1))
CATEGORIES = parts_of(pd.CategoricalDtype(["a"]))
CODES = parts_of(np.array([5], "i1"))
INSTANTS = parts_of(np.array([5], "M8[s]"))
RANGE = parts_of(pd.RangeIndex(1))
STRUCTURES = parts_of(np.zeros(1, [("a", "i1"), ("b", "i1")]))


@pytest.mark.parametrize(
    "parts",
    [
        tagged(58, 0, "D", None, 0),
        tagged(58, 2**63, "s", None, 0),
        tagged(59, 0, "generic"),
        tagged(62, 0, "M"),
        tagged(64, "Tick", 1, False, {}),
        tagged(64, "BaseOffset", 1, False, {}),
        tagged(64, "system", 1, False, {}),
        tagged(64, "MonthEnd", 1, False, {"months": 1}),
        tagged(64, "DateOffset", 1, False, {"__class__": 1}),
        tagged(65, "object", tagged(1)),
        tagged(65, "IntervalDtype", tagged(1, "category", "left")),
        tagged(65, "StringDtype", tagged(1, "elsewhere", False)),
        tagged(65, "PeriodDtype", tagged(1, "M; import os")),
        tagged(66, "abc", None, None),
        tagged(66, ["a"], MONTHS, None),
        tagged(66, ["a"], None, []),
        tagged(68, [["a"]], [[0]], [None], None),
        tagged(68, [RANGE], [CODES], [None], None),
        tagged(69, ["a"], tagged(67, 0, 2, 1, None), None, {}, True),
        tagged(70, RANGE, tagged(67, 0, 2**40, 1, None), {}, True, [], []),
        tagged(70, RANGE, RANGE, {}, True, [], [["a", "b"]]),
        tagged(70, RANGE, RANGE, {}, True, [[[7], CODES]], []),
        tagged(70, RANGE, RANGE, {}, True, [], [RANGE]),
        tagged(70, RANGE, RANGE, {}, True, [], [STRUCTURES]),
        tagged(71, CODES, CATEGORIES),
        tagged(72, CODES, None, None),
        tagged(73, CODES, MONTHS),
        tagged(74, [2], [1], "left"),
        tagged(75, CODES, CODES, 1, 0, "integer"),
        tagged(76, INSTANTS, None),
        tagged(77, "python", False, ["a", 1]),
        tagged(77, "pyarrow", False, {"a": 1}),
        tagged(78, ["a"]),
        tagged(79, ["a"], ["b"]),
    ],
    ids=repr,
)
def test_parts_that_make_no_value_are_refused(parts: object) -> None:
    with pytest.raises(DecodeError):
        decode(msgpack.packb(parts))


LONG = parts_of(pd.RangeIndex(10**7))
SPARSE = tagged(75, parts_of(np.zeros(0)), parts_of(np.zeros(0, "i4")), 10**7, 0.0, "integer")
NULLS = parts_of(pa.chunked_array([pa.nulls(10**7)]))
EMPTY_LISTS = parts_of(pa.chunked_array([pa.array([[]] * 10**5, pa.list_(pa.int8(), 0))]))
LONG_ONES = {
    "range": LONG,
    "sparse index": tagged(66, SPARSE, None, None),
    "index of nulls": tagged(66, tagged(78, NULLS), None, None),
    "index of empty lists": tagged(66, tagged(78, EMPTY_LISTS), None, None),
}


@pytest.mark.parametrize("long", LONG_ONES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda long: tagged(2, tagged(65, "CategoricalDtype", tagged(1, long, False))),
        lambda long: tagged(65, "DatetimeTZDtype", tagged(1, long, "UTC")),
        lambda long: tagged(68, [long], [CODES], [None], None),
        lambda long: tagged(68, [parts_of(pd.Index(["a"]))], [long], [None], None),
        lambda long: tagged(68, long, long, long, None),
        lambda long: tagged(70, RANGE, RANGE, {}, True, [[long, CODES]], []),
        lambda long: tagged(74, long, long, "right"),
        lambda long: tagged(64, "BusinessHour", 1, False, {"start": long}),
        lambda long: tagged(25, "<h2", tagged(1, long), True, b"ab"),
        lambda long: tagged(66, long, None, None),
        lambda long: tagged(33, [long, "<f8", [1]]),
    ],
    ids=range(11),
)
def test_what_is_long_and_takes_no_bytes_is_not_gone_through(long: str, wrap: Callable[[Any], Any]) -> None:
    refused(wrap(LONG_ONES[long]))


@pytest.mark.parametrize(
    "parts",
    [
        tagged(74, SPARSE, SPARSE, "right"),
        tagged(74, tagged(78, NULLS), tagged(78, NULLS), "right"),
        tagged(77, "python", False, NULLS),
        tagged(77, "pyarrow", False, EMPTY_LISTS),
        tagged(66, tagged(32, "|V0", [2**20], "C", b"", None), None, None),
    ],
    ids=range(5),
)
def test_arrays_that_take_no_bytes_are_not_gone_through(parts: Any) -> None:
    refused(parts)


def refused(parts: Any) -> None:
    """Whether parts are refused, and without memory for what they claim."""
    data = msgpack.packb(parts)

    def read() -> None:
        with pytest.raises(DecodeError):
            decode(data)

    assert peak(read) < 1 << 20


def test_a_long_level_that_codes_refer_to_is_stored() -> None:
    index = pd.MultiIndex.from_arrays([pd.RangeIndex(100_000), ["a"] * 100_000])
    index = index.set_levels(pd.RangeIndex(100_000), level=0)
    assert_same(index, returned(index))


def _samples() -> list[bytearray]:
    frame = pd.concat([pd.Series(make(), name=name) for name, make in COLUMNS.items()], axis=1)
    return [
        stored(frame),
        stored(frame.iloc[:, :10].set_index(pd.date_range("2020", periods=3, freq="MS", tz=BERLIN))),
        *(stored(pd.DataFrame({"a": range(3)}, index=make())) for make in INDEXES.values()),
        stored(SCALARS),
    ]


SAMPLES = _samples()


@given(st.randoms(use_true_random=True))
def test_altered_bytes_are_a_value_or_refused(random: Random) -> None:
    for sample in SAMPLES:
        assert_value_or_refused(sample, random)


def test_frames_of_numbers_and_text_need_no_pyarrow() -> None:
    script = """
        import sys
        sys.modules["pyarrow"] = None  # as if it were not installed

        import pandas as pd
        from s3memo.codec import decode, encode, is_immutable
        from s3memo.errors import DecodeError, EncodeError

        frame = pd.DataFrame({"a": [1.5, None], "b": ["x", None], "c": pd.Categorical(["a", "b"])})
        pd.testing.assert_frame_equal(frame, decode(b"".join(encode(frame))), check_exact=True)
        try:
            decode(bytes.fromhex(sys.argv[1]))
        except DecodeError as error:
            print(error)
    """
    with_arrow = stored(pd.array([1], dtype="int64[pyarrow]"))
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), with_arrow.hex()], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "pip install 's3memo[arrow]'" in ran.stdout


def test_a_date_is_stored_by_a_process_that_has_stored_none_of_the_standard_library() -> None:
    script = "import pandas as pd; from s3memo.codec import decode, encode; print(*encode(pd.Timestamp(0)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == " ".join(map(str, encode(pd.Timestamp(0)))), ran.stderr
