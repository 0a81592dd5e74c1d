"""Packing: values to objects and back, with the codec, compression and signing keys of one cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from s3memo import codec, envelope, pickling, settings
from s3memo.bridge import LARGE
from s3memo.codec import Classes
from s3memo.envelope import Buffer, Compression, Envelope
from s3memo.errors import DecodeError, SettingsError
from s3memo.signing import SigningKeys
from s3memo.versions import Key, Version

_PART = 32
"""A plain value of this many bytes takes as long to pack as one part of a list."""

CodecName: TypeAlias = Literal["msgpack", "pickle"]


@dataclass(frozen=True, slots=True)
class Packing:
    """How a cache packs its values.

    `own_keys` sign, or if there are none, the process's. Objects of more than `max_bytes` are not made, nor read if
    their size is known beforehand. With `codec` "pickle", which demands keys, objects written by msgpack are read too;
    never the other way round.
    """

    codec: CodecName
    compression: Compression
    own_keys: SigningKeys
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.codec == "pickle" and not self.keys:
            raise SettingsError(
                'codec="pickle" needs signing_keys=, or S3MEMO_SIGNING_KEYS: a pickle runs what its writer wants, '
                "so none is loaded that a holder of a key did not write"
            )

    @property
    def keys(self) -> SigningKeys:
        """The signing keys in force."""
        return self.own_keys or settings.current().signing_keys

    def pack(
        self,
        key: Key,
        version: Version,
        value: Any,
        classes: Classes,
        arguments: Mapping[str, str],
        *,
        raised: bool = False,
    ) -> Envelope:
        """Return a version's object, for a value or with `raised` an exception. Raises EncodeError."""
        return envelope.seal(
            self._encode(value, classes),
            object_key=key.prefix + version.name,
            keys=self.keys,
            created=version.created,
            ttl=version.ttl,
            elapsed=version.elapsed,
            function=key.namespace,
            codec=self.codec,
            compression=self.compression,
            arguments=arguments,
            raised=raised,
            max_bytes=self.max_bytes,
        )

    def takes(self, size: int) -> bool:
        """Whether an object of `size` bytes may be read."""
        return self.max_bytes is None or size <= self.max_bytes

    def check_size(self, object_key: str, size: int) -> None:
        """Raise DecodeError if an object of `size` bytes is too large to be read."""
        if not self.takes(size):
            raise DecodeError(
                f"{object_key} has {size:,} bytes and is not read, for this cache has max_entry_bytes={self.max_bytes:,}"
            )

    def copier(self, value: Any, classes: Classes) -> Callable[[], Any]:
        """Return a function that makes copies of a value, as it would come back from the store. Raises EncodeError."""
        data = b"".join(self._encode(value, classes))
        if self.codec == "pickle":
            return lambda: pickling.decode(data)
        return lambda: codec.decode(data, classes)

    def _encode(self, value: Any, classes: Classes) -> list[Any]:
        return pickling.encode(value) if self.codec == "pickle" else codec.encode(value, classes)

    def open(self, object_key: str, data: Buffer) -> Envelope:
        """Verify and return what was stored under a name. Raises DecodeError, IntegrityError."""
        return envelope.unseal(data, object_key=object_key, keys=self.keys, codecs={"msgpack", self.codec})


def may_be_large(value: Any) -> bool:
    """Whether a value may take long to pack: it has many parts, or a type that may hold anything."""
    left, pending = LARGE, [value]
    while pending and left > 0:
        part = pending.pop()
        if type(part) in {str, bytes, bytearray, int, bool}:  # exact types: calls no user code
            left -= sys.getsizeof(part)
        elif type(part) in {list, tuple, set, frozenset}:
            left -= _PART * (len(part) + 1)
            pending += part if left > 0 else ()
        elif type(part) is dict:
            left -= 2 * _PART * (len(part) + 1)
            pending += (*part, *part.values()) if left > 0 else ()
        elif type(part) in {type(None), float}:
            left -= _PART
        else:
            return True
    return left <= 0


def unpack(sealed: Envelope, classes: Classes) -> Any:
    """Return the value in an envelope that a Packing made or opened. Raises DecodeError.

    It is a new value each time, except that arrays share the envelope's data if that is writable.
    """
    if sealed.header.codec == "pickle":
        return pickling.decode(sealed.payload())
    return codec.decode(sealed.payload(), classes)
