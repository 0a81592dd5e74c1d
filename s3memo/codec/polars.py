"""How polars' frames and series are stored: as pyarrow tables, which pyarrow validates before polars sees them.

Polars' own reader of Arrow IPC would abort the process on invalid bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.table import Extension, Fields, Record

_FOREIGN = tuple(getattr(pl, name) for name in ("Object", "Int128", "UInt128") if hasattr(pl, name))


def _parts(frame: pl.DataFrame) -> list[object]:
    for name, dtype in frame.schema.items():
        foreign = next((leaf for leaf in _leaves(dtype) if leaf in _FOREIGN), None)
        if foreign is not None:
            raise TypeError(f"its column {name!r} has the dtype {foreign}, which Arrow lacks: cast it to another")
    with _no_panic():
        table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    if _frame(table).schema != frame.schema:
        raise TypeError(f"through Arrow it would have the schema {_frame(table).schema}")
    return [table]


@contextmanager
def _no_panic() -> Iterator[None]:
    """Raise ValueError if polars panics, which is not an Exception."""
    try:
        yield
    except pl.exceptions.PanicException as error:
        raise ValueError(f"polars cannot take it: {error}") from error


def _leaves(dtype: Any) -> Iterator[Any]:
    """Yield the innermost dtypes in a dtype."""
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from _leaves(field.dtype)
    elif isinstance(dtype, pl.List | pl.Array):
        yield from _leaves(dtype.inner)
    else:
        yield dtype


def _frame(table: pa.Table) -> pl.DataFrame:
    numbered = table.rename_columns(list(map(str, range(table.num_columns))))  # polars replaces the name ""
    with _no_panic():
        frame = pl.from_arrow(numbered)
    if not isinstance(frame, pl.DataFrame) or frame.height != table.num_rows:
        raise ValueError("polars takes another number of rows from it")
    frame.columns = table.column_names
    return frame


def _series(table: pa.Table) -> pl.Series:
    (series,) = _frame(table).get_columns()
    return series


_TABLE: Fields = {"table": (pa.Table,)}

EXTENSIONS: tuple[Extension, ...] = (
    Record(56, pl.DataFrame, _TABLE, take=_parts, build=_frame, mutable=True, trial=False),
    Record(
        57, pl.Series, _TABLE, take=lambda series: _parts(series.to_frame()), build=_series, mutable=True, trial=False
    ),
)
