"""Values to bytes and back, exactly: `decode(encode(value))` equals `value`, and so do all types inside it.

The body is msgpack. A value for which msgpack has no exact form is an array: first a tag, an empty extension type whose
code names an entry of a table, then the value's parts. So a value is one msgpack document, without documents inside it.

    (1, 2j)  →  [ext 1, 1, [ext 7, 0.0, 2.0]]

Large buffers follow the body, each at the next multiple of 64, so that arrays can be used in place. The body refers to
each once, in their order, by an extension type that holds its length.

Types are matched exactly, so a subclass is never taken for its base. Decoding runs the constructors of the tables and
nothing else: no name in the data is imported, looked up or called. Users' classes are rebuilt only if the caller allows
them.

An object that occurs several times in a value is stored each time, and comes back as separate equal objects.
"""

from __future__ import annotations

from s3memo.codec.classes import NO_CLASSES, Classes
from s3memo.codec.decoder import Decoder
from s3memo.codec.encoder import ALIGNMENT, MAX_DEPTH, Encoder
from s3memo.codec.table import PLAIN, Buffer
from s3memo.codec.walk import is_immutable
from s3memo.errors import DecodeError, EncodeError

__all__ = ["MAX_DEPTH", "NO_CLASSES", "PLAIN", "Classes", "decode", "encode", "is_immutable"]


def encode(value: object, classes: Classes = NO_CLASSES) -> list[Buffer]:
    """Return `value` as pieces to be joined. Raises EncodeError, which says what cannot be stored, and where it is.

    The first piece is a copy; the others are views of buffers in `value`, and padding. A value gives the same bytes in
    every process; equal values may give different ones.
    """
    encoder = Encoder(value, classes)
    try:
        body = encoder.encode()
    except RuntimeError as error:  # RecursionError on a deep stack; a dict that another thread changes
        raise EncodeError(f"{encoder.place} could not be read to its end: {error}") from error
    except ValueError as error:
        raise EncodeError(
            f"the result holds something too large for one piece of msgpack (4 GiB, or 2**32 items): {error}. "
            "Return it in smaller pieces"
        ) from error
    pieces: list[Buffer] = [body]
    size = len(body)
    for buffer in encoder.buffers:
        padding = -size % ALIGNMENT
        pieces += [bytes(padding), *buffer.views] if padding else buffer.views
        size += padding + buffer.nbytes
    return pieces


def decode(data: Buffer, classes: Classes = NO_CLASSES) -> object:
    """Return the value that `encode` turned into these bytes. Raises DecodeError; safe on untrusted bytes.

    Arrays use `data` itself if it is writable, so the caller must not use such a buffer any more; else they use copies.
    Memory is bounded by the size of `data`, and nesting by the 1,024 levels of msgpack's stack.
    """
    try:
        return Decoder(memoryview(data).cast("B"), classes).decode()
    except DecodeError:
        raise
    except Exception as error:  # whatever foreign bytes make msgpack or a hash raise
        raise DecodeError(f"these bytes are not a stored value: {type(error).__name__}: {error}") from error
