from __future__ import annotations

import contextlib
import datetime as dt
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import msgpack
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.codec import decode, encode, ipc
from s3memo.codec.arrow import read_stream, write_stream
from s3memo.errors import DecodeError, EncodeError


def stored(value: object) -> bytearray:
    return bytearray(b"".join(encode(value)))


def returned(value: Any) -> Any:
    return decode(stored(value))


def tagged(code: int, *parts: object) -> bytes:
    return msgpack.packb([msgpack.ExtType(code, b""), *parts])


ITEMS: dict[pa.DataType, list[object]] = {
    pa.null(): [None, None],
    pa.bool_(): [True, None],
    pa.uint8(): [255, None],
    pa.float16(): [1.5, None],
    pa.float64(): [-0.0, None],
    pa.string(): ["ü", None],
    pa.large_string(): ["a" * 50, None],
    pa.string_view(): ["a" * 50, None],
    pa.binary(2): [b"ab", None],
    pa.large_binary(): [b"ab", None],
    pa.binary_view(): [b"ab" * 20, None],
    pa.decimal128(5, 2): [Decimal("1.20"), None],
    pa.decimal256(50, -2): [Decimal("1E+40"), None],
    pa.date32(): [dt.date(2020, 1, 1), None],
    pa.date64(): [dt.date(2020, 1, 1), None],
    pa.time64("ns"): [dt.time(1, 2), None],
    pa.timestamp("ms", "Europe/Berlin"): [0, None],
    pa.duration("s"): [1, None],
    pa.month_day_nano_interval(): [(1, 2, 3), None],
    pa.list_(pa.int8()): [[1, None], None],
    pa.list_(pa.field("x", pa.int8(), nullable=False, metadata={"a": "b"}), 2): [[1, 2], None],
    pa.large_list(pa.list_(pa.string())): [[["a"], []], None],
    pa.list_view(pa.int8()): [[1], None],
    pa.map_(pa.string(), pa.int8(), keys_sorted=True): [[("a", 1)], None],
    pa.struct([("a", pa.int8()), ("b", pa.dictionary(pa.int8(), pa.string()))]): [{"a": 1, "b": "x"}, None],
    pa.struct([]): [{}, None],
    pa.dictionary(pa.int16(), pa.string(), ordered=True): ["a", None],
    pa.run_end_encoded(pa.int32(), pa.int8()): [1, None],
}


def arrays() -> Iterator[pa.Array]:
    for kind, items in ITEMS.items():
        yield pa.array(items, kind)
    yield pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int8(), [2], dim_names=["x"]), pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    )
    if hasattr(pa, "uuid"):
        yield pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16)))
    kinds, offsets = pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32())
    yield pa.UnionArray.from_dense(kinds, offsets, [pa.array([1]), pa.array(["a"])])
    yield pa.UnionArray.from_sparse(kinds, [pa.array([1, 2]), pa.array(["a", "b"])])


ARRAYS = list(arrays())


def assert_same(value: Any, other: Any) -> None:
    """Equal in all there is to see: types, metadata, names, chunks, bits."""
    assert type(other) is type(value)
    match value:
        case pa.Table():
            assert other.equals(value, check_metadata=True)
            assert other.shape == value.shape
            for column, other_column in zip(value.columns, other.columns, strict=True):
                assert_same(column, other_column)
        case pa.RecordBatch() | pa.Schema() | pa.Field():
            assert other.equals(value, check_metadata=True)
        case pa.ChunkedArray():
            assert other.type.equals(value.type, check_metadata=True)
            assert other.equals(value)
            assert list(map(len, other.chunks)) == list(map(len, value.chunks))
        case pa.DataType():
            assert other.equals(value, check_metadata=True)
        case pa.Array() | pa.Scalar():
            assert other.type.equals(value.type, check_metadata=True)
            assert other.equals(value)
        case pl.DataFrame():
            assert other.schema == value.schema
            assert other.shape == value.shape
            assert other.equals(value, null_equal=True)
        case pl.Series():
            assert other.dtype == value.dtype
            assert other.equals(value, check_dtypes=True, check_names=True, null_equal=True)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.type))
def test_what_pyarrow_holds_comes_back_as_it_was(array: pa.Array) -> None:
    nullable = pa.types.is_null(array.type) or pa.types.is_union(array.type)
    for value in (
        array,
        array[1:],
        array[:0],
        pa.chunked_array([array, array[:0], array[1:]]),
        pa.chunked_array([], array.type),
        array.type,
        pa.field("x", array.type, nullable=nullable, metadata={"a": b"\xff"}),
        pa.schema([("x", array.type), ("x", array.type)], metadata={"a": "b"}),
        pa.record_batch([array], ["x"]),
        pa.table({"x": array}),
    ):
        assert_same(value, returned(value))


@pytest.mark.parametrize(
    "array", [array for array in ARRAYS if not pa.types.is_union(array.type)], ids=lambda array: str(array.type)
)
def test_a_scalar_comes_back_as_it_was(array: pa.Array) -> None:
    for scalar in array:
        assert_same(scalar, returned(scalar))


def test_nan_comes_back_with_its_bits() -> None:
    bits = np.array([0x7FF800000000BEEF, 0xFFF8000000000000], "u8")
    back = returned(pa.array(bits.view("f8")))
    assert back.to_numpy().view("u8").tolist() == bits.tolist()


ROWS = pa.RecordBatch.from_struct_array(pa.array([{}] * 5, pa.struct([])))
CHUNKS = pa.chunked_array([[1], [], [2, 3]], pa.int64())


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.Table.from_batches([ROWS]),
        pa.schema([("a", pa.int8())]).empty_table(),
        pa.Table.from_batches([], pa.schema([("a", pa.int8())])),
        pa.table([[1], [2]], ["a", "a"], metadata={"b": "c"}),
        pa.table({"a": CHUNKS, "b": CHUNKS}),
        pa.table({"a": CHUNKS, "b": pa.chunked_array([[1, 2, 3]]), "c": CHUNKS}, metadata={"b": "c"}),
        pa.table({"a": pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()])}),
        pa.table({"a": list(range(1000))}).slice(990),
    ],
    ids=repr,
)
def test_a_table_comes_back_with_its_chunks(table: pa.Table) -> None:
    assert_same(table, returned(table))


def test_a_batch_of_rows_without_columns_comes_back() -> None:
    assert_same(ROWS, returned(ROWS))


def test_a_slice_of_a_large_table_is_stored_as_the_slice() -> None:
    table = pa.table({"a": range(100_000), "b": ["text"] * 100_000})
    assert len(stored(table.slice(500, 10))) < 3000


def test_a_table_lies_over_the_bytes_that_were_read() -> None:
    data = stored(pa.table({"a": range(1000)}))
    buffer = decode(data).column("a").chunk(0).buffers()[1]
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    assert start <= buffer.address < start + len(data)


class Registered(pa.ExtensionType):
    runs = 0

    def __init__(self) -> None:
        super().__init__(pa.int8(), "tests.registered")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Registered:
        cls.runs += 1
        return cls()


@pytest.fixture
def registered() -> Iterator[Registered]:
    kind = Registered()
    pa.register_extension_type(kind)
    yield kind
    pa.unregister_extension_type("tests.registered")


def test_an_extension_type_of_python_is_neither_stored_nor_run(registered: Registered) -> None:
    array = pa.ExtensionArray.from_storage(registered, pa.array([1], pa.int8()))
    for value in (array, array[0], pa.table({"a": array}), pa.schema([("a", pa.list_(registered))])):
        with pytest.raises(EncodeError, match=r"tests\.registered"):
            encode(value)
    with pytest.raises(EncodeError, match="result is of type tests"):
        encode(registered)
    file = pa.BufferOutputStream()
    with pa.ipc.new_stream(file, pa.schema([("a", registered)])):
        pass
    runs = Registered.runs
    with pytest.raises(DecodeError, match=r"tests\.registered"):
        decode(tagged(53, file.getvalue().to_pybytes()))
    assert Registered.runs == runs


def stream_of(table: pa.Table, **options: Any) -> bytearray:
    file = pa.BufferOutputStream()
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytearray(file.getvalue().to_pybytes())


@pytest.mark.parametrize(
    "column", [[0] * 1000, pa.array(["a" * 1000] * 9).dictionary_encode()], ids=["plain", "dictionary"]
)
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_stream_is_refused(column: Any, codec: str) -> None:
    with pytest.raises(DecodeError, match="compressed"):
        decode(tagged(49, bytes(stream_of(pa.table({"a": column}), compression=codec)), None))


def test_buffers_that_share_bytes_are_refused() -> None:
    stream = stream_of(pa.table({"a": [1, 2, 3], "b": [4, 5, 6]}))
    no_nulls, second = (24, 0), (24, 24)  # where they begin in the body, and their lengths
    position = stream.index(struct.pack("<4q", *no_nulls, *second)) + 16
    stream[position : position + 8] = bytes(8)
    with pytest.raises(DecodeError, match="share bytes"):
        decode(tagged(49, bytes(stream), None))


def test_fields_that_share_a_dictionary_are_refused() -> None:
    """Arrow's readers would look at all of it again for each of them."""
    stream = stream_of(pa.table({name: pa.array(["x"]).dictionary_encode() for name in "abc"}))
    header = ipc._root(memoryview(bytes(stream))[8:])
    *_, last = header.table(2).tables(1)
    position = last.table(4)._find(0)
    assert position is not None
    assert decode(tagged(49, bytes(stream), None)).num_rows == 1
    struct.pack_into("<q", stream, 8 + position, 1)
    with pytest.raises(DecodeError, match="share a dictionary"):
        decode(tagged(49, bytes(stream), None))


def test_each_of_many_dictionaries_has_a_number_of_its_own() -> None:
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    nested = pa.StructArray.from_arrays([words, pa.ListArray.from_arrays([0, 1, 2, 3], words)], ["x", "y"])
    table = pa.table({"words": words, "same": words, "nested": nested})
    assert_same(table, returned(table))


def test_a_stream_ends_where_its_bytes_end() -> None:
    stream = bytes(stream_of(pa.table({"a": [1, 2, 3]})))
    for other in (b"", stream[:-8], stream[:-1], stream + b"\0", stream[:50], stream * 2, stream[8:]):
        with pytest.raises(DecodeError):
            decode(tagged(49, other, None))


def test_parts_that_do_not_fit_are_refused() -> None:
    (one,), two = (bytes(stream_of(pa.table({"a": [1]}))),), bytes(stream_of(pa.table({"a": [1], "b": [1]})))
    schema = bytes(
        getattr(write_stream(pa.schema([("a", pa.int64())])), "views", [write_stream(pa.schema([("a", pa.int64())]))])[
            0
        ]
    )
    for parts in ((48, schema), (49, one, []), (49, schema, []), (50, two), (51, schema), (53, one), (54, two)):
        with pytest.raises(DecodeError):
            decode(tagged(*parts))


def test_a_type_nested_too_deep_is_refused_with_its_reason() -> None:
    kind = pa.int8()
    for _ in range(80):
        kind = pa.list_(kind)
    with pytest.raises(EncodeError, match="nested"):
        encode(kind)


def _sample() -> bytes:
    table = pa.table({str(number): array for number, array in enumerate(ARRAYS)})
    return bytes(write_and_join(table))


def write_and_join(table: pa.Table) -> bytes:
    stream = write_stream(table.schema, table.to_batches())
    return stream if isinstance(stream, bytes) else b"".join(stream.views)


SAMPLE = _sample()


@given(st.randoms(use_true_random=True))
def test_an_altered_stream_is_valid_or_refused(random: Random) -> None:
    for _ in range(20):
        altered = bytearray(SAMPLE)
        for _ in range(random.randint(1, 3)):
            altered[random.randrange(len(altered))] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
        with contextlib.suppress(ValueError, TypeError, pa.ArrowException, NotImplementedError, OSError, KeyError):
            for batch in read_stream(memoryview(altered))[1]:
                if batch.num_rows < 100:
                    with contextlib.suppress(ArithmeticError):  # Arrow holds decimals and times that Python does not
                        batch.to_pylist()


POLARS = [
    pl.Series("bool", [True, None]),
    pl.Series("", [1.5, float("nan")]),
    pl.Series("u8", [1, None], dtype=pl.UInt8),
    pl.Series("text", ["a" * 50, None]),
    pl.Series("bytes", [b"a", None]),
    pl.Series("decimal", [Decimal("1.20"), None], dtype=pl.Decimal(10, 2)),
    pl.Series("date", [dt.date(2020, 1, 1), None]),
    pl.Series("time", [dt.time(1), None]),
    pl.Series("when", [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None], dtype=pl.Datetime("ms", "Europe/Berlin")),
    pl.Series("long", [dt.timedelta(1), None], dtype=pl.Duration("ns")),
    pl.Series("category", ["a", None], dtype=pl.Categorical),
    pl.Series("enum", ["a", None], dtype=pl.Enum(["z", "a"])),
    pl.Series("list", [[["a"], []], None]),
    pl.Series("array", [[1, 2], None], dtype=pl.Array(pl.Int8, 2)),
    pl.Series("struct", [{"a": 1, "b": [None]}, None]),
    pl.Series("nothing", [None, None]),
]


@pytest.mark.parametrize("series", POLARS, ids=lambda series: str(series.dtype))
def test_what_polars_holds_comes_back_as_it_was(series: pl.Series) -> None:
    for value in (series, series.head(0), series.tail(1), series.append(series.head(1)), series.to_frame()):
        assert_same(value, returned(value))


def test_frames_of_polars_come_back_whole_and_belong_to_who_reads_them() -> None:
    for frame in (pl.DataFrame(POLARS), pl.DataFrame(POLARS).head(0), pl.DataFrame(), pl.DataFrame({"a": []})):
        assert_same(frame, returned(frame))
    frame = pl.DataFrame({"a": [1, 2]})
    data = bytes(stored(frame))
    mine, others = decode(data), decode(data)
    mine[0, "a"] = 7
    assert mine["a"].to_list() == [7, 2]
    assert_same(frame, others)


@pytest.mark.parametrize(
    ("dtype", "items"),
    [
        (pl.Object, [object()]),
        (pl.Int128, [2**100]),
        (pl.List(pl.Int128), [[1]]),
        (pl.Struct({"b": pl.Int128}), [{"b": 1}]),
    ],
    ids=["Object", "Int128", "List", "Struct"],
)
def test_a_dtype_that_arrow_lacks_is_named_with_its_column(dtype: Any, items: list[object]) -> None:
    frame = pl.DataFrame({"a": [1], "price": pl.Series(items, dtype=dtype)})
    with pytest.raises(EncodeError, match=r"result\['x'\], a polars.* its column 'price' has the dtype .*cast"):
        encode({"x": frame})


def test_what_polars_cannot_take_is_refused() -> None:
    enum = pl.DataFrame({"a": pl.Series(["a"], dtype=pl.Enum(["a"]))}).to_arrow()
    metadata = dict(enum.schema.field("a").metadata)
    broken = [pa.table({"a": pa.array([1], pa.run_end_encoded(pa.int32(), pa.int8()))})]
    broken += [enum.cast(pa.schema([enum.schema.field("a").with_metadata({key: b"x" * 9})])) for key in metadata]
    for table in broken:
        packed = b"".join(encode([table]))[1:]
        with pytest.raises(DecodeError):
            decode(b"\x92\xc7\x00\x38" + packed)


def test_a_name_that_polars_panics_at_is_refused() -> None:
    with pytest.raises(EncodeError, match="polars cannot take it"):
        encode(pl.DataFrame({"a\0": [1]}))


def test_polars_needs_pyarrow_and_says_so() -> None:
    script = """
        import sys
        sys.modules["pyarrow"] = None  # as if it were not installed

        import polars as pl
        from s3memo.codec import decode, encode
        from s3memo.errors import DecodeError, EncodeError

        for attempt in (lambda: encode(pl.DataFrame({"a": [1]})), lambda: decode(bytes.fromhex(sys.argv[1]))):
            try:
                attempt()
            except (EncodeError, DecodeError) as error:
                print(type(error).__name__, error)
    """
    data = stored(pl.DataFrame({"a": [1]})).hex()
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), data], capture_output=True, text=True, check=True
    )
    encoding, decoding = ran.stdout.splitlines()
    assert encoding.startswith("EncodeError")
    assert decoding.startswith("DecodeError")
    assert ran.stdout.count("pip install 's3memo[arrow]'") == 2
