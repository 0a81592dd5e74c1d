"""`show` and `history` by their real processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from s3memo import Cache, LocalStore, S3Store
from s3memo.cli.inventory import versions
from s3memo.cli.preview import MAX_TEXT, as_json, preview
from s3memo.cli.show import judged
from s3memo.versions import ItemKey, Key
from tests.cli.console import DAY, HOUR, digest, grave, lay, remember, result, s3_environment, s3memo
from tests.servers.server import S3Server

KEY = Key("jobs.simulate", "2dvlbs96ati64794075dveg36rao5i7i", digest(1))
SECRET = "0" * 32


@dataclass
class Point:
    x: int


def point(x: int) -> Point:
    return Point(x)


SHOWN = {
    60: """\
key             jobs.simulate/2dvlbs96ati64794075dveg36rao5i
                7i/00000000000000000000000000000001
argument steps  1000
argument mode   'fast'
created         TIME, 3 h ago
ttl             24 h, 21 h left
took            90 s to compute
size            SIZE, 7 bytes as msgpack
function        jobs.simulate
written by      WRITER
signature       none
history         1 other version: s3memo history KEY
value           {'mean': 4}""",
    140: """\
key             jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/00000000000000000000000000000001
argument steps  1000
argument mode   'fast'
created         TIME, 3 h ago
ttl             24 h, 21 h left
took            90 s to compute
size            SIZE, 7 bytes as msgpack
function        jobs.simulate
written by      WRITER
signature       none
history         1 other version: s3memo history KEY
value           {'mean': 4}""",
}


@pytest.mark.parametrize("columns", [60, 140])
def test_show_tells_all_there_is_to_know(columns: int, store: LocalStore, env: dict[str, str]) -> None:
    version = result(3 * HOUR, ttl=86_400, elapsed=90)
    lay(store, KEY, result(5 * HOUR))
    remember(store, KEY, version, {"mean": 4}, steps="1000", mode="'fast'")
    told = s3memo("show", KEY, "--json", env=env).json
    run = s3memo("show", KEY, env=env | {"COLUMNS": str(columns)})
    assert (run.code, run.err) == (0, "")
    expected = (
        SHOWN[columns]
        .replace("TIME", f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC")
        .replace("SIZE", f"{told['size']} bytes")
        .replace("WRITER", f"s3memo {told['s3memo']}, Python {told['python']}")
    )
    assert run.shown == expected
    assert told["object"] == KEY.prefix + version.name
    assert (told["arguments"], told["raised"], told["preview"]) == (
        {"steps": "1000", "mode": "'fast'"},
        False,
        "{'mean': 4}",
    )


@pytest.mark.parametrize(
    "given",
    [
        str(KEY),
        str(KEY)[:-10],
        "jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/00",
        "items/0",
        "a/b/c/1",
        "a=2fb=2fc/1",
    ],
)
def test_a_key_may_be_shortened_and_name_a_mapping(given: str, store: LocalStore, env: dict[str, str]) -> None:
    for key in (KEY, ItemKey("items", "", digest(5)), ItemKey("a/b/c", "", "1" * 32)):
        remember(store, key, result(1), "value")
    told = s3memo("show", given, "--json", env=env).json
    assert told["preview"] == "'value'"
    assert told["key"].startswith(given.replace("=2f", "/"))


def test_a_tag_with_slashes_is_found(store: LocalStore, env: dict[str, str]) -> None:
    key = Key("jobs", "release/2/final", digest(1))
    remember(store, key, result(1), 1)
    assert s3memo("show", key, "--json", env=env).json["key"] == str(key)


def test_a_key_that_is_not_there_is_answered_with_what_to_do(store: LocalStore, env: dict[str, str]) -> None:
    other = Key(KEY.namespace, KEY.tag, digest(2))
    for key in (KEY, other):
        remember(store, key, result(1), 1)
    missing, several, malformed = (
        s3memo("show", given, env=env) for given in (str(KEY)[:-1] + "5", str(KEY)[:-1], "jobs.simulate")
    )
    assert (missing.code, missing.out, several.code, malformed.code) == (1, "", 1, 2)
    assert "s3memo ls FUNCTION" in missing.err
    assert f"give more of one of {KEY.digest}, {other.digest}" in several.err
    assert "give function/tag/digest" in malformed.err


def test_classes_and_pickles_are_not_loaded_and_it_says_so(store: LocalStore, env: dict[str, str]) -> None:
    cached = Cache(store, signing_keys=[SECRET], codec="pickle").cached(name="pickled", version=1)(point)
    plain = Cache(store).cached(name="plain", version=1)(point)
    cached(1), plain(1)
    pickled, rebuilt = (s3memo("show", f.cache_key(1), env=env) for f in (cached, plain))
    assert (pickled.code, rebuilt.code) == (0, 0)
    assert "codec='pickle'" in pickled.out
    assert "not verified, for S3MEMO_SIGNING_KEYS is not set" in pickled.out
    assert "Point" in rebuilt.out
    assert "value " not in pickled.out + rebuilt.out


def test_with_signing_keys_only_what_they_signed_is_believed(store: LocalStore, env: dict[str, str]) -> None:
    remember(store, KEY, result(1), "signed", keys=(SECRET,))
    forged = Key("jobs.simulate", "1", digest(1))
    remember(store, forged, result(1), "forged")
    env |= {"S3MEMO_SIGNING_KEYS": SECRET}
    good, bad = s3memo("show", KEY, env=env), s3memo("show", forged, env=env)
    assert (good.code, bad.code) == (0, 1)
    assert "verified" in good.out
    assert "'signed'" in good.out
    assert "not signed" in bad.out
    assert "'forged'" not in bad.out


def test_a_damaged_object_is_told_and_fails(store: LocalStore, env: dict[str, str]) -> None:
    lay(store, KEY, result(1))
    run = s3memo("show", KEY, "--json", env=env)
    assert (run.code, "not one that s3memo wrote" in run.json["problem"]) == (1, True)


def test_what_is_large_is_not_read_for_a_preview(store: LocalStore, env: dict[str, str]) -> None:
    lay(store, KEY, result(HOUR), size=65_000_000)
    large = s3memo("show", KEY, env=env)
    assert (large.code, "not shown  it is not read for a preview, since it takes over 64.0 MB" in large.shown) == (
        0,
        True,
    )
    remember(store, KEY, result(1), bytes(65_000_000))
    told = s3memo("show", KEY, "--json", env=env).json
    assert told["raw_size"] > 65_000_000 > 1000 * told["size"]
    assert told["problem"] == "it is not unpacked for a preview, since it takes over 64.0 MB"


def test_what_was_invalidated_has_a_history_alone(store: LocalStore, env: dict[str, str]) -> None:
    for version in (result(3 * DAY), grave(2 * DAY)):
        lay(store, KEY, version)
    run = s3memo("show", KEY, env=env)
    assert (run.code, f"see s3memo history {KEY}" in run.err) == (1, True)
    assert [row["status"] for row in s3memo("history", KEY, "--json", env=env).json["versions"]] == [
        "tombstone",
        "buried",
    ]
    run = s3memo("ls", KEY.namespace, env=env)
    assert (run.code, "all were invalidated" in run.err) == (0, True)


def test_history_lists_all_versions_newest_first(store: LocalStore, env: dict[str, str]) -> None:
    found = [result(HOUR * 3, elapsed=90), result(5 * HOUR, elapsed=12), grave(6 * HOUR), result(2 * DAY)]
    for version in found:
        lay(store, KEY, version)
    run = s3memo("history", f"{KEY.namespace}/{KEY.tag}/0", env=env | {"COLUMNS": "60"})
    times = [f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC" for version in found]
    assert run.shown.splitlines() == [
        "created                  age  status           size   took",
        f"{times[0]}  3 h  newest      100 bytes   90 s",
        f"{times[1]}  5 h  superseded  100 bytes   12 s",
        f"{times[2]}  6 h  tombstone",
        f"{times[3]}  2 d  buried      100 bytes  0.0 s",
    ]
    told = s3memo("history", KEY, "--json", env=env).json
    assert told["key"] == str(KEY)
    assert [row["name"] for row in told["versions"]] == [version.name for version in found]


def test_an_expired_result_is_called_so(store: LocalStore, env: dict[str, str]) -> None:
    remember(store, KEY, result(3 * HOUR, ttl=3600), 1)
    assert "expired 2 h ago" in s3memo("show", KEY, env=env).out
    assert list(judged(versions(store.list(""), time.time())[0], time.time()).values()) == ["expired"]


def test_it_shows_what_a_real_bucket_has(moto: S3Server) -> None:
    bucket = moto.make_bucket()
    remember(S3Store(bucket, "root", client=moto.client), KEY, result(1), [1, 2])
    env = s3_environment(moto, url=f"s3://{bucket}")
    assert s3memo("show", KEY, "--url", f"s3://{bucket}/root", "--json", env=env).json["preview"] == "[1, 2]"


class Refuses:
    def __repr__(self) -> str:
        raise RuntimeError("not me")


@pytest.mark.parametrize(
    "value",
    [list(range(10**6)), "x" * 10**6, b"x" * 10**6, 10**5000, {"a": [[[[[[[1]]]]]]]}, Refuses()],
    ids=["list", "str", "bytes", "int", "deep", "refuses"],
)
def test_a_preview_is_short_whatever_the_value(value: Any) -> None:
    assert 0 < len(preview(value)) <= MAX_TEXT


def test_a_preview_sends_nothing_to_the_terminal(store: LocalStore, env: dict[str, str]) -> None:
    remember(store, KEY, result(1), "\x1b[2J", x="\x1b[2J")
    assert "\x1b" not in s3memo("show", KEY, env=env).out


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, None]}, {"value": {"a": [1, None]}, "preview": "{'a': [1, None]}"}),
        (float("nan"), {"preview": "nan"}),
        (b"x", {"preview": "b'x'"}),
    ],
)
def test_a_value_is_json_where_json_has_it(value: Any, told: dict[str, Any]) -> None:
    assert as_json(value) == told
