"""Values to bytes and back, exactly: `decode(encode(value))` equals `value`, and so do all types inside it.

The body is msgpack. What msgpack has no exact form for is an array that begins with a tag, an empty extension type
whose code names an entry of a table; the value's parts follow. So all of a value is one flat msgpack document, however
deep it is.

    (1, 2j)  →  [ext 1, 1, [ext 7, 0.0, 2.0]]

Large buffers follow the body, each at the next multiple of 64, so that arrays can be used where they lie. The body
refers to each once, in their order, by an extension type that holds its length.

Types are told apart exactly, so a subclass is never taken for its base. Decoding runs the constructors of the tables and
nothing else: no name in the data is imported, looked up or called. Classes of the user's are rebuilt only if they are
among those that the caller allows.

A part that is in several places of a value is stored in each, and comes back as so many equal parts.
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
    """Return `value` as pieces to be joined; EncodeError says what in it cannot be stored, and where.

    The first is a copy; the others show buffers of `value` itself, and zeros between them. The same value gives the same
    bytes in every process; equal values need not.
    """
    encoder = Encoder(value, classes)
    try:
        body = encoder.encode()
    except RuntimeError as error:  # RecursionError on a stack that is deep already; a dict that another thread changes
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
    """Return the value that `encode` made these bytes of, or raise DecodeError; safe on bytes from anywhere.

    Arrays lie over `data` itself if it may be written to, so whoever passes such a buffer gives it away; else over
    copies. Nothing is built out of proportion to `data`, and nesting ends at the 1,024 levels of msgpack's own stack.
    """
    try:
        return Decoder(memoryview(data).cast("B"), classes).decode()
    except DecodeError:
        raise
    except Exception as error:  # whatever foreign bytes make msgpack or a hash raise: they are not ours
        raise DecodeError(f"these bytes are not a stored value: {type(error).__name__}: {error}") from error
