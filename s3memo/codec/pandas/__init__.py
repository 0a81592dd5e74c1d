"""How what pandas holds is stored: its scalars, dtypes, arrays, indexes and frames, each in terms of those before it.

Columns of numpy's dtypes go as the blocks that they lie in, and come back over the buffers that were read. Of pandas
only what it documents is used, so that this outlives its versions.
"""

from __future__ import annotations

from s3memo.codec.pandas import arrays, dtypes, frames, indexes, scalars
from s3memo.codec.table import Extension

EXTENSIONS: tuple[Extension, ...] = (
    *scalars.EXTENSIONS,
    *dtypes.EXTENSIONS,
    *arrays.EXTENSIONS,
    *indexes.EXTENSIONS,
    *frames.EXTENSIONS,
)
