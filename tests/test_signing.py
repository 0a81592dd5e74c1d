from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from s3memo.errors import SettingsError
from s3memo.signing import NO_KEYS, SigningKeys

KEY, OTHER = "k" * 32, b"\x00\xff" * 16


def test_the_mac_is_hmac_sha256_by_the_first_key() -> None:
    mac = SigningKeys((KEY, OTHER)).sign([b"a", memoryview(b"bc")])
    assert mac == hmac.digest(KEY.encode(), b"abc", hashlib.sha256)


def test_every_key_verifies_and_no_other() -> None:
    mac = SigningKeys((OTHER,)).sign([b"abc"])
    assert SigningKeys((KEY, OTHER)).verify(mac, [b"ab", b"c"])
    assert not SigningKeys((KEY,)).verify(mac, [b"abc"])
    assert not SigningKeys((KEY, OTHER)).verify(mac, [b"abd"])
    assert not SigningKeys((KEY, OTHER)).verify(mac[:-1], [b"abc"])
    assert not NO_KEYS.verify(mac, [b"abc"])


def test_text_is_its_utf_8_bytes() -> None:
    assert SigningKeys(("ä" * 16,)) == SigningKeys(("ä".encode() * 16,))
    assert hash(SigningKeys((KEY,))) == hash(SigningKeys([KEY]))


def test_there_may_be_none() -> None:
    assert not NO_KEYS
    assert SigningKeys(()) == NO_KEYS
    assert SigningKeys((KEY,))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((KEY, "short-secret"), "signing_keys: key 2 is of 12 bytes, and 32 is the least: make one by python -c"),
        ((b"",), "signing_keys: key 1 is of 0 bytes"),
        ((7,), "signing_keys: key 1 is of type int: a key is bytes or str"),
        (KEY + "short-secret", "signing_keys must be a tuple or list of keys, and one key alone a tuple of one"),
        (OTHER, "signing_keys must be a tuple or list"),
        (7, "signing_keys must be a tuple or list"),
    ],
)
def test_what_is_no_key_is_refused_in_words_that_do_not_tell_it(keys: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{message}") as caught:
        SigningKeys(keys)
    assert "short-secret" not in str(caught.value)


def test_keys_are_not_shown() -> None:
    assert repr(SigningKeys((KEY, OTHER))) == "<2 signing keys>"
    assert KEY not in f"{SigningKeys((KEY,))!s}"
