"""NumPy's dtypes as plain values, and back by a grammar of our own, since numpy's accepts far more."""

from __future__ import annotations

import math
import re
import sys
from typing import Any, TypeAlias

import numpy as np

from s3memo.codec.table import ANY, PLAIN, Fields, Items, Kinds, check_parts, short_repr, type_name

Description: TypeAlias = str | list[Any]
"""A string, or for a dtype with parts a list that begins with "fields", "array" or "string"."""

DESCRIPTION: Kinds = (str, list)
"""The kinds of a part that is a Description."""

SHAPE = Items(list, int)
"""The kind of a part that is a shape."""

_NATIVE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f[248]|c8|c16|O|[SUV][0-9]{1,10})"
    r"|[<>][mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?",
    re.ASCII,
)
_OF_C = re.compile(r"[<>|][iufc][0-9]{1,2}:(?P<char>[qQlLiIgG])[0-9]*", re.ASCII)
_LAST_OWN_NUMBER = 23  # of numpy's own types; other packages' have higher ones
_MAX_DEPTH = 32
_SUPPORTED_VOIDS = (np.void, np.record)
_ARRAY: Fields = {"base": DESCRIPTION, "shape": (SHAPE,)}
_STRING: Fields = {"coerce": (bool,)}
_MISSING: Fields = {"na_object": ANY}
_FIELDS: Fields = {"itemsize": (int,), "aligned": (bool,), "is_record": (bool,), "fields": (Items(list, list),)}
_FIELD: Fields = {"name": (str,), "offset": (int,), "dtype": DESCRIPTION}
_TITLE: Fields = {"title": (str,)}


def describe(dtype: Any, depth: int = 0) -> Description:
    """Return a dtype as a plain value. Raises TypeError if it would not come back unchanged."""
    if depth > _MAX_DEPTH:
        raise TypeError(f"its dtype is nested more than {_MAX_DEPTH} levels deep")
    if dtype.metadata:
        raise TypeError(f"its dtype has metadata: {dtype.metadata}")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["array", describe(base, depth + 1), list(shape)]
    if dtype.names is not None:
        return _describe_fields(dtype, depth)
    if dtype.kind == "T":
        na = [dtype.na_object] if hasattr(dtype, "na_object") else []
        return ["string", dtype.coerce, *map(_checked_na, na)]
    if dtype.num > _LAST_OWN_NUMBER or dtype.type is np.record:
        raise TypeError(f"its dtype {dtype} is none of numpy's own")
    if dtype.char in "gG":
        return f"{dtype.str}:{dtype.char}{np.finfo(dtype).nmant}"  # its layout depends on the processor
    if dtype.num != np.dtype(dtype.str).num:
        return f"{dtype.str}:{dtype.char}"
    return str(dtype.str)


def parse(description: Any) -> np.dtype[Any]:
    """Return the dtype that was described. Raises TypeError or ValueError for what `describe` would not return."""
    dtype = _parse(description)
    if describe(dtype) != description:
        raise ValueError(f"no dtype is described by {short_repr(description)}")
    return dtype


def _checked_na(na: object) -> object:
    """Return the mark of a missing string. Only safe ones pass, since numpy compares it with itself."""
    if type(na) not in PLAIN and na is not getattr(sys.modules.get("pandas"), "NA", na):
        raise TypeError(f"its missing strings are of type {type_name(type(na))}")
    return na


def _describe_fields(dtype: Any, depth: int) -> Description:
    if dtype.type not in _SUPPORTED_VOIDS:
        raise TypeError(f"its dtype makes instances of {dtype.type}")
    fields = []
    for name in dtype.names:
        kind, offset, *title = dtype.fields[name]
        if not {str}.issuperset(map(type, title)):
            raise TypeError(f"its field {name} has a title that is no string: {title[0]!r}")
        fields.append([name, offset, describe(kind, depth + 1), *title])
    return ["fields", dtype.itemsize, dtype.isalignedstruct, dtype.type is np.record, *fields]


def _parse(description: Any, depth: int = 0) -> np.dtype[Any]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"the dtype is nested more than {_MAX_DEPTH} levels deep")
    if type(description) is str:
        return _parse_name(description)
    if type(description) is not list or not {str}.issuperset(map(type, description[:1])):
        raise TypeError(
            f"no dtype is described by a {type_name(type(description))} that begins otherwise than in a name"
        )
    form, *parts = description
    if form == "array":
        check_parts(_ARRAY, parts)
        return np.dtype((_parse(parts[0], depth + 1), checked_shape(parts[1])))
    if form == "fields":
        return _parse_fields(parts, depth)
    if form == "string" and depth == 0:
        return _parse_string(parts)
    raise ValueError(f"no dtype is described by {short_repr(description)}")


def _parse_name(name: str) -> np.dtype[Any]:
    of_c = _OF_C.fullmatch(name)
    if of_c:
        dtype = np.dtype(of_c["char"])
        return dtype if dtype.str[0] == name[0] else dtype.newbyteorder()
    if _NATIVE.fullmatch(name):
        return np.dtype(name)
    raise ValueError(f"no dtype is called {name!r:.100}")


def _parse_string(parts: list[Any]) -> np.dtype[Any]:
    coerce, *na = parts
    check_parts(_STRING | _MISSING if na else _STRING, parts)
    return np.dtypes.StringDType(coerce=coerce, **({"na_object": _checked_na(*na)} if na else {}))


def _parse_fields(parts: list[Any], depth: int) -> np.dtype[Any]:
    itemsize, aligned, is_record, *fields = parts
    check_parts(_FIELDS, (itemsize, aligned, is_record, fields))
    for field in fields:
        check_parts(_FIELD if len(field) == len(_FIELD) else _FIELD | _TITLE, field)
    formats = [_parse(description, depth + 1) for _, _, description, *_ in fields]
    for (name, offset, *_), dtype in zip(fields, formats, strict=True):
        if not 0 <= offset <= itemsize - dtype.itemsize:  # numpy adds them as C ints, which may overflow
            raise ValueError(f"the field {short_repr(name)} lies outside of its dtype")
    dtype = np.dtype(
        {
            "names": [name for name, *_ in fields],
            "offsets": [offset for _, offset, *_ in fields],
            "formats": formats,
            "titles": [title[0] if title else None for _, _, _, *title in fields],
            "itemsize": itemsize,
        },
        align=aligned,
    )
    return np.dtype((np.record, dtype)) if is_record else dtype


def checked_shape(shape: list[int]) -> tuple[int, ...]:
    """Return a shape as a tuple. Raises ValueError for negative numbers."""
    if min(shape, default=0) < 0:
        raise ValueError(f"{short_repr(shape)} is no shape")
    return tuple(shape)


def size_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the size of an array in bytes."""
    return math.prod(shape) * dtype.itemsize
