"""numpy: arrays as raw buffers beside the body, over which they are rebuilt where they lie.

A dtype is stored in a closed language of our own and never as text that numpy would interpret. No buffer is ever read as
Python objects: an object array is stored element by element.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from s3memo.codec.table import BUFFER, Extension, Fields, Raw, Record, buffer_part

_SIMPLE = re.compile(r"[<>|]([biufcSUV])(\d{1,9})|[<>][mM]8(\[\d{0,9}[A-Za-zμ]{1,7}\])?", re.ASCII)
_SIZES = {"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8, 16}, "c": {8, 16, 32}}
_CLASSES = {kind.__name__: kind for kind in (np.matrix, np.recarray)}
_STR, _TUPLE = (str,), (tuple,)


def dtype_parts(dtype: np.dtype[Any]) -> object:
    """Return a dtype in terms of strings, numbers and tuples. Raises TypeError for one that would not come back."""
    if dtype.metadata:
        raise TypeError(f"its dtype {dtype} has metadata, which would be lost")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return "array", dtype_parts(base), shape
    if dtype.names is not None:
        fields = tuple(_field_parts(name, *dtype.fields[name]) for name in dtype.names)  # type: ignore[index]  # names come with fields
        return "fields", fields, dtype.itemsize, dtype.isalignedstruct, dtype.type is np.record
    if dtype.type.__module__ != "numpy" or not _SIMPLE.fullmatch(dtype.str):
        raise TypeError(f"its dtype {dtype} is of a kind that this version does not store")
    return dtype.str


def _field_parts(name: str, dtype: np.dtype[Any], offset: int, title: object = None) -> tuple[object, ...]:
    if not isinstance(title, str | None):
        raise TypeError(f"its field {name!r} has the title {title!r}, which is no string")
    return name, dtype_parts(dtype), offset, title


def dtype_of(parts: object) -> np.dtype[Any]:
    """Return the dtype that `dtype_parts` took apart. Raises TypeError and ValueError for anything else."""
    match parts:
        case str() if match := _SIMPLE.fullmatch(parts):
            kind, size = match[1], match[2]
            if kind in _SIZES and int(size) not in _SIZES[kind]:
                raise ValueError(f"there is no dtype {parts!r}")
            return np.dtype(parts)
        case ("array", base, tuple(shape)) if all(type(length) is int and length >= 0 for length in shape):
            return np.dtype((dtype_of(base), shape))
        case ("fields", tuple(fields), int(size), bool(aligned), bool(record)):
            return _structure(fields, size, aligned=aligned, record=record)
    raise TypeError(f"{parts!r} describes no dtype")


def _structure(fields: tuple[Any, ...], size: int, *, aligned: bool, record: bool) -> np.dtype[Any]:
    columns = list(zip(*fields, strict=True)) or [()] * 4
    names, dtypes, offsets, titles = columns
    description: dict[str, Any] = {
        "names": list(names),
        "formats": list(map(dtype_of, dtypes)),
        "offsets": list(offsets),
    }
    if any(title is not None for title in titles):
        description["titles"] = list(titles)
    dtype = np.dtype({**description, "itemsize": size}, align=aligned)
    return np.dtype((np.record, dtype)) if record else dtype


def _take_array(array: np.ndarray[Any, Any]) -> tuple[object, ...]:
    if array.dtype.hasobject and array.dtype.kind not in "OT":
        raise TypeError(f"its dtype {array.dtype} has Python objects in some of its fields")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    if array.dtype.kind == "O":
        return "objects", array.shape, order, b"", array.ravel().tolist()
    if array.dtype.kind == "T":
        return _string_dtype_parts(array.dtype), array.shape, order, b"", array.ravel().tolist()
    return dtype_parts(array.dtype), array.shape, order, _buffer(array.T if order == "F" else array), None


def _string_dtype_parts(dtype: Any) -> tuple[object, ...]:
    missing = [dtype.na_object] if hasattr(dtype, "na_object") else []
    if not all(value is None or (type(value) is float and math.isnan(value)) for value in missing):
        raise TypeError(f"its dtype {dtype} has a missing value that is neither None nor nan")
    return "strings", dtype.coerce, *missing


def _buffer(array: np.ndarray[Any, Any]) -> Raw | bytes:
    if not array.nbytes:
        return b""
    return buffer_part(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _build_array(
    dtype: object, shape: tuple[int, ...], order: Any, data: memoryview, items: list[Any] | None
) -> np.ndarray[Any, Any]:
    if not all(type(length) is int and length >= 0 for length in shape) or order not in {"C", "F"}:
        raise ValueError(f"there is no array of shape {shape} and order {order!r}")
    if items is not None:
        return _from_items(dtype, shape, order, items)
    element = dtype_of(dtype)
    if element.hasobject or math.prod(shape) * element.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes are no array of shape {shape} and dtype {element}")
    if not len(data):
        return np.empty(shape, element, order)
    return np.ndarray(shape, element, buffer=data, order=order)


def _from_items(dtype: object, shape: tuple[int, ...], order: Any, items: list[Any]) -> np.ndarray[Any, Any]:
    match dtype:
        case "objects":
            element = np.dtype(object)
        case ("strings", bool(coerce)):
            element = np.dtypes.StringDType(coerce=coerce)
        case ("strings", bool(coerce), None | float() as missing):
            element = np.dtypes.StringDType(coerce=coerce, na_object=None if missing is None else np.nan)
        case _:
            raise TypeError(f"a list of items is no array of {dtype!r}")
    if math.prod(shape) != len(items):
        raise ValueError(f"{len(items)} items are no array of shape {shape}")
    flat = np.empty(len(items), element)
    for at, item in enumerate(items):  # at once, numpy would take apart what is a sequence itself
        flat[at] = item if element.kind == "O" or type(item) is str else getattr(element, "na_object", item)
    array: np.ndarray[Any, Any] = np.asarray(flat.reshape(shape), order=order)
    return array


def _take_masked(array: Any) -> tuple[object, ...]:
    mask = None if array.mask is np.ma.nomask else np.asarray(array.mask)
    return np.asarray(array.data), mask, np.asarray(array.fill_value), array.hardmask


def _build_masked(data: Any, mask: Any, fill_value: Any, hard: bool) -> Any:  # noqa: FBT001  a part of the record
    array = np.ma.masked_array(data, np.ma.nomask if mask is None else mask, copy=False, hard_mask=hard)
    array.fill_value = fill_value[()]
    return array


def _take_scalar(value: np.generic) -> tuple[object, object]:
    array = np.asarray(value)
    if np.dtype(array.dtype.str).type is not type(value) and array.dtype.names is None:
        raise TypeError("it has the same dtype as another type, and would come back as that")
    return dtype_parts(array.dtype), array.tobytes()


def _build_scalar(dtype: object, data: bytes) -> Any:
    element = dtype_of(dtype)
    if len(data) != element.itemsize or not data:
        raise ValueError(f"{len(data)} bytes are no {element}")
    return np.ndarray((), element, buffer=bytearray(data))[()]


def _build_view(name: str, array: np.ndarray[Any, Any]) -> Any:
    return array.view(_CLASSES[name])


_DTYPE = (str, tuple)
_ARRAY: Fields = {"dtype": _DTYPE, "shape": _TUPLE, "order": _STR, "data": BUFFER, "items": (type(None), list)}
_SCALARS = {np.dtype(char).type for char in "?bhilqBHILQefdgFDGmM"} - {np.object_}

EXTENSIONS: tuple[Extension, ...] = (
    Record(32, np.ndarray, _ARRAY, take=_take_array, build=_build_array, mutable=True, trial=False),
    *(Record(33, kind, {"dtype": _STR, "data": (bytes,)}, take=_take_scalar, build=_build_scalar) for kind in _SCALARS),
    *(
        Record(33, kind, {"dtype": _DTYPE, "data": (bytes,)}, take=_take_scalar, build=_build_scalar, mutable=True)
        for kind in (np.record, np.void)
    ),
    Record(34, np.str_, {"text": _STR}, take=lambda value: [str(value)], build=np.str_),
    Record(35, np.bytes_, {"bytes": (bytes,)}, take=lambda value: [bytes(value)], build=np.bytes_),
    Record(
        36,
        np.ma.MaskedArray,
        {"data": (np.ndarray,), "mask": (type(None), np.ndarray), "fill_value": (np.ndarray,), "hard": (bool,)},
        take=_take_masked,
        build=_build_masked,
        mutable=True,
    ),
    Record(37, type(np.ma.masked), {}, build=lambda: np.ma.masked),
    *(
        Record(38, kind, {"dtype": _DTYPE}, take=lambda value: [dtype_parts(value)], build=dtype_of)
        for kind in {type(np.dtype(char)) for char in "?bhilqBHILQefdgFDGmMSUV"}
    ),
    *(
        Record(
            39,
            kind,
            {"class": _STR, "array": (np.ndarray,)},
            take=lambda value: [type(value).__name__, np.asarray(value)],
            build=_build_view,
            mutable=True,
        )
        for kind in _CLASSES.values()
    ),
)
