"""The envelope around a stored result: a header that says what it is, a checksum, and the payload.

    offset 0   6 bytes   b"s3memo"
           6   1 byte    the format's number, 1
           7   1 byte    its variant, 0
           8   4 bytes   the header's length, big endian
          12   4 bytes   CRC-32 of all other bytes, big endian
          16             the header, a msgpack map
                         zeros up to a multiple of 64
                         the payload, to the end

The payload's offset is a multiple of 64 so that arrays in it can be used where they lie. The checksum finds accidents
before anything is parsed; it is no authentication: whoever can write to the bucket can compute it too.
"""

from __future__ import annotations

import reprlib
import struct
import sys
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, get_args, get_type_hints
from zlib import crc32

import msgpack  # type: ignore[import-untyped]  # it comes without types

from s3memo._about import __version__
from s3memo.errors import DecodeError, IntegrityError, SettingsError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression: TypeAlias = Literal["auto", "none"]

MAX_RATIO = 1024
"""How many times its own size a payload may unpack to; so no small object can ask for much memory."""

_MAGIC = b"s3memo"
_FORMAT = 1
_VARIANT = 0
_PRELUDE = struct.Struct(">6sBBII")
_CHECKSUM_AT = 12
_ALIGNMENT = 64
_MAX_ITEMS = 1024  # of each list and map in a header; msgpack reserves the room for a list that claims so many
_CODECS = {"msgpack"}

_LEVEL = 3  # of zstd
_MIN_SIZE = 1024
_SAMPLE_SIZE = 64 * 1024
_WORTHWHILE = 0.9
_WINDOW_LOG_MAX = 23  # 8 MiB, what level 19 uses; the memory that a frame's own header may ask for


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope says of its payload.

    `created` is in µs since 1970 by the store's clock, `ttl` in seconds (None: for ever), and `elapsed`, how long the
    result took to compute, in ms. `function` is its namespace. The payload is `codec`'s bytes, `raw_size` of them,
    after `compression` ("none" or "zstd"). `python` and `s3memo` are the writer's versions.
    """

    created: int
    ttl: int | None
    elapsed: int
    function: str
    codec: str
    compression: str
    raw_size: int
    python: str
    s3memo: str


_FIELDS = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(Header).items()}


def seal(
    payload: bytes | bytearray | memoryview,
    *,
    created: int,
    ttl: int | None,
    elapsed: int,
    function: str,
    codec: str = "msgpack",
    compression: Compression = "auto",
) -> bytes:
    """Return the payload in an envelope; the arguments are the fields of Header.

    With `compression` "auto" the payload is compressed where that saves a tenth; SettingsError for another word.
    """
    if compression not in {"auto", "none"}:
        raise SettingsError(f'compression={compression!r} is unknown: use "auto" or "none"')
    if codec not in _CODECS:
        raise SettingsError(f"codec={codec!r} is unknown: use one of {sorted(_CODECS)}")
    raw = memoryview(payload).cast("B")
    compressed = _compress(raw) if compression == "auto" else None
    header = Header(
        created=created,
        ttl=ttl,
        elapsed=elapsed,
        function=function,
        codec=codec,
        compression="none" if compressed is None else "zstd",
        raw_size=len(raw),
        python=".".join(map(str, sys.version_info[:3])),
        s3memo=__version__,
    )
    return _frame(header, raw if compressed is None else compressed)


def unseal(data: bytes | bytearray | memoryview) -> tuple[Header, memoryview | bytes]:
    """Return the header and the payload of an envelope; a payload that was not compressed is a view of `data`.

    IntegrityError if the bytes were altered or cut short; DecodeError if they are no envelope that this version reads.
    """
    view = memoryview(data).cast("B")
    packed_header, payload = _unframe(view)
    header = _parse_header(packed_header)
    if header.codec not in _CODECS:
        raise DecodeError(f"the object was written with the codec {header.codec!r}, which this version does not know")
    if header.compression == "zstd":
        return header, _decompress(payload, header.raw_size)
    if header.compression != "none":
        raise DecodeError(f"the object is compressed with {header.compression!r}, which this version does not know")
    if header.raw_size != len(payload):
        raise DecodeError(f"the header promises {header.raw_size} bytes, and {len(payload)} are there")
    return header, payload


def _frame(header: Header, payload: memoryview | bytes) -> bytes:
    packed = msgpack.packb(asdict(header), unicode_errors="surrogatepass")
    padding = bytes(-(_PRELUDE.size + len(packed)) % _ALIGNMENT)
    checksum = crc32(_prelude(len(packed), checksum=0)[:_CHECKSUM_AT])
    for piece in (packed, padding, payload):
        checksum = crc32(piece, checksum)
    return b"".join((_prelude(len(packed), checksum), packed, padding, payload))


def _prelude(header_size: int, checksum: int) -> bytes:
    return _PRELUDE.pack(_MAGIC, _FORMAT, _VARIANT, header_size, checksum)


def _unframe(view: memoryview) -> tuple[memoryview, memoryview]:
    """Check the frame and return the packed header and the payload."""
    if len(view) < _PRELUDE.size or view[: len(_MAGIC)] != _MAGIC:
        raise DecodeError(f"the object, of {len(view)} bytes, is not one that s3memo wrote")
    _, number, variant, header_size, checksum = _PRELUDE.unpack_from(view)
    if (number, variant) != (_FORMAT, _VARIANT):
        raise DecodeError(
            f"the object is in format {number}, variant {variant}, written by a newer s3memo: upgrade this one, "
            f"which reads format {_FORMAT}, variant {_VARIANT}"
        )
    if crc32(view[_PRELUDE.size :], crc32(view[:_CHECKSUM_AT])) != checksum:
        raise IntegrityError("the object was altered or cut short since it was written: its checksum does not match")
    header_end = _PRELUDE.size + header_size
    payload_start = header_end + -header_end % _ALIGNMENT
    if payload_start > len(view):
        raise DecodeError(f"the object's header of {header_size} bytes does not fit into its {len(view)} bytes")
    return view[_PRELUDE.size : header_end], view[payload_start:]


def _parse_header(packed: memoryview) -> Header:
    """Return the header; fields that it has beyond ours are a later version's and mean nothing here."""
    try:
        fields = msgpack.unpackb(
            packed,
            unicode_errors="surrogatepass",
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
        )
    except Exception as error:  # whatever foreign bytes make msgpack raise
        raise DecodeError(f"the object's header cannot be read: {type(error).__name__}: {error}") from error
    if type(fields) is not dict:
        raise DecodeError(f"the object's header is no map, but of type {type(fields).__name__}")
    for name, kinds in _FIELDS.items():
        if name not in fields:
            raise DecodeError(f"the object's header lacks {name!r}")
        if type(fields[name]) not in kinds or (type(fields[name]) is int and fields[name] < 0):
            raise DecodeError(f"the object's header has an impossible {name!r}: {reprlib.repr(fields[name])}")
    return Header(**{name: fields[name] for name in _FIELDS})


def _compress(raw: memoryview) -> bytes | None:
    """Return `raw` compressed, or None where that saves too little."""
    if len(raw) < _MIN_SIZE:
        return None
    if len(raw) > _SAMPLE_SIZE:
        middle = (len(raw) - _SAMPLE_SIZE) // 2
        sample = raw[middle : middle + _SAMPLE_SIZE]
        if len(zstd.compress(sample, _LEVEL)) > _WORTHWHILE * len(sample):
            return None
    compressed = zstd.compress(raw, _LEVEL)
    if len(compressed) > _WORTHWHILE * len(raw):
        return None
    return compressed.ljust(-(-len(raw) // MAX_RATIO), b"\0")  # zeros after the frame keep to the ratio


def _decompress(compressed: memoryview, raw_size: int) -> bytes:
    """Return what `compressed` unpacks to if that is exactly `raw_size` bytes; takes at most about twice the memory."""
    if raw_size > MAX_RATIO * len(compressed):
        raise DecodeError(
            f"{len(compressed)} compressed bytes claim to hold {raw_size}, over {MAX_RATIO} times as many"
        )
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})
    try:
        raw = decompressor.decompress(compressed, max_length=raw_size + 1)
    except zstd.ZstdError as error:
        raise DecodeError(f"the payload cannot be decompressed: {error}") from error
    if len(raw) != raw_size or not decompressor.eof or decompressor.unused_data.strip(b"\0"):
        raise DecodeError(f"the payload is not one zstd frame of {raw_size} bytes, as its header says")
    return raw
