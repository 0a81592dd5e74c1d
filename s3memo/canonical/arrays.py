"""numpy and scipy.sparse: an array is its dtype, shape and content, however it lies in memory.

The content is the elements' bytes in C order, so views, strides and Fortran order do not count, while the sign of zero
and the bits of a NaN do. Left out are the padding of structured and long double elements, and what lies under a mask.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from s3memo.canonical.form import Blocks, Items
from s3memo.canonical.names import is_reachable, qualified_name
from s3memo.canonical.registry import Fields, add_family, add_type
from s3memo.codec.table import type_name

_BLOCK = 2**20
"""Bytes that are copied at a time if elements are not in C order."""

_X87_BYTES = 10 if np.finfo(np.longdouble).nmant == 63 else 0  # noqa: PLR2004  the rest of 16 is padding
_ARRAYS = {"ndarray", "memmap", "matrix", "recarray", "chararray"}


def pieces(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[Any, ...]]:
    """Yield indices that cut an array of this shape into pieces of at most 1 MiB, in C order."""
    if not shape or math.prod(shape) * itemsize <= _BLOCK:
        yield (Ellipsis,)
        return
    row = max(1, math.prod(shape[1:]) * itemsize)
    if row <= _BLOCK:
        rows = _BLOCK // row
        yield from ((slice(start, start + rows),) for start in range(0, shape[0], rows))
        return
    for index in range(shape[0]):
        yield from ((index, *rest) for rest in pieces(shape[1:], itemsize))


def raw(array: np.ndarray[Any, Any]) -> Blocks:
    """Return the bytes of an array without padding; one in C order is not copied."""
    return Blocks(_raw_blocks(array))


def _raw_blocks(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    if not array.nbytes:
        return
    if array.flags.c_contiguous:
        yield _bytes_of(array)
        return
    for index in pieces(array.shape, array.itemsize):
        yield _bytes_of(np.ascontiguousarray(array[index]))


def _bytes_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def content(array: np.ndarray[Any, Any]) -> Any:
    """Return an array's content, without its dtype and shape."""
    dtype = array.dtype
    if dtype.names is not None:
        return [content(np.asarray(array[name])) for name in dtype.names]
    if dtype.kind in "OT":
        return Items(array.size, array.flat)
    if dtype.char in "gG" and _X87_BYTES:
        return Blocks(_unpadded(array))
    return raw(array)


def _unpadded(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    for index in pieces(array.shape, array.itemsize):
        lanes = _bytes_of(np.ascontiguousarray(array[index])).reshape(-1, 16)
        yield _bytes_of(np.ascontiguousarray(lanes[:, :_X87_BYTES]))


def _array(array: np.ndarray[Any, Any]) -> Fields:
    plain = np.asarray(array)
    return Fields(dtype=plain.dtype, shape=plain.shape, content=content(plain))


def _masked(array: Any) -> Fields:
    if not _is_array(array.baseclass):
        raise TypeError(f"it masks a {type_name(array.baseclass)}, which may hold more than an array")
    return Fields(
        of=array.baseclass.__name__,
        dtype=array.dtype,
        shape=array.shape,
        content=_masked_content(array),
        fill_value=np.asarray(array.fill_value),
        hard=array.hardmask,
    )


def _masked_content(array: Any) -> Any:
    if array.dtype.names is not None:
        return [_masked_content(array[name]) for name in array.dtype.names]
    mask = np.ma.getmaskarray(array)
    if array.dtype.kind == "O":
        return Items(array.size, (None if hidden else (value,) for value, hidden in zip(array.data.flat, mask.flat)))  # noqa: B905
    return Fields(mask=raw(mask), data=Blocks(_unmasked(np.asarray(array.data), mask)))


def _unmasked(data: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> Iterator[Any]:
    for index in pieces(data.shape, data.itemsize):
        piece = np.array(data[index], order="C")
        piece[mask[index]] = np.zeros((), data.dtype)
        yield from content(piece).blocks


def _dtype(dtype: np.dtype[Any]) -> Any:
    metadata = dict(dtype.metadata) if dtype.metadata else None
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return Fields(base=base, shape=shape, metadata=metadata)
    if dtype.names is not None:
        fields = [(name, *dtype.fields[name]) for name in dtype.names]  # type: ignore[index]  # names come with fields
        return Fields(
            fields=fields,
            itemsize=dtype.itemsize,
            aligned=dtype.isalignedstruct,
            record=dtype.type is np.record,
            metadata=metadata,
        )
    if dtype.kind == "T":
        return Fields(kind="T", na_object=getattr(dtype, "na_object", Ellipsis), coerce=dtype.coerce)  # type: ignore[attr-defined]
    # Other packages' dtypes, such as bfloat16, look like void ones.
    kind = None if dtype.type.__module__ == "numpy" else qualified_name(dtype.type)
    return Fields(str=dtype.str, kind=kind, metadata=metadata)


def _scalar(value: np.generic) -> Any:
    if isinstance(value, np.str_):
        return "".join(value)  # str() would drop NULs at the end
    if isinstance(value, np.bytes_):
        return bytes(value)
    if value.dtype.kind in "biufcmM" and value.dtype.char not in "gG":
        return value.dtype.str, value.tobytes()
    return _array(np.asarray(value))


def _days(calendar: np.busdaycalendar) -> Fields:
    return Fields(weekmask=calendar.weekmask, holidays=calendar.holidays)


def _ufunc(function: np.ufunc) -> str:
    for library in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(library), function.__name__, None) is function:
            return f"{library}:{function.__name__}"
    raise TypeError("it is not one of numpy's own")


def _function(function: Any) -> str:
    if not is_reachable(function):
        raise TypeError("its name does not lead to it")
    return qualified_name(function)


def _is_array(kind: type) -> bool:
    return issubclass(kind, np.ndarray) and kind.__module__.partition(".")[0] == "numpy" and kind.__name__ in _ARRAYS


def _refuse_generator(_: Any) -> Any:
    raise TypeError("it changes with every use: pass a seed, and make it in the function")


def _is_sparse(kind: type) -> bool:
    sparse = sys.modules.get("scipy.sparse")
    if sparse is None:
        return False
    return kind.__module__.startswith("scipy.sparse") and getattr(sparse, kind.__name__, None) is kind


def _sparse(matrix: Any) -> Fields:
    """Reduce a sparse array to what it stores, in its order."""
    return Fields(format=matrix.format, dtype=matrix.dtype, shape=matrix.shape, stored=_stored(matrix))


def _stored(matrix: Any) -> Any:
    match matrix.format:
        case "csr" | "csc" | "bsr":
            count = int(matrix.indptr[-1])  # the arrays may have room for more
            return [matrix.indptr, matrix.indices[:count], matrix.data[:count]]
        case "coo":
            return [*matrix.coords, matrix.data]
        case "dia":
            return [matrix.offsets, matrix.data]
        case "lil":
            return [matrix.rows, matrix.data]
        case "dok":
            return {tuple(map(int, np.atleast_1d(at))): value for at, value in matrix.items()}
    raise TypeError(f"it is in the format {matrix.format!r}")


add_family(_is_array, "array", _array)
add_type(np.ma.MaskedArray, "numpy.ma.MaskedArray", _masked)
add_family(lambda kind: issubclass(kind, np.ma.core.MaskedConstant), "numpy.ma.masked", lambda _: ())
add_family(lambda kind: issubclass(kind, np.generic), "numpy scalar", _scalar)
add_family(lambda kind: issubclass(kind, np.dtype), "numpy.dtype", _dtype)
add_family(lambda kind: issubclass(kind, np.random.Generator | np.random.RandomState), "random", _refuse_generator)
add_family(lambda kind: issubclass(kind, np.random.BitGenerator), "random", _refuse_generator)
add_type(np.busdaycalendar, "numpy.busdaycalendar", _days)
add_type(np.ufunc, "numpy.ufunc", _ufunc)
add_type(type(np.concatenate), "numpy function", _function)
add_family(_is_sparse, "scipy.sparse", _sparse)
