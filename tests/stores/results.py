"""Results for the tests of a local tier: their names as s3memo makes them, and bytes that follow from the name."""

from __future__ import annotations

import hashlib

from s3memo.versions import Key, Version, base32


def result(number: int) -> str:
    """Return the object key of one result."""
    key = Key("jobs.load", "1", base32(hashlib.blake2b(b"%d" % number, digest_size=20).digest()))
    return key.prefix + Version(1000 + number, 1000 + number, None, 0, "0123abcd").name


def bytes_of(object_key: str, size: int) -> bytes:
    """Return so many bytes that no other object has."""
    return hashlib.shake_128(object_key.encode()).digest(size)
