"""Documents as a writer sees them before they are packed, and what may stand where in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types

from s3memo import codec

_MANY = 10**8
_BUFFER = 0  # the code of what stands for a buffer beside the body
_ALIGNMENT = 64


def document(value: object) -> Any:
    """Return a value as the document that is stored, its tags as ExtType, and with all buffers in the body."""
    data = b"".join(codec.encode(value))
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()
    position = unpacker.tell()

    def tag_or_buffer(code: int, size: bytes) -> Any:
        nonlocal position
        if code != _BUFFER:
            return msgpack.ExtType(code, size)
        start = position + -position % _ALIGNMENT
        position = start + int.from_bytes(size, "big")
        return data[start:position]

    return msgpack.unpackb(
        data[:position], ext_hook=tag_or_buffer, strict_map_key=False, unicode_errors="surrogatepass"
    )


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield all parts of a document, each with the path that leads to it."""
    yield path, tree
    if isinstance(tree, list):
        for position, part in enumerate(tree):
            yield from nodes(part, (*path, position))
    elif isinstance(tree, dict):
        for key, part in tree.items():
            yield from nodes(part, (*path, key))


def replaced(tree: Any, path: tuple[Any, ...], part: Any) -> Any:
    """Return a document with another part at the end of a path."""
    if not path:
        return part
    copy = tree.copy()
    copy[path[0]] = replaced(tree[path[0]], path[1:], part)
    return copy


def _long_documents() -> Iterator[Any]:
    """Yield documents that are short, and say of values that they are long."""
    nothing, nowhere = document(np.zeros(0)), document(np.zeros(0, np.int32))
    sparse = [msgpack.ExtType(75, b""), nothing, nowhere, _MANY, 0.0, "integer"]
    yield from (sparse, [msgpack.ExtType(66, b""), sparse, None, None])
    nulls = pa.nulls(_MANY)
    yield from map(
        document,
        (
            range(_MANY),
            pd.RangeIndex(_MANY),
            nulls,
            pa.chunked_array([nulls]),
            pa.table({"a": nulls}),
            pd.arrays.ArrowExtensionArray(pa.chunked_array([nulls])),
            pd.Index(pd.arrays.ArrowExtensionArray(pa.chunked_array([nulls]))),
            pa.RunEndEncodedArray.from_arrays(pa.array([_MANY]), pa.array(["a"])),
            pa.Array.from_buffers(pa.list_(pa.int8(), 0), _MANY, [None], children=[pa.array([], pa.int8())]),
        ),
    )


LONG = tuple(_long_documents())
