"""How NumPy's arrays and scalars are stored: as their bytes, in a buffer of its own if there are many.

Bytes are never read as a dtype that contains addresses. An array comes back writable and in its memory order, C or
Fortran; one with neither, such as a strided view, in C order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
from numpy.ma.core import MaskedConstant

from s3memo.codec.dtypes import DESCRIPTION, SHAPE, checked_shape, describe, parse, size_of
from s3memo.codec.table import BUFFER, PLAIN, Extension, Fields, Kinds, Record, buffer_part, check_attributes

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_MAX_UNICODE = 0x10FFFF
_MAX_PADDING, _MIN_SIZE = 16, 1024
_MAX_EMPTY_ITEMS = 1 << 20  # of zero bytes each, which nothing else bounds
_ARRAY = (np.ndarray,)
_NUMBERS = (*{np.dtype(char).type for char in "?bhilqBHILQefdgFDGMm"}, np.generic)  # the last covers the remaining ones
_FILL_VALUE: Kinds = (*PLAIN, complex, *_NUMBERS, np.str_, np.bytes_, np.void)


def _take_array(array: Array) -> list[object]:
    dtype = array.dtype
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    head = [describe(dtype), list(array.shape), order]
    if dtype.names is not None and dtype.hasobject:
        return [*head, b"", [array[name] for name in dtype.names]]
    if dtype.hasobject:
        return [*head, b"", array.reshape(-1).tolist()]
    _check_content(array)
    flat = np.ascontiguousarray(array.T if order == "F" else array).reshape(-1)
    return [*head, buffer_part(flat.view(np.uint8).data) if flat.nbytes else b"", None]


def _build_array(description: object, shape: list[Any], order: Any, data: memoryview, items: list[Any] | None) -> Array:
    dtype, dimensions = parse(description), checked_shape(shape)
    if dtype.subdtype is not None:
        raise TypeError(f"no array has the dtype {dtype}, for numpy makes it more dimensions")
    if order not in {"C", "F"}:
        raise ValueError(f"{order!r:.10} is no memory order")
    if items is None:
        return _over_bytes(data, dtype, dimensions, order)
    if not dtype.hasobject or data.nbytes:
        raise TypeError(f"its dtype {dtype} is stored as bytes, and it as objects, or the other way round")
    if dtype.names is not None:
        return _of_fields(items, dtype, dimensions, order)
    array = np.fromiter(items, object, len(items)) if dtype.char == "O" else _of_strings(items, dtype)
    return np.asarray(array.reshape(dimensions), order=order)


def _over_bytes(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> Array:
    """Return an array over the bytes, which are never read as addresses."""
    if dtype.hasobject:
        raise TypeError(f"its dtype {dtype} holds objects, which are no bytes")
    if size_of(shape, dtype) != data.nbytes:
        raise ValueError(f"{data.nbytes} bytes are not an array of {dtype} in the shape {shape}")
    if dtype.itemsize == 0 and math.prod(shape) > _MAX_EMPTY_ITEMS:
        raise ValueError(f"an array of {math.prod(shape)} items takes no bytes")
    array: Array = np.ndarray(shape, dtype, data, order=order)
    _check_content(array)
    return array


def _of_fields(arrays: list[Any], dtype: Any, shape: tuple[int, ...], order: Any) -> Array:
    """Return a structured array with objects, given an array for each field."""
    expected = [(np.ndarray, dtype[name].base, shape + dtype[name].shape) for name in dtype.names]
    if [(type(part), part.dtype, part.shape) for part in arrays] != expected:
        raise TypeError(f"its fields are not arrays of {dtype} in the shape {shape}")
    if size_of(shape, dtype) > _MAX_PADDING * sum(_MIN_SIZE + part.nbytes for part in arrays):
        raise ValueError(f"its dtype {dtype} is mostly padding")
    array = np.zeros(shape, dtype, order=order)
    for name, part in zip(dtype.names, arrays, strict=True):
        array[name] = part
    return array


def _of_strings(items: list[Any], dtype: np.dtype[Any]) -> Array:
    if not {str, type(getattr(dtype, "na_object", ""))}.issuperset(map(type, items)):
        raise TypeError("its items are not all strings")
    return np.array(items, dtype)


def _check_content(array: Array) -> None:
    """Raise ValueError for invalid items, since numpy relies on, for example, every bool being 0 or 1."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_content(array[name])
    elif array.dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError("it has a bool that is neither true nor false")
    elif array.dtype.kind == "U" and array.dtype.itemsize:
        points = np.dtype((np.uint32, (array.dtype.itemsize // 4,))).newbyteorder(array.dtype.byteorder)
        if array.view(points).max(initial=0) > _MAX_UNICODE:
            raise ValueError("it has a character beyond Unicode")


def _viewed(kind: type[Array]) -> Any:
    """Return a builder of a subclass's instance from a plain array."""

    def build(array: Array) -> Array:
        view = array.view(kind)
        if view.shape != array.shape or view.dtype.type is not array.dtype.type:
            raise TypeError(f"an array of {array.dtype} in the shape {array.shape} is none")
        return view

    return build


def _take_view(array: Any) -> list[object]:
    check_attributes(array, np.empty(0).view(type(array)))
    return [np.asarray(array)]


def _take_masked(array: Any) -> list[object]:
    check_attributes(array, np.ma.masked_array(()))
    if array.baseclass is not np.ndarray:
        raise TypeError(f"it masks a {array.baseclass.__name__}")
    mask = np.ma.getmask(array)
    fill_value = None if _has_default_fill_value(array) else array.fill_value
    return [array.data, None if mask is np.ma.nomask else mask, fill_value, bool(array.hardmask)]


def _has_default_fill_value(array: Any) -> bool:
    """Whether the fill value is numpy's default, which may not fit into the array's dtype."""
    one, other = (np.asarray(some.fill_value) for some in (array, np.ma.MaskedArray(np.empty(0, array.dtype))))
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _build_masked(data: Array, mask: Array | None, fill_value: Any, hard: Any) -> Any:
    if mask is not None and (mask.shape, mask.dtype) != (data.shape, np.ma.make_mask_descr(data.dtype)):
        raise TypeError("its mask does not fit")
    return np.ma.MaskedArray(data, np.ma.nomask if mask is None else mask, fill_value=fill_value, hard_mask=hard)


def _take_scalar(scalar: Any) -> list[object]:
    return [describe(scalar.dtype), scalar.tobytes()]


def _build_scalar(description: object, data: bytes) -> Any:
    dtype = parse(description)
    if dtype.kind not in "biufcmM" or len(data) != dtype.itemsize:
        raise TypeError(f"{len(data)} bytes are not a scalar of {dtype}")
    return np.ndarray((), dtype, data)[()]


def _build_void(array: Array) -> Any:
    if array.ndim or array.dtype.kind != "V":
        raise TypeError(f"an array of {array.dtype} in the shape {array.shape} is none")
    return array[()]


def _records() -> Iterator[Extension]:
    fields: Fields = {
        "dtype": DESCRIPTION,
        "shape": (SHAPE,),
        "order": (str,),
        "data": BUFFER,
        "items": (NoneType, list),
    }
    yield Record(32, np.ndarray, fields, take=_take_array, build=_build_array, mutable=True, trial=False)
    for kind in vars(np.dtypes).values():
        if isinstance(kind, type) and issubclass(kind, np.dtype):
            is_mutable = kind is np.dtypes.VoidDType  # its fields can be renamed
            yield Record(
                33, kind, {"": DESCRIPTION}, take=lambda dtype: [describe(dtype)], build=parse, mutable=is_mutable
            )
    for code, subclass in ((34, np.matrix), (35, np.recarray)):
        yield Record(code, subclass, {"array": _ARRAY}, take=_take_view, build=_viewed(subclass), mutable=True)
    masked: Fields = {"data": _ARRAY, "mask": (NoneType, np.ndarray), "fill_value": _FILL_VALUE, "hardmask": (bool,)}
    yield Record(36, np.ma.MaskedArray, masked, take=_take_masked, build=_build_masked, mutable=True)
    yield Record(37, MaskedConstant, {}, build=lambda: np.ma.masked)
    for kind in _NUMBERS:
        yield Record(38, kind, {"dtype": DESCRIPTION, "bytes": (bytes,)}, take=_take_scalar, build=_build_scalar)
    for kind in (np.record, np.void):
        yield Record(39, kind, {"array": _ARRAY}, take=lambda item: [np.asarray(item)], build=_build_void, mutable=True)
    yield Record(40, np.str_, {"text": (str,)}, take=lambda text: [text[:]])  # str(text) would end before a NUL
    yield Record(41, np.bytes_, {"bytes": (bytes,)}, take=lambda data: [bytes(data)])


EXTENSIONS = tuple(_records())
