"""How pandas' types are stored: scalars, dtypes, arrays, indexes and frames, each in terms of those before it.

Columns of numpy dtypes are stored as the blocks that pandas keeps them in, and come back over the buffers that were read.
Only documented parts of pandas are used, so that this works with many versions.
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
