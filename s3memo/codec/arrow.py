"""How pyarrow's types are stored: as Arrow IPC streams, which are read in place.

Only extension types built into Arrow are stored. Any other is a class registered in the process, whose code would run on
whatever a stream claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import NoneType
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.ipc import END, check_stream
from s3memo.codec.table import BUFFER, Extension, Items, Raw, Record, buffer_part

_EXTENSION_TYPES = {
    name
    for name, kind in (
        (b"arrow.bool8", "Bool8Type"),
        (b"arrow.fixed_shape_tensor", "FixedShapeTensorType"),
        (b"arrow.json", "JsonType"),
        (b"arrow.opaque", "OpaqueType"),
        (b"arrow.uuid", "UuidType"),
    )
    if hasattr(pa, kind)
}


class _Pieces:
    """A file that keeps the pieces written to it, without a copy."""

    closed = False

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def write(self, piece: Any) -> None:
        self.pieces.append(piece)

    def flush(self) -> None:
        """Do nothing."""


def write_stream(schema: pa.Schema, batches: Iterable[pa.RecordBatch] = ()) -> Raw | bytes:
    """Return an Arrow IPC stream, over the batches' own buffers. Raises ValueError for an unsupported schema."""
    check_stream(memoryview(schema.serialize().to_pybytes() + END), _EXTENSION_TYPES)
    file = _Pieces()
    with pa.ipc.new_stream(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return buffer_part(*file.pieces)


def read_stream(stream: memoryview) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Return the schema and the batches of an untrusted Arrow IPC stream, over its own bytes.

    Raises ValueError, and whatever pyarrow raises for an invalid stream.
    """
    check_stream(stream, _EXTENSION_TYPES)
    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        batches = list(reader)
    for batch in batches:
        batch.validate(full=True)
    return reader.schema, batches


def _batch_of(stream: memoryview) -> pa.RecordBatch:
    _, (batch,) = read_stream(stream)
    return batch


def _table_parts(table: pa.Table) -> list[object]:
    """Return a stream with a batch for each chunk; if the columns are chunked differently, each column by itself."""
    chunks = {tuple(map(len, column.chunks)) for column in table.columns}
    if len(chunks) > 1:
        return [write_stream(table.schema), table.columns]
    return [write_stream(table.schema, _batches(table)), None]


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Return one batch for each chunk, empty ones included."""
    if table.num_columns == 0:
        return iter(table.to_batches())
    chunks = zip(*(column.chunks for column in table.columns), strict=True)
    return (pa.RecordBatch.from_arrays(list(arrays), schema=table.schema) for arrays in chunks)


def _table(stream: memoryview, columns: list[pa.ChunkedArray] | None) -> pa.Table:
    schema, batches = read_stream(stream)
    if columns is None:
        return pa.Table.from_batches(batches, schema)
    if batches or [column.type for column in columns] != schema.types:
        raise ValueError("its columns are not those of its schema")
    return pa.Table.from_arrays(columns, schema=schema)


def _array_stream(kind: pa.DataType, chunks: list[pa.Array]) -> list[object]:
    schema = pa.schema([pa.field("", kind)])
    return [write_stream(schema, [pa.RecordBatch.from_arrays([chunk], schema=schema) for chunk in chunks])]


def _chunked(stream: memoryview) -> pa.ChunkedArray:
    schema, batches = read_stream(stream)
    return pa.chunked_array([batch.column(0) for batch in batches], _only_field(schema).type)


def _array(stream: memoryview) -> pa.Array:
    (chunk,) = _chunked(stream).chunks
    return chunk


def _scalar_parts(scalar: pa.Scalar) -> list[object]:
    array = pa.repeat(scalar, 1)
    if array.type != scalar.type:  # of a union it keeps one branch
        raise ValueError("pyarrow has no way to make an array of it. Return scalar.as_py()")
    return _array_stream(scalar.type, [array])


def _scalar(stream: memoryview) -> pa.Scalar:
    (scalar,) = _array(stream)
    return scalar


def _schema(stream: memoryview) -> pa.Schema:
    schema, batches = read_stream(stream)
    if batches:
        raise ValueError("batches follow it")
    return schema


def _only_field(schema: pa.Schema) -> pa.Field:
    (field,) = schema
    return field


def _kinds(base: type[Any]) -> Iterator[type[Any]]:
    """Yield a class and its subclasses that are pyarrow's own."""
    for kind in base.__subclasses__():
        yield from _kinds(kind)
    if base.__module__.partition(".")[0] == "pyarrow":
        yield base


def _records(
    code: int,
    base: type,
    take: Callable[[Any], Iterable[object]],
    build: Callable[..., object],
    *,
    mutable: bool = False,
) -> Iterator[Record]:
    for kind in _kinds(base):
        yield Record(code, kind, {"stream": BUFFER}, take=take, build=build, mutable=mutable, trial=False)


EXTENSIONS: tuple[Extension, ...] = (  # data is mutable: it may share memory with numpy arrays
    *_records(48, pa.RecordBatch, lambda batch: [write_stream(batch.schema, [batch])], _batch_of, mutable=True),
    Record(
        49,
        pa.Table,
        {"stream": BUFFER, "columns": (NoneType, Items(list, *_kinds(pa.ChunkedArray)))},
        take=_table_parts,
        build=_table,
        mutable=True,
        trial=False,
    ),
    *_records(50, pa.ChunkedArray, lambda array: _array_stream(array.type, array.chunks), _chunked, mutable=True),
    *_records(51, pa.Array, lambda array: _array_stream(array.type, [array]), _array, mutable=True),
    *_records(52, pa.Scalar, _scalar_parts, _scalar, mutable=True),
    *_records(53, pa.Schema, lambda schema: [write_stream(schema)], _schema),
    *_records(
        54, pa.Field, lambda field: [write_stream(pa.schema([field]))], lambda stream: _only_field(_schema(stream))
    ),
    *_records(
        55,
        pa.DataType,
        lambda kind: [write_stream(pa.schema([pa.field("", kind)]))],
        lambda stream: _only_field(_schema(stream)).type,
    ),
)
