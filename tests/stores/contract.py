"""What every store must do, as tests that each store's own test class inherits.

    class TestMemoryStore(StoreContract):
        @pytest.fixture(scope="class")
        def new_store(self):
            return MemoryStore

`new_store` makes one more empty store whenever it is called. Where a server deviates, the subclass overrides the one
test concerned and asserts what that server does instead.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3memo.errors import AlreadyExistsError, NotFoundError
from s3memo.events import Recorder, RequestKind
from s3memo.stores.base import Buffer, ObjectInfo, Store
from s3memo.versions import MAX_KEY_BYTES

NewStore: TypeAlias = Callable[[], Store]

CROWD = [f"crowd/{number:04}" for number in range(1105)]
"""Object keys of more than one page, ascending."""

CLOCK_TOLERANCE = 2.0
"""Seconds: S3's LastModified and Date have steps of one second."""


def keys(objects: Iterable[ObjectInfo]) -> list[str]:
    return [info.key for info in objects]


def put_all(store: Store, object_keys: Iterable[str], data: bytes = b"x") -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, data), object_keys))


def requests_of(action: Callable[[], object]) -> dict[RequestKind, int]:
    recorder = Recorder("counted")
    with recorder.counting_requests():
        action()
    return dict(recorder.info(maxsize=0, currsize=0).requests)


def start_together(actions: Iterable[Callable[[], object]]) -> list[object]:
    """Run each action in a thread of its own, all at the same moment; return results, or what was raised."""
    actions = list(actions)
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        futures = [pool.submit(run, action) for action in actions]
    return [future.exception() or future.result() for future in futures]


class StoreContract:
    """Inherit it, and define the class-scoped fixture `new_store`."""

    @pytest.fixture
    def store(self, new_store: NewStore) -> Store:
        return new_store()

    @pytest.fixture(scope="class")
    @classmethod
    def crowded(cls, new_store: NewStore) -> Store:
        """A store that holds CROWD, and a neighbour before and after it. For tests that only read."""
        store = new_store()
        put_all(store, ["before", *CROWD, "later"])
        return store

    def test_is_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)

    def test_url_has_a_scheme(self, store: Store) -> None:
        assert "://" in store.url

    # get and put

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"plain", id="text"),
            pytest.param(bytes(range(256)) + b"\r\n\0", id="every byte"),
            pytest.param(bytes(range(256)) * (3 * 4096), id="3 MiB"),
            pytest.param(bytearray(b"mutable"), id="bytearray"),
            pytest.param(memoryview(b"a slice of more")[2:7], id="memoryview"),
            pytest.param(memoryview(array("d", [1.5, -2.5])), id="memoryview of doubles"),
            pytest.param(memoryview(b"every other")[::2], id="memoryview with strides"),
        ],
    )
    def test_get_returns_the_bytes_put(self, store: Store, data: Buffer) -> None:
        store.put("job/object", data)

        assert bytes(store.get("job/object")) == bytes(data)

    def test_size_is_in_bytes(self, store: Store) -> None:
        store.put("doubles", memoryview(array("d", [1.5, -2.5])))
        store.put("empty", b"")

        assert [info.size for info in store.list("")] == [16, 0]

    def test_put_keeps_no_hold_on_the_callers_buffer(self, store: Store) -> None:
        data = bytearray(b"as put")
        store.put("object", data)
        data[:] = b"edited"

        assert bytes(store.get("object")) == b"as put"

    def test_get_of_a_missing_object_names_it(self, store: Store) -> None:
        with pytest.raises(NotFoundError, match="job/missing"):
            store.get("job/missing")

    def test_get_wants_the_whole_key(self, store: Store) -> None:
        store.put("job/object", b"x")

        with pytest.raises(NotFoundError):
            store.get("job/obj")

    def test_overwrite_replaces(self, store: Store) -> None:
        store.put("object", b"a long first value")
        store.put("object", b"second")

        assert bytes(store.get("object")) == b"second"
        assert [(info.key, info.size) for info in store.list("")] == [("object", 6)]

    def test_put_is_seen_at_once(self, store: Store) -> None:
        for number in range(20):
            store.put(f"job/{number:02}", b"%d" % number)
            assert bytes(store.get(f"job/{number:02}")) == b"%d" % number
            assert len(list(store.list("job/"))) == number + 1

    def test_key_of_the_greatest_length(self, store: Store) -> None:
        longest = "v1/memo/" + "k" * (MAX_KEY_BYTES - 8)
        store.put(longest, b"x")

        assert bytes(store.get(longest)) == b"x"
        assert keys(store.list("v1/memo/")) == [longest]

    # create-only

    def test_create_writes_a_new_object(self, store: Store) -> None:
        store.put("state/1", b"first", mode="create")

        assert bytes(store.get("state/1")) == b"first"

    def test_create_refuses_what_exists(self, store: Store) -> None:
        store.put("state/1", b"first")

        with pytest.raises(AlreadyExistsError, match="state/1"):
            store.put("state/1", b"second", mode="create")
        assert bytes(store.get("state/1")) == b"first"

    def test_create_works_again_after_delete(self, store: Store) -> None:
        store.put("state/1", b"first", mode="create")
        store.delete(["state/1"])
        store.put("state/1", b"second", mode="create")

        assert bytes(store.get("state/1")) == b"second"

    def test_racing_creators_have_one_winner(self, store: Store) -> None:
        for race in range(5):
            racers = [b"racer %d" % number for number in range(8)]
            outcomes = start_together(
                lambda racer=racer, race=race: store.put(f"state/{race}", racer, mode="create") for racer in racers
            )

            losers = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExistsError)]
            assert outcomes.count(None) == 1
            assert len(losers) == 7
            assert bytes(store.get(f"state/{race}")) == racers[outcomes.index(None)]

    # list

    def test_list_of_an_empty_store(self, store: Store) -> None:
        assert list(store.list("")) == []

    @pytest.mark.parametrize(
        "names",
        [
            pytest.param(["a-b", "a.b", "a0b", "a9", "aB", "a_b", "ab", "a~b"], id="our characters"),
            pytest.param(["A", "Z", "a", "z"], id="upper case before lower"),
            pytest.param(["a-b", "a/b", "ab"], id="slash is a character"),
            pytest.param(["1", "10", "2"], id="no numbers"),
            pytest.param(["e", "z", "\u00e9", "\u65e5\u672c", "\uff5e", "\U0001f600"], id="code points, not UTF-16"),
            pytest.param(["a b", "a%2Fb", "a&b", "a+b", "a=b"], id="what URLs and XML escape"),
        ],
    )
    def test_list_is_ascending_by_utf8_bytes(self, store: Store, names: list[str]) -> None:
        put_all(store, reversed(names))

        assert keys(store.list("")) == names

    def test_prefix_is_strict(self, store: Store) -> None:
        put_all(store, ["job", "job-1/a", "job/a", "job/b/c", "job0", "job2/a", "jo/b"])

        assert keys(store.list("job/")) == ["job/a", "job/b/c"]

    def test_prefix_may_end_within_a_part(self, store: Store) -> None:
        put_all(store, ["job/a", "job2/a", "other"])

        assert keys(store.list("jo")) == ["job/a", "job2/a"]

    def test_prefix_has_no_wildcards(self, store: Store) -> None:
        put_all(store, ["a%b", "a*b", "a_b", "axb"])

        assert keys(store.list("a%")) == ["a%b"]
        assert keys(store.list("a_")) == ["a_b"]
        assert keys(store.list("a*")) == ["a*b"]

    @pytest.mark.parametrize(
        ("start_after", "listed"),
        [
            pytest.param("job/b", ["job/c", "job/d"], id="a key that is there"),
            pytest.param("job/bb", ["job/c", "job/d"], id="a key that is not"),
            pytest.param("job/d", [], id="the last key"),
            pytest.param("job/", ["job/b", "job/c", "job/d"], id="the prefix itself"),
            pytest.param("aaa", ["job/b", "job/c", "job/d"], id="before the prefix"),
            pytest.param("zzz", [], id="behind the prefix"),
        ],
    )
    def test_start_after_is_exclusive(self, store: Store, start_after: str, listed: list[str]) -> None:
        put_all(store, ["b", "job/b", "job/c", "job/d", "job2/x"])

        assert keys(store.list("job/", start_after=start_after)) == listed

    def test_list_reads_all_pages(self, crowded: Store) -> None:
        assert keys(crowded.list("crowd/")) == CROWD

    @pytest.mark.parametrize("limit", [0, 1, 999, 1000, 1001, 1105, 1106])
    def test_limit(self, crowded: Store, limit: int) -> None:
        assert keys(crowded.list("crowd/", limit=limit)) == CROWD[:limit]

    def test_limit_and_start_after_together(self, crowded: Store) -> None:
        assert keys(crowded.list("crowd/", start_after=CROWD[50], limit=1002)) == CROWD[51:1053]

    def test_list_is_lazy(self, crowded: Store) -> None:
        def first_page() -> None:
            listing = crowded.list("crowd/")
            assert [next(listing).key for _ in range(1000)] == CROWD[:1000]

        assert requests_of(first_page) == {"LIST": 1}

    def test_a_listing_left_half_read_holds_nothing_up(self, store: Store) -> None:
        put_all(store, ["job/a", "job/b", "job/c"])
        listing = store.list("job/")
        next(listing)
        store.put("job/d", b"x")
        store.delete(["job/a"])

        assert keys(store.list("job/")) == ["job/b", "job/c", "job/d"]

    def test_listed_sizes_and_times(self, store: Store) -> None:
        before = store.time().earliest
        store.put("job/a", b"12345")
        (info,) = store.list("job/")

        assert (info.key, info.size) == ("job/a", 5)
        assert before - CLOCK_TOLERANCE <= info.last_modified <= store.time().latest + CLOCK_TOLERANCE

    # delete

    def test_delete_removes_only_what_is_named(self, store: Store) -> None:
        put_all(store, ["job", "job/a", "job/ab", "job/b"])
        store.delete(["job/a"])

        assert keys(store.list("")) == ["job", "job/ab", "job/b"]
        with pytest.raises(NotFoundError):
            store.get("job/a")

    def test_delete_of_what_is_not_there_is_no_error(self, store: Store) -> None:
        store.put("job/a", b"x")
        store.delete(["job/a", "job/missing"])
        store.delete(["job/a"])

        assert keys(store.list("")) == []

    def test_delete_takes_any_iterable(self, store: Store) -> None:
        put_all(store, ["job/a", "job/b", "keep"])
        store.delete(info.key for info in store.list("job/"))

        assert keys(store.list("")) == ["keep"]

    def test_delete_of_nothing_asks_nothing(self, store: Store) -> None:
        assert requests_of(lambda: store.delete([])) == {}

    def test_delete_of_over_1000_keys(self, store: Store) -> None:
        put_all(store, [CROWD[0], CROWD[500], CROWD[-1], "keep"])

        assert requests_of(lambda: store.delete(CROWD)) == {"DELETE": 2}
        assert keys(store.list("")) == ["keep"]

    # requests

    @pytest.mark.parametrize(
        ("limit", "pages"), [(None, 2), (1, 1), (1000, 1), (1001, 2)], ids=["all", "1", "1000", "1001"]
    )
    def test_each_page_is_a_request(self, crowded: Store, limit: int | None, pages: int) -> None:
        assert requests_of(lambda: list(crowded.list("crowd/", limit=limit))) == {"LIST": pages}

    def test_a_full_page_with_nothing_behind_it_is_the_last(self, crowded: Store) -> None:
        assert requests_of(lambda: list(crowded.list("crowd/", start_after=CROWD[104]))) == {"LIST": 1}

    def test_an_empty_page_is_a_request(self, store: Store) -> None:
        assert requests_of(lambda: list(store.list("job/"))) == {"LIST": 1}

    def test_put_and_get_are_a_request_each(self, store: Store) -> None:
        assert requests_of(lambda: store.put("job/a", b"x")) == {"PUT": 1}
        assert requests_of(lambda: store.get("job/a")) == {"GET": 1}

    # time

    def test_time_bounds_hold_the_clock(self, store: Store) -> None:
        before = time.time()
        earliest, latest = store.time()
        after = time.time()

        assert earliest <= latest
        assert before - CLOCK_TOLERANCE <= latest
        assert earliest <= after + CLOCK_TOLERANCE

    def test_time_bounds_never_contradict_earlier_ones(self, store: Store) -> None:
        previous = store.time()
        for number in range(20):
            store.put(f"job/{number}", b"x")
            bounds = store.time()
            assert bounds.latest >= previous.earliest
            previous = bounds

    # threads

    def test_no_object_is_ever_seen_torn(self, store: Store) -> None:
        sizes = (10, 50_000)
        store.put("job/a", b"0" * 10)

        def write(number: int) -> None:
            for turn in range(10):
                store.put("job/a", b"%d" % number * sizes[turn % 2])

        def read() -> None:
            for _ in range(10):
                assert [info.size in sizes for info in store.list("job/")] == [True]
                seen = bytes(store.get("job/a"))
                assert len(seen) in sizes
                assert len(set(seen)) == 1

        writers = [lambda number=number: write(number) for number in range(3)]
        assert start_together([*writers, read, read]) == [None] * 5

    def test_threads_share_the_store(self, store: Store) -> None:
        def work(number: int) -> None:
            for turn in range(10):
                key = f"thread/{number}/{turn}"
                store.put(key, key.encode())
                store.put("shared", key.encode())
                assert bytes(store.get(key)) == key.encode()
                assert b"thread/" in bytes(store.get("shared"))
                assert key in keys(store.list(f"thread/{number}/"))
                if turn % 2:
                    store.delete([key])

        assert start_together(lambda number=number: work(number) for number in range(8)) == [None] * 8
        assert keys(store.list("thread/")) == [
            f"thread/{number}/{turn}" for number in range(8) for turn in (0, 2, 4, 6, 8)
        ]


_any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
_likely_text = st.text("ab/-\x00\U0010ffff", max_size=4)
_texts = _likely_text | _any_text


class ListingProperty:
    """For stores that take any text as an object key, at any speed: a listing is that of a sorted dict."""

    @settings(suppress_health_check=[HealthCheck.differing_executors])  # inherited on purpose
    @given(
        present=st.lists(_texts.filter(bool), max_size=20),
        deleted=st.lists(_texts, max_size=5),
        prefix=_texts,
        start_after=_texts,
        limit=st.none() | st.integers(0, 20),
    )
    def test_any_listing(  # noqa: PLR0917  hypothesis passes them by name
        self,
        new_store: NewStore,
        present: list[str],
        deleted: list[str],
        prefix: str,
        start_after: str,
        limit: int | None,
    ) -> None:
        store = new_store()
        for key in present:
            store.put(key, key.encode())
        store.delete(deleted)

        model = sorted(set(present) - set(deleted), key=str.encode)
        expected = [key for key in model if key.startswith(prefix) and key.encode() > start_after.encode()]
        listed = list(store.list(prefix, start_after=start_after, limit=limit))
        assert [(info.key, info.size) for info in listed] == [(key, len(key.encode())) for key in expected[:limit]]
