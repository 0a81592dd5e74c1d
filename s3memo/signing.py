"""Signing keys and their MAC, HMAC-SHA256. The algorithm is fixed: no object can choose or omit it."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from s3memo.errors import SettingsError

SigningKey: TypeAlias = bytes | str

MIN_KEY_BYTES = 32
"""The output size of HMAC-SHA256; a shorter key would be weaker."""

MAC_BYTES = 32

_REMEDY = 'make one by python -c "import secrets; print(secrets.token_urlsafe(32))"'


class SigningKeys:
    """Secrets of at least 32 bytes: the first signs, and any of them verifies. Without keys, nothing is signed.

    A str counts as its UTF-8 bytes. SettingsError says which key is invalid, but never shows it.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[SigningKey] = (), *, name: str = "signing_keys") -> None:
        if isinstance(keys, bytes | bytearray | str) or not isinstance(keys, Iterable):
            raise SettingsError(f"{name} must be a tuple or list of keys, and one key alone a tuple of one: (key,)")
        self._keys = tuple(_checked(key, f"{name}: key {number}") for number, key in enumerate(keys, 1))

    @classmethod
    def from_text(cls, text: str, *, name: str) -> SigningKeys:
        """Parse keys separated by commas, ignoring blanks around them. Raises SettingsError, naming the text `name`."""
        return cls((key.strip() for key in text.split(",")) if text.strip() else (), name=name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKeys) and self._keys == other._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def __repr__(self) -> str:
        return f"<{len(self._keys)} signing keys>"

    def sign(self, pieces: Iterable[bytes | memoryview]) -> bytes:
        """Return the MAC of the pieces in order, by the first key."""
        return _mac(self._keys[0], pieces)

    def verify(self, mac: bytes | memoryview, pieces: Sequence[bytes | memoryview]) -> bool:
        """Whether any of the keys makes this MAC for the pieces."""
        return any(hmac.compare_digest(mac, _mac(key, pieces)) for key in self._keys)


NO_KEYS = SigningKeys()


def _checked(key: object, name: str) -> bytes:
    if not isinstance(key, bytes | str):
        raise SettingsError(f"{name} is of type {type(key).__name__}: a key is bytes or str")
    raw = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    if len(raw) < MIN_KEY_BYTES:
        raise SettingsError(f"{name} is of {len(raw)} bytes, and {MIN_KEY_BYTES} is the least: {_REMEDY}")
    return raw


def _mac(key: bytes, pieces: Iterable[bytes | memoryview]) -> bytes:
    mac = hmac.new(key, digestmod="sha256")
    for piece in pieces:
        mac.update(piece)
    return mac.digest()
