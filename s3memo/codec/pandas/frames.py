"""How pandas' series and data frames are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.pandas.arrays import VALUES, values_of, values_part
from s3memo.codec.pandas.indexes import INDEX_KINDS
from s3memo.codec.table import ANY, Extension, Fields, Items, Labelled, Record, check_parts


def _series_parts(series: pd.Series) -> list[object]:
    return [values_part(series), series.index, series.name, series.attrs, series.flags.allows_duplicate_labels]


def _series(values: Any, index: pd.Index, name: Any, attrs: dict[Any, Any], allows_duplicates: bool) -> pd.Series:  # noqa: FBT001  it is a part
    array = values_of(values)
    series = pd.Series(array, index=index, dtype=array.dtype, name=name, copy=False)
    return _with_notes(series, attrs, allows_duplicates=allows_duplicates)


def _with_notes(data: Any, attrs: dict[Any, Any], *, allows_duplicates: bool) -> Any:
    if attrs:
        data.attrs = attrs
    if not allows_duplicates:
        data.flags.allows_duplicate_labels = False
    return data


def _frame_parts(frame: pd.DataFrame) -> list[object]:
    blocks = list(_blocks(frame))
    rest = _positions_without(blocks, frame.shape[1])
    columns = [values_part(frame.iloc[:, position]) for position in rest]
    notes = [frame.attrs, frame.flags.allows_duplicate_labels]
    return [frame.index, frame.columns, *notes, blocks, Labelled(frame.columns[rest], columns)]


def _blocks(frame: pd.DataFrame) -> Iterator[list[object]]:
    """Yield each block of columns that pandas keeps in one array, with the columns' positions."""
    alike: dict[np.dtype[Any], list[int]] = {}
    for position, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind != "O":
            alike.setdefault(dtype, []).append(position)
    for positions in alike.values():
        part = frame if len(positions) == frame.shape[1] else frame.iloc[:, positions]
        if _is_block(part):
            yield [positions, part.to_numpy()]


def _is_block(part: pd.DataFrame) -> bool:
    """Whether columns of one dtype are in one array, so that pandas returns it without a copy."""
    first_row = part.iloc[:1]
    return len(part) == 0 or np.may_share_memory(first_row.to_numpy(), first_row.iloc[:, 0].to_numpy())


def _positions_without(blocks: list[Any], count: int) -> list[int]:
    """Return the positions below `count` that are in no block."""
    taken = {position for positions, _ in blocks for position in positions}
    return [position for position in range(count) if position not in taken]


def _frame(  # noqa: PLR0917  they are the parts
    index: pd.Index,
    labels: pd.Index,
    attrs: dict[Any, Any],
    allows_duplicates: bool,  # noqa: FBT001  it is a part
    blocks: list[Any],
    columns: list[Any],
) -> pd.DataFrame:
    for block in blocks:
        check_parts(_BLOCK, block)
    order: list[int] = [position for positions, _ in blocks for position in positions]
    if len(order) + len(columns) != len(labels):
        raise ValueError("its columns are not as many as their labels")
    pieces = [_block_frame(values) for _, values in blocks]
    rest = dict(zip(_positions_without(blocks, len(labels)), map(values_of, columns), strict=True))
    for piece in _column_frames(rest):
        pieces.append(piece)
        order.extend(piece.columns)
    if sorted(order) != list(range(len(labels))) or {len(piece) for piece in pieces} - {len(index)}:
        raise ValueError("its columns are not as many or as long as its labels say")
    frame = _side_by_side(pieces, order) if pieces else pd.DataFrame(index=index)
    frame.index = index
    frame.columns = labels
    return _with_notes(frame, attrs, allows_duplicates=allows_duplicates)


def _block_frame(values: np.ndarray[Any, Any]) -> pd.DataFrame:
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind == "O":  # noqa: PLR2004  rows and columns
        raise ValueError("it has a block that is no table of numbers or times")
    return pd.DataFrame(values, copy=False)


def _column_frames(columns: dict[int, Any]) -> Iterator[pd.DataFrame]:
    """Yield frames of the columns; those of numpy dtypes are copied into blocks."""
    of_objects, of_numpy, of_pandas = {}, {}, {}
    for position, values in columns.items():
        if not isinstance(values, np.ndarray):
            of_pandas[position] = values
        elif values.dtype == object:
            of_objects[position] = values
        else:
            of_numpy[position] = values
    if of_objects:
        yield pd.DataFrame(of_objects, dtype=object)
    if of_numpy:
        yield pd.DataFrame(of_numpy)
    if of_pandas:
        yield pd.DataFrame(of_pandas, copy=False)


def _side_by_side(pieces: list[pd.DataFrame], order: list[int]) -> pd.DataFrame:
    """Join the pieces without a copy, and put their columns at the positions in `order`."""
    frame = pieces[0] if len(pieces) == 1 else pd.concat(pieces, axis=1, ignore_index=True, **_NO_COPY)
    return frame if order == sorted(order) else frame.iloc[:, np.argsort(order)]


_NO_COPY: dict[str, Any] = {} if int(pd.__version__.partition(".")[0]) >= 3 else {"copy": False}  # noqa: PLR2004  pandas 3 copies on write

_BLOCK: Fields = {"positions": (Items(list, int),), "values": (np.ndarray,)}
_NOTES: Fields = {"attrs": (dict,), "flags": (bool,)}

EXTENSIONS: tuple[Extension, ...] = (
    Record(
        69,
        pd.Series,
        {"values": VALUES, "index": INDEX_KINDS, "name": ANY} | _NOTES,
        take=_series_parts,
        build=_series,
        mutable=True,
    ),
    Record(
        70,
        pd.DataFrame,
        {"index": INDEX_KINDS, "columns": INDEX_KINDS}
        | _NOTES
        | {"blocks": (Items(list, list),), "data": (Items(list, *VALUES),)},
        take=_frame_parts,
        build=_frame,
        mutable=True,
        trial=False,
    ),
)
