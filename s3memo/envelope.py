"""The envelope around a stored result: a header that describes it, a checksum, an optional MAC, and the payload.

    offset 0   6 bytes   b"s3memo"
           6   1 byte    format number, 1
           7   1 byte    variant: 0 plain, 1 signed
           8   4 bytes   length of the header, big endian
          12   4 bytes   CRC-32 of all bytes except its own and the MAC's, big endian
          16   32 bytes  in variant 1 only: HMAC-SHA256 of the first 16 bytes, the length of the object key in bytes
                         (4 bytes, big endian), the object key in UTF-8, and everything that follows the MAC
                         the header, a msgpack map
                         zeros up to a multiple of 64
                         the payload, to the end

The payload's offset is a multiple of 64 so that arrays in it can be used in place. The checksum detects accidents
before anything is parsed. It is no authentication, since anyone who can write to the bucket can compute it; the MAC is:
it proves that a holder of a signing key wrote these bytes under this name. A reader with keys accepts nothing without
a MAC; a reader without keys cannot check it, and reads a signed object like a plain one.
"""

from __future__ import annotations

import itertools
import reprlib
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType, UnionType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints
from zlib import crc32

import msgpack  # type: ignore[import-untyped]  # has no type hints

from s3memo._about import __version__
from s3memo.errors import DecodeError, EncodeError, IntegrityError, SettingsError
from s3memo.signing import MAC_BYTES, SigningKeys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Buffer: TypeAlias = bytes | bytearray | memoryview
Compression: TypeAlias = Literal["auto", "none"]

MAX_RATIO = 1024
"""How many times its own size a payload may unpack to, so that no small object can ask for much memory.

This counts bytes; Python objects take more: an empty list is one byte here and 64 in memory."""

_PYTHON = ".".join(map(str, sys.version_info[:3]))
_MAGIC = b"s3memo"
_FORMAT = 1
_PLAIN, _SIGNED = 0, 1  # variants
_PRELUDE = struct.Struct(">6sBBII")
_NONE = b"", 0, 0, 0, 0
_VARIANT_AT = 7
_CHECKSUM_AT = 12
_NAME_LENGTH = struct.Struct(">I")
_ALIGNMENT = 64
_MAX_ITEMS = 1024  # in each list and map of a header; msgpack allocates a list's claimed length up front

_LEVEL = 3  # of zstd
_MIN_SIZE = 1024
_SAMPLE_SIZE = 64 * 1024
_WORTHWHILE = 0.9
_WINDOW_LOG_MAX = 23  # 8 MiB, as level 19 uses; bounds the memory that a frame's header may ask for
_BLOCK = 128 * 1024  # bytes fed to zstd, and taken from it, at a time


class Header(NamedTuple):
    """The description of the payload.

    `created` is in µs since 1970 by the store's clock, `ttl` in seconds (None: for ever), and `elapsed`, the time the
    computation took, in ms. `function` is its namespace. The payload is `raw_size` bytes of `codec`, then compressed by
    `compression` ("none" or "zstd"). `python` and `s3memo` are the writer's versions. `arguments` describes the call's
    arguments if the writer records them. `raised` says that the payload is an exception that the function raised, not
    its result.
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
    arguments: Mapping[str, str] = MappingProxyType({})
    raised: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed or verified object: `data` is all of it, `stored` the payload as it lies within."""

    header: Header
    data: Buffer
    stored: memoryview

    @property
    def is_signed(self) -> bool:
        """Whether it has a MAC; only a holder of the keys can tell whether that is valid."""
        return self.data[_VARIANT_AT] == _SIGNED

    def payload(self) -> memoryview:
        """Return the payload: a view of `data`, writable if that is; or uncompressed, in a writable buffer of its own.

        Raises DecodeError if it does not unpack to the size in the header.
        """
        if self.header.compression == "none":
            return self.stored
        return _decompress(self.stored, self.header.raw_size)


def _kinds(hint: Any) -> tuple[type, ...]:
    if isinstance(hint, UnionType):
        return get_args(hint)
    return (dict if get_origin(hint) else hint,)


_FIELDS = {name: _kinds(hint) for name, hint in get_type_hints(Header).items()}
_OPTIONAL = {"arguments": dict[str, str](), "raised": False}
_values_of = itemgetter(*_FIELDS)
_POSSIBLE = set(itertools.product(*_FIELDS.values()))
"""The possible combinations of types of a header's fields."""


def seal(
    pieces: Iterable[Buffer],
    *,
    object_key: str,
    keys: SigningKeys,
    created: int,
    ttl: int | None,
    elapsed: int,
    function: str,
    codec: str = "msgpack",
    compression: Compression = "auto",
    arguments: Mapping[str, str] | None = None,
    raised: bool = False,
    max_bytes: int | None = None,
) -> Envelope:
    """Return the payload, given in consecutive pieces, in an envelope; the data is copied once.

    `object_key` is where it will be stored. The first of `keys`, if any, signs it. The other arguments are the fields
    of Header. With `compression` "auto" the payload is compressed if that saves a tenth; raises SettingsError for an
    unknown value. Raises EncodeError, before copying, if the whole would exceed `max_bytes`.
    """
    if compression not in {"auto", "none"}:
        raise SettingsError(f'compression={compression!r} is unknown: use "auto" or "none"')
    raw = [memoryview(piece).cast("B") for piece in pieces if memoryview(piece).nbytes]
    raw_size = sum(map(len, raw))
    compressed = _compress(raw, raw_size) if compression == "auto" else None
    header = Header(
        created=created,
        ttl=ttl,
        elapsed=elapsed,
        function=function,
        codec=codec,
        compression="none" if compressed is None else "zstd",
        raw_size=raw_size,
        python=_PYTHON,
        s3memo=__version__,
        arguments=arguments or {},
        raised=raised,
    )
    packed = _pack_header(header)
    start = _PRELUDE.size + (MAC_BYTES if keys else 0)
    padding = bytes(-(start + len(packed)) % _ALIGNMENT)
    body = [packed, padding, *(raw if compressed is None else compressed)]
    size = start + sum(map(len, body))
    if max_bytes is not None and size > max_bytes:
        raise EncodeError(
            f"the result takes {size:,} bytes, and max_entry_bytes={max_bytes:,} is the most that this cache keeps of "
            "one: give the Cache a higher limit, or return less"
        )
    variant = _SIGNED if keys else _PLAIN
    prelude = _PRELUDE.pack(_MAGIC, _FORMAT, variant, len(packed), 0)
    prelude = _PRELUDE.pack(_MAGIC, _FORMAT, variant, len(packed), _checksum(prelude, body))
    mac = keys.sign(_signed_pieces(prelude, object_key, body)) if keys else b""
    data = b"".join((prelude, mac, *body))
    return Envelope(header, data, memoryview(data)[start + len(packed) + len(padding) :])


def unseal(
    data: Buffer, *, object_key: str, keys: SigningKeys, codecs: Collection[str] = frozenset({"msgpack"})
) -> Envelope:
    """Return the envelope that was stored under `object_key`. With `keys`, one of them must have signed it.

    Raises IntegrityError if the bytes were altered, cut short, moved or not signed; DecodeError if they are no envelope
    that this version reads, or their codec is none of `codecs`.
    """
    view = memoryview(data).cast("B")
    packed_header, stored = _unframe(view, object_key, keys)
    header = _parse_header(packed_header)
    if header.codec not in codecs:
        raise DecodeError(
            f"the object was written with the codec {header.codec!r}, and this cache reads {' and '.join(sorted(codecs))}"
        )
    if header.compression not in {"none", "zstd"}:
        raise DecodeError(f"the object is compressed with {header.compression!r}, which this version does not know")
    if header.compression == "none" and header.raw_size != len(stored):
        raise DecodeError(f"the header promises {header.raw_size} bytes, and {len(stored)} are there")
    return Envelope(header, view, stored)


def _pack_header(header: Header) -> bytes:
    named = {name: getattr(header, name) for name in _FIELDS if name not in _OPTIONAL}
    if header.arguments:
        named["arguments"] = dict(header.arguments)
    if header.raised:
        named["raised"] = True
    packed: bytes = msgpack.packb(named, unicode_errors="surrogatepass")
    return packed


def _checksum(prelude: bytes | memoryview, body: Iterable[bytes | memoryview]) -> int:
    checksum = crc32(prelude[:_CHECKSUM_AT])
    for piece in body:
        checksum = crc32(piece, checksum)
    return checksum


def _signed_pieces(
    prelude: bytes | memoryview, object_key: str, body: Sequence[bytes | memoryview]
) -> list[bytes | memoryview]:
    """Return the bytes that the MAC covers, in pieces."""
    name = object_key.encode("utf-8", "surrogatepass")
    return [prelude, _NAME_LENGTH.pack(len(name)), name, *body]


def _unframe(view: memoryview, object_key: str, keys: SigningKeys) -> tuple[memoryview, memoryview]:
    """Check the frame and return the packed header and the stored payload."""
    magic, number, variant, header_size, checksum = _PRELUDE.unpack_from(view) if len(view) >= _PRELUDE.size else _NONE
    if magic != _MAGIC:
        raise DecodeError(f"the object, of {len(view)} bytes, is not one that s3memo wrote")
    if number != _FORMAT or variant not in {_PLAIN, _SIGNED}:
        raise DecodeError(
            f"the object is in format {number}, variant {variant}, written by a newer s3memo: upgrade this one, "
            f"which reads format {_FORMAT}, variants {_PLAIN} and {_SIGNED}"
        )
    prelude = view[: _PRELUDE.size]
    start = _PRELUDE.size + (MAC_BYTES if variant == _SIGNED else 0)
    body = view[start:]
    if not keys:
        if _checksum(prelude, [body]) != checksum:
            raise IntegrityError(
                "the object was altered or cut short since it was written: its checksum does not match"
            )
    elif variant != _SIGNED:
        raise IntegrityError("the object is not signed, and a cache with signing keys believes only what is")
    elif not keys.verify(view[_PRELUDE.size : start], _signed_pieces(prelude, object_key, [body])):
        raise IntegrityError(
            "the object was altered or moved since it was signed, or by a key that is none of this cache's signing keys"
        )
    header_end = start + header_size
    payload_start = header_end + -header_end % _ALIGNMENT
    if payload_start > len(view):
        raise DecodeError(f"the object's header of {header_size} bytes does not fit into its {len(view)} bytes")
    return view[start:header_end], view[payload_start:]


def _parse_header(packed: memoryview) -> Header:
    """Return the header; unknown fields are a later version's and are ignored."""
    try:
        found = msgpack.unpackb(
            packed,
            unicode_errors="surrogatepass",
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
        )
    except Exception as error:  # msgpack may raise anything on foreign bytes
        raise DecodeError(f"the object's header cannot be read: {type(error).__name__}: {error}") from error
    if type(found) is not dict:
        raise DecodeError(f"the object's header is no map, but of type {type(found).__name__}")
    found = _OPTIONAL | found
    try:
        header = Header._make(_values_of(found))
    except KeyError:
        raise _explained(found) from None
    if (
        tuple(map(type, header)) not in _POSSIBLE
        or min(header.created, header.ttl or 0, header.elapsed, header.raw_size) < 0
        or (header.arguments and not _is_possible(header.arguments))
    ):
        raise _explained(found)
    return header


def _is_possible(value: Any) -> bool:
    """Whether a field of its type may have this value."""
    if type(value) is dict:
        return all(type(name) is str and type(text) is str for name, text in value.items())
    return type(value) is not int or value >= 0


def _explained(found: Mapping[Any, Any]) -> DecodeError:
    """Return an error that says what is wrong with a header."""
    for name, kinds in _FIELDS.items():
        if name not in found:
            return DecodeError(f"the object's header lacks {name!r}")
        if type(found[name]) not in kinds or not _is_possible(found[name]):
            break
    return DecodeError(f"the object's header has an impossible {name!r}: {reprlib.repr(found[name])}")


def _compress(raw: Sequence[memoryview], raw_size: int) -> list[bytes] | None:
    """Return the pieces compressed into one frame, in new pieces; None if that saves too little."""
    if raw_size < _MIN_SIZE:
        return None
    if raw_size > _SAMPLE_SIZE:
        sample = b"".join(_middle(raw, (raw_size - _SAMPLE_SIZE) // 2, _SAMPLE_SIZE))
        if len(zstd.compress(sample, _LEVEL)) > _WORTHWHILE * _SAMPLE_SIZE:
            return None
    compressed, size = [], 0
    for block in _compressed_blocks(raw, raw_size):
        compressed.append(block)
        size += len(block)
        if size > _WORTHWHILE * raw_size:
            return None
    compressed.append(bytes(max(0, -(-raw_size // MAX_RATIO) - size)))  # zeros after the frame keep within the ratio
    return compressed


def _compressed_blocks(pieces: Iterable[memoryview], raw_size: int) -> Iterator[bytes]:
    compressor = zstd.ZstdCompressor(_LEVEL)
    compressor.set_pledged_input_size(raw_size)
    for piece in pieces:
        for start in range(0, len(piece), _BLOCK):
            yield compressor.compress(piece[start : start + _BLOCK])
    yield compressor.flush()


def _middle(pieces: Iterable[memoryview], start: int, size: int) -> Iterator[memoryview]:
    """Yield `size` bytes from offset `start` on, piece by piece."""
    for piece in pieces:
        part = piece[start : start + size]
        yield part
        start = max(0, start - len(piece))
        size -= len(part)


def _decompress(compressed: memoryview, raw_size: int) -> memoryview:
    """Decompress to exactly `raw_size` bytes, using that much memory plus one block. Raises DecodeError."""
    if raw_size > MAX_RATIO * len(compressed):
        raise DecodeError(
            f"{len(compressed)} compressed bytes claim to hold {raw_size}, over {MAX_RATIO} times as many"
        )
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})
    fed = filled = 0
    try:
        raw = memoryview(bytearray(raw_size))
        while not decompressor.eof and (fed < len(compressed) or not decompressor.needs_input):
            block = compressed[fed : fed + _BLOCK] if decompressor.needs_input else b""
            fed += len(block)
            part = decompressor.decompress(block, max_length=_BLOCK)
            filled += len(part)
            if filled > raw_size:
                break
            raw[filled - len(part) : filled] = part
    except MemoryError as error:
        raise DecodeError(f"the {raw_size} bytes that the payload unpacks to do not fit into memory") from error
    except zstd.ZstdError as error:
        raise DecodeError(f"the payload cannot be decompressed: {error}") from error
    is_whole = filled == raw_size and decompressor.eof
    if not is_whole or decompressor.unused_data.strip(b"\0") or compressed[fed:].tobytes().strip(b"\0"):
        raise DecodeError(f"the payload is not one zstd frame of {raw_size} bytes, as its header says")
    return raw
