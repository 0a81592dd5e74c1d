"""pyarrow: arrays by type and values; chunks, and what lies under a null, do not count.

Chunks with different dictionaries are an exception: there an index has its meaning by its chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types
import pyarrow.compute as pc  # type: ignore[import-untyped]  # as above

from s3memo.canonical.form import Blocks
from s3memo.canonical.registry import Fields, add_family, add_type

_ROWS = 2**16
"""How many values are converted at a time."""


def content(array: Any) -> Any:
    """Return the content of an Array or ChunkedArray, without its type."""
    return _content(array.type, array.chunks if isinstance(array, pa.ChunkedArray) else [array])


def _content(kind: Any, parts: list[Any]) -> Any:
    """Return the content of parts of one type together: which values are null, and the others."""
    if isinstance(kind, pa.BaseExtensionType):
        return _content(kind.storage_type, [part.storage for part in parts])
    if pa.types.is_null(kind):
        return sum(map(len, parts))
    if pa.types.is_dictionary(kind):
        return _encoded(kind, [part for part in parts if len(part)])
    return Fields(
        validity=Blocks(_fixed_width(piece.is_valid()) for piece in _pieces(parts)), values=_values(kind, parts)
    )


def _encoded(kind: Any, parts: list[Any]) -> Any:
    """Return the indices and the dictionary if all parts share it, else each part's; the numbering counts."""
    if all(part.dictionary.equals(parts[0].dictionary) for part in parts[1:]):
        dictionary = content(parts[0].dictionary) if parts else None
        return Fields(indices=_content(kind.index_type, [part.indices for part in parts]), dictionary=dictionary)
    return [(content(part.indices), content(part.dictionary)) for part in parts]


def _values(kind: Any, parts: list[Any]) -> Any:  # noqa: PLR0911  one for each kind of type
    types = pa.types
    if types.is_struct(kind):
        children = [part.flatten() for part in parts]
        return [_content(kind.field(at).type, [each[at] for each in children]) for at in range(kind.num_fields)]
    if types.is_map(kind):
        pairs = pa.list_(pa.struct([("key", kind.key_type), ("item", kind.item_type)]))
        return _values(pairs, [part.cast(pairs) for part in parts])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = Blocks(_fixed_width(pc.list_value_length(piece).drop_null()) for piece in _pieces(parts))
        return Fields(lengths=lengths, items=_content(kind.value_type, [part.flatten() for part in parts]))
    if types.is_string_view(kind) or types.is_binary_view(kind):
        large = pa.large_string() if types.is_string_view(kind) else pa.large_binary()
        return _texts(parts, large, "q")
    if types.is_string(kind) or types.is_binary(kind):
        return _texts(parts, kind, "i")
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return _texts(parts, kind, "q")
    if kind.num_fields or not hasattr(kind, "bit_width"):
        raise TypeError(f"it is of the Arrow type {kind}")
    return Blocks(_fixed_width(piece.drop_null()) for piece in _pieces(parts))


def _pieces(parts: list[Any]) -> Iterator[Any]:
    return (part.slice(start, _ROWS) for part in parts for start in range(0, len(part), _ROWS))


def _fixed_width(array: Any) -> memoryview:
    """Return the bytes of values without nulls."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    width = array.type.bit_width // 8
    data = array.buffers()[1]
    return memoryview(data)[array.offset * width : (array.offset + len(array)) * width] if data else memoryview(b"")


def _texts(parts: list[Any], kind: Any, offset_format: Literal["i", "q"]) -> Fields:
    """Return texts or bytes, cast to `kind`, whose lengths pyarrow can compute."""
    return Fields(
        lengths=Blocks(_fixed_width(pc.binary_length(piece.cast(kind)).drop_null()) for piece in _pieces(parts)),
        data=Blocks(_text(piece.cast(kind).drop_null(), offset_format) for piece in _pieces(parts)),
    )


def _text(array: Any, offset_format: Literal["i", "q"]) -> memoryview:
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("B").cast(offset_format)
    return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]


def _type(kind: Any) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        name = getattr(kind, "extension_name", type(kind).__name__)
        parameters = kind.__arrow_ext_serialize__() if isinstance(kind, pa.ExtensionType) else None
        return Fields(extension=name, storage=kind.storage_type, text=str(kind), parameters=parameters)
    if pa.types.is_dictionary(kind):
        return Fields(index=kind.index_type, value=kind.value_type, ordered=kind.ordered)
    if kind.num_fields:
        return Fields(id=kind.id, text=str(kind), fields=[kind.field(at) for at in range(kind.num_fields)])
    return str(kind)


def _field(field: Any) -> Fields:
    return Fields(name=field.name, type=field.type, nullable=field.nullable, metadata=field.metadata)


def _array(array: Any) -> Fields:
    return Fields(type=array.type, length=len(array), content=content(array))


def _table(table: Any) -> Fields:
    return Fields(schema=table.schema, rows=table.num_rows, columns=[content(column) for column in table.columns])


def _scalar(value: Any) -> Fields:
    return Fields(type=value.type, content=content(pa.repeat(value, 1)))


add_family(lambda kind: issubclass(kind, pa.Array), "pyarrow array", _array)
add_type(pa.ChunkedArray, "pyarrow.ChunkedArray", _array)
add_type(pa.Table, "pyarrow.Table", _table)
add_type(pa.RecordBatch, "pyarrow.RecordBatch", _table)
add_type(pa.Schema, "pyarrow.Schema", lambda schema: (list(schema), schema.metadata))
add_type(pa.Field, "pyarrow.Field", _field)
add_family(lambda kind: issubclass(kind, pa.DataType), "pyarrow type", _type)
add_family(lambda kind: issubclass(kind, pa.Scalar), "pyarrow scalar", _scalar)
