"""The server that computes its names lists them as one that stores them would."""

from __future__ import annotations

from s3memo.stores.s3 import S3Store
from s3memo.versions import parse_version
from tests.servers.synthetic import Names, synthetic_server

NAMES = Names("jobs.double", "1", 2_500)
ALL = [NAMES[number] for number in range(NAMES.count)]


def test_names_are_in_order_and_those_of_results() -> None:
    assert sorted(ALL) == ALL
    assert len({NAMES.digest(number) for number in range(NAMES.count)}) == NAMES.count
    assert all(parse_version(name.rpartition("/")[2]) for name in ALL)


def test_a_listing() -> None:
    with synthetic_server(NAMES) as server:
        store = S3Store("bucket", client=server.client)
        assert [info.key for info in store.list("")] == ALL
        for prefix in ("v1/memo/", ALL[7], ALL[1_234][:30], "v1/map/", "v2/"):
            for after in ("", "a", ALL[0], ALL[1_234], ALL[1_234] + "~", "w"):
                listed = [info.key for info in store.list(prefix, start_after=after, limit=1_001)]
                assert listed == [key for key in ALL if key.startswith(prefix) and key > after][:1_001]
        assert store.time().latest - store.time().earliest < 5
