"""Eight processes on one key at the same moment, over real S3 servers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from s3memo import Cache, S3Store
from tests import racing
from tests.racing import PROCESSES, Race, square
from tests.servers.server import S3Server


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with racing.racers() as pool:
        yield pool


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


def newcomer(server: S3Server, bucket: str, computed: list[int], *, memory: Any = None) -> Any:
    """The cached function in a process that has nothing in its memory; `computed` is what it is computed for."""

    def compute(number: int) -> dict[str, int]:
        computed.append(number)
        return square(number)

    cache = Cache(S3Store(bucket, client=server.client), memory=memory, on_error="raise")
    return cache.cached(name="jobs.square", version=1)(compute)


def test_all_who_compute_a_cold_key_at_once_store_it_and_the_next_write_leaves_one(
    pool: ProcessPoolExecutor, s3_server: S3Server, bucket: str
) -> None:
    reports = racing.run(pool, Race(bucket, s3_server.client_options, meet=True))
    assert [report.value for report in reports] == [square(1)] * PROCESSES
    assert [report.computed for report in reports] == [1] * PROCESSES
    assert {tuple(report.requests) for report in reports} == {("LIST", "PUT")}  # a busy server may be asked again

    computed: list[int] = []
    function = newcomer(s3_server, bucket, computed)
    assert len(function.cache_history(1)) == PROCESSES
    assert function(1) == square(1)
    assert computed == []
    function.cache_refresh(1)
    [only] = function.cache_history(1)
    assert function.cache_get(1).version == only


def test_whoever_comes_while_a_cold_key_is_computed_elsewhere_gets_the_value_too(
    pool: ProcessPoolExecutor, s3_server: S3Server, bucket: str
) -> None:
    """Nobody holds up anybody: each finds what another has stored already, or computes."""
    computed: list[int] = []
    function = newcomer(s3_server, bucket, computed)
    for number in range(3):
        reports = racing.run(pool, Race(bucket, s3_server.client_options, number=number))
        assert [report.value for report in reports] == [square(number)] * PROCESSES
        stored = sum(report.computed for report in reports)
        assert 1 <= stored <= PROCESSES
        assert 1 <= len(function.cache_history(number)) <= stored
        assert function(number) == square(number)
        assert computed == [], "something of the race is there for good"
        function.cache_refresh(number)
        assert len(function.cache_history(number)) == 1
        computed.clear()


def test_a_key_that_all_refresh_at_once_is_never_missing_and_never_goes_back(
    pool: ProcessPoolExecutor, s3_server: S3Server, bucket: str
) -> None:
    function = newcomer(s3_server, bucket, [])
    function(1)
    seen: list[Any] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(function.cache_get(1))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        reports = racing.run(pool, Race(bucket, s3_server.client_options, "refresh", meet=True))
    finally:
        over.set()
        reader.join()
    assert [report.requests for report in reports] == [{"LIST": 1, "PUT": 1, "DELETE": 1}] * PROCESSES
    assert None not in seen
    in_turn = [version.name for version, _ in itertools.groupby(entry.version for entry in seen)]
    assert in_turn == sorted(set(in_turn), reverse=True), "a newer version's name sorts before an older one's"

    values = [report.value for report in reports]
    assert function(1) in values, "by a name that it may have known since before the last of the writes"
    history = function.cache_history(1)
    assert len(history) == PROCESSES
    last = newcomer(s3_server, bucket, []).cache_get(1)
    assert last.version == history[0]
    assert last.value in values
    function.cache_refresh(1)
    assert len(function.cache_history(1)) == 1
