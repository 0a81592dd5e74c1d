from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3memo.errors import SettingsError
from s3memo.settings import Location, Settings, parse_url
from s3memo.signing import SigningKeys


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket", Location("s3", "bucket")),
        ("s3://bucket/", Location("s3", "bucket")),
        ("s3://bucket/a/b/", Location("s3", "bucket", "a/b")),
        ("s3://bucket//a", Location("s3", "bucket", "a")),
        ("s3+obstore://bucket/a", Location("s3+obstore", "bucket", "a")),
        ("gs://bucket/a/", Location("gs", "bucket", "a")),
        ("az://container", Location("az", "container")),
        ("file:///data/store", Location("file", "/data/store")),
        ("file:///data/store/", Location("file", "/data/store")),
        ("file://localhost/data/a%20b", Location("file", "/data/a b")),
        ("/data/../data/store", Location("file", "/data/store")),
        ("/data/\udcff", Location("file", "/data/\udcff")),  # a path's byte that is no UTF-8
        ("file:///data/%ff", Location("file", "/data/\udcff")),
        ("file:///data/%C3%A4", Location("file", "/data/ä")),
        (Path("/data/store"), Location("file", "/data/store")),
        ("memory://", Location("memory", "")),
        ("memory://name/", Location("memory", "name")),
    ],
)
def test_urls_are_normalised_so_that_equal_stores_are_equal(url: Any, location: Location) -> None:
    assert parse_url(url) == location
    assert parse_url(str(location)) == location


def test_paths_are_taken_from_here_and_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert parse_url("./store").root == str(tmp_path / "store")
    assert parse_url(Path("store")).root == str(tmp_path / "store")
    assert parse_url("~/store").root == str(tmp_path / "home" / "store")


@pytest.mark.parametrize(
    "url",
    ["", "bucket", "bucket/prefix", "s3://", "s3:///prefix", "s3://bucket?x=1", "s3://bucket#x", "s3:bucket",
     "file://host/data", "file:data", "gs://", "https://bucket.s3.amazonaws.com", "memory://a/b", "S4://bucket",
     "s3://[bucket", "s3://[bucket]", "~no-such-user/data", "~\0/data", "/data\0", "file:///data%00"],
)  # fmt: skip
def test_what_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="names no store"):
        parse_url(url)


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match="neither a URL, nor a path"):
        parse_url(5)  # type: ignore[arg-type]


def test_the_environment_is_read_strictly() -> None:
    assert Settings.from_environment({}) == Settings()
    given = {"S3MEMO_URL": "s3://b", "S3MEMO_DISABLED": "Yes", "S3MEMO_READ_ONLY": "0"}
    assert Settings.from_environment(given) == Settings("s3://b", disabled=True, read_only=False)
    assert Settings.from_environment({"S3MEMO_URL": "", "S3MEMO_DISABLED": " "}) == Settings()
    with pytest.raises(SettingsError, match="S3MEMO_DISABLED='maybe'"):
        Settings.from_environment({"S3MEMO_DISABLED": "maybe"})


def test_signing_keys_are_read_from_the_environment_and_shown_nowhere() -> None:
    new, old = "n" * 32, "o" * 40
    settings = Settings.from_environment({"S3MEMO_SIGNING_KEYS": f" {new}, {old} "})
    assert settings.signing_keys == SigningKeys((new, old))
    assert settings.signing_keys != SigningKeys((old, new))
    assert new not in repr(settings)
    assert old not in str(settings)
    assert not Settings.from_environment({"S3MEMO_SIGNING_KEYS": " "}).signing_keys
    with pytest.raises(SettingsError, match=r"^S3MEMO_SIGNING_KEYS: key 2 is of 0 bytes, and 32 is the least"):
        Settings.from_environment({"S3MEMO_SIGNING_KEYS": f"{new},"})
