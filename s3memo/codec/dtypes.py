"""NumPy's dtypes as plain values, and back by a grammar of our own: numpy's is wider than anything that is stored."""

from __future__ import annotations

import math
import re
from typing import Any, TypeAlias

import numpy as np

Description: TypeAlias = str | list[Any]
"""A string for most; a list that begins with "fields", "array" or "string" for a dtype with parts."""

_NATIVE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f[248]|c8|c16|O|[SUV][0-9]{1,10})"
    r"|[<>][mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?",
    re.ASCII,
)
_OF_C = re.compile(r"[<>|][iufc][0-9]{1,2}:(?P<char>[qQlLiIgG])[0-9]*", re.ASCII)
_LAST_OWN_NUMBER = 23  # of the types that numpy itself brings; those of other packages come after
_MAX_DEPTH = 32
_WITH_TITLE = 4  # parts of a field: its name, offset and dtype come first
_SUPPORTED_VOIDS = (np.void, np.record)


def describe(dtype: Any, depth: int = 0) -> Description:
    """Return a dtype as a plain value. Raises TypeError for one that would not come back as it is."""
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
        return ["string", dtype.coerce, *na]
    if dtype.num > _LAST_OWN_NUMBER or dtype.type is np.record:
        raise TypeError(f"its dtype {dtype} is none of numpy's own")
    if dtype.char in "gG":
        return f"{dtype.str}:{dtype.char}{np.finfo(dtype).nmant}"  # the same name has other bits on other processors
    if dtype.num != np.dtype(dtype.str).num:
        return f"{dtype.str}:{dtype.char}"
    return str(dtype.str)


def parse(description: object) -> np.dtype[Any]:
    """Return the dtype that was described. Raises TypeError or ValueError for what `describe` would not return."""
    dtype = _parse(description)
    if describe(dtype) != description:
        raise ValueError(f"no dtype is described by {description!r:.100}")
    return dtype


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
    match description:
        case ["array", base, list(shape)]:
            return np.dtype((_parse(base, depth + 1), check_shape(shape)))
        case ["string", bool(coerce), *na] if depth == 0 and len(na) <= 1:
            return np.dtypes.StringDType(coerce=coerce, **({"na_object": na[0]} if na else {}))
        case ["fields", int(itemsize), bool(aligned), bool(is_record), *fields]:
            return _parse_fields(fields, itemsize, aligned=aligned, is_record=is_record, depth=depth)
    raise ValueError(f"no dtype is described by {description!r:.100}")


def _parse_name(name: str) -> np.dtype[Any]:
    of_c = _OF_C.fullmatch(name)
    if of_c:
        dtype = np.dtype(of_c["char"])
        return dtype if dtype.str[0] == name[0] else dtype.newbyteorder()
    if _NATIVE.fullmatch(name):
        return np.dtype(name)
    raise ValueError(f"no dtype is called {name!r:.100}")


def _parse_fields(fields: list[Any], itemsize: int, *, aligned: bool, is_record: bool, depth: int) -> np.dtype[Any]:
    titles = [field[-1] if len(field) == _WITH_TITLE else None for field in fields]
    dtype = np.dtype(
        {
            "names": [field[0] for field in fields],
            "offsets": [field[1] for field in fields],
            "formats": [_parse(field[2], depth + 1) for field in fields],
            "titles": titles,
            "itemsize": itemsize,
        },
        align=aligned,
    )
    return np.dtype((np.record, dtype)) if is_record else dtype


def check_shape(shape: list[Any]) -> tuple[int, ...]:
    """Return a shape as numpy wants it. Raises TypeError or ValueError for what is none."""
    if not {int}.issuperset(map(type, shape)) or min(shape, default=0) < 0:
        raise TypeError(f"{shape!r:.100} is no shape")
    return tuple(shape)


def size_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return how many bytes an array takes."""
    return math.prod(shape) * dtype.itemsize
