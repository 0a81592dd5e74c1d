"""Values to objects and back as one cache has it set: its codec, its compression and its signing keys together."""

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
"""Bytes of a plain value's that take as long to pack as one part of a list."""

CodecName: TypeAlias = Literal["msgpack", "pickle"]


@dataclass(frozen=True, slots=True)
class Packing:
    """How a cache stores its values.

    `own_keys` sign, or where it has none, those of the process. No object of more than `max_bytes` is made, or read where
    its size is known before.

    With `codec` "pickle", which demands keys, what msgpack wrote is read too; never the other way round.
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
        """Return the object of a version that is `value`, or with `raised` the exception `value`. Raises EncodeError."""
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
        """Whether an object of so many bytes may be read."""
        return self.max_bytes is None or size <= self.max_bytes

    def check_size(self, object_key: str, size: int) -> None:
        """Raise DecodeError for an object of so many bytes if it may not be read."""
        if not self.takes(size):
            raise DecodeError(
                f"{object_key} has {size:,} bytes and is not read, for this cache has max_entry_bytes={self.max_bytes:,}"
            )

    def copier(self, value: Any, classes: Classes) -> Callable[[], Any]:
        """Return what makes a copy of a value that is not stored, as it would come back if it were. Raises EncodeError."""
        data = b"".join(self._encode(value, classes))
        if self.codec == "pickle":
            return lambda: pickling.decode(data)
        return lambda: codec.decode(data, classes)

    def _encode(self, value: Any, classes: Classes) -> list[Any]:
        return pickling.encode(value) if self.codec == "pickle" else codec.encode(value, classes)

    def open(self, object_key: str, data: Buffer) -> Envelope:
        """Return what was stored under that name, once it is known to be intact. Raises DecodeError, IntegrityError."""
        return envelope.unseal(data, object_key=object_key, keys=self.keys, codecs={"msgpack", self.codec})


def may_be_large(value: Any) -> bool:
    """Whether it may take long to pack a value: it is of more than a few parts, or of a type that may hold anything."""
    left, pending = LARGE, [value]
    while pending and left > 0:
        part = pending.pop()
        if type(part) in {str, bytes, bytearray, int, bool}:  # exactly: no class of the user's is asked
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

    It is a fresh one each time, unless the envelope's data may be written to: then arrays lie over that.
    """
    if sealed.header.codec == "pickle":
        return pickling.decode(sealed.payload())
    return codec.decode(sealed.payload(), classes)
