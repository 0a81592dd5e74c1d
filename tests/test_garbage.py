"""What may go, and that nothing else becomes visible by it; then `gc`, which deletes it."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo import Cache, Lease, MemoryStore, S3TTLCache, ServiceState, collect, garbage, gc
from s3memo.cli.examination import Examination
from s3memo.errors import SettingsError, StoreAccessError, StoreUnavailableError
from s3memo.garbage import Doomed, Policy
from s3memo.sequences import RETENTION, lease_prefix, sequence_name, state_prefix
from s3memo.stores.base import ObjectInfo
from s3memo.versions import MICROSECONDS, ItemKey, Key, Listing, Version, parse_version
from tests.troubled import Clock, TroubledStore, raising

DAY = 86_400.0
NOW = 1_790_000_000.0
KEY = Key("jobs.double", "1", "0" * 32)
ITEM = ItemKey("items", "", "0" * 32)


def result(age: float, *, order: float | None = None, ttl: int | None = None, nonce: int = 0) -> Version:
    """Return a result created `age` seconds ago, and written then or `order` seconds ago."""
    written, created = (int((NOW - (age if ago is None else ago)) * MICROSECONDS) for ago in (order, age))
    return Version(max(written, created), created, ttl, 0, f"{nonce:08x}")


def grave(age: float, nonce: int = 0) -> Version:
    at = int((NOW - age) * MICROSECONDS)
    return Version(at, at, None, 0, f"{nonce:08x}", dead=True)


def all_doomed(infos: Iterable[ObjectInfo], policy: Policy) -> Iterator[Doomed]:
    plans = list(garbage.plan(infos, policy, earliest=NOW, latest=NOW))
    assert sum(len(plan.doomed) + len(plan.kept) for plan in plans) == len(list(infos))
    return itertools.chain.from_iterable(plan.doomed for plan in plans)


def planned(key: Key, *versions: Version, **policy: Any) -> list[tuple[Version, str, int]]:
    """Return what of a key's versions may go, why, and in which wave."""
    infos = sorted((ObjectInfo(key.prefix + version.name, 7, NOW) for version in versions), key=lambda info: info.key)
    doomed = all_doomed(infos, Policy(**policy))
    found = []
    for each in doomed:
        version = parse_version(each.object_key.removeprefix(key.prefix))
        assert version is not None
        assert each.size == 7
        found.append((version, each.reason, each.wave))
    return found


@pytest.mark.parametrize("key", [KEY, ITEM])
def test_a_result_goes_a_week_after_it_expired_by_its_own_ttl(key: Key) -> None:
    stays, goes = result(60 + 7 * DAY - 1, ttl=60), result(60 + 7 * DAY + 1, ttl=60)
    assert planned(key, stays) == []
    assert planned(key, goes) == [(goes, "expired", 1)]
    assert planned(key, result(1e6)) == []
    assert planned(key, result(61, ttl=60), grace=0.0) != []


def test_a_superseded_result_goes_a_week_after_its_successor_came() -> None:
    old = result(30 * DAY)
    assert planned(KEY, old, result(6 * DAY)) == []
    assert planned(KEY, old, result(8 * DAY)) == [(old, "superseded", 0)]
    assert planned(KEY, old, result(8 * DAY), keep=2) == []


def test_the_oldest_go_first() -> None:
    oldest, older, newest = result(30 * DAY), result(20 * DAY), result(10 * DAY, ttl=1)
    assert planned(KEY, newest, oldest, older) == [
        (oldest, "superseded", 0),
        (older, "superseded", 0),
        (newest, "expired", 1),
    ]


def test_an_expired_result_stays_while_an_older_one_would_be_found_in_its_place() -> None:
    assert planned(KEY, result(10 * DAY), result(8 * DAY, ttl=1), keep=2) == []


def test_what_a_tombstone_buries_goes_and_the_tombstone_after_a_week() -> None:
    buried, after = result(30), result(10)
    assert planned(KEY, buried, grave(20), after) == [(buried, "buried", 0)]
    old = grave(8 * DAY)
    assert planned(KEY, old) == [(old, "tombstone", 2)]
    late = result(9 * DAY, order=8 * DAY - 5)
    assert planned(KEY, old, late) == [(late, "buried", 0), (old, "tombstone", 2)]


def test_an_older_tombstone_goes_when_there_is_a_newer_one() -> None:
    older = grave(20)
    assert planned(KEY, older, grave(10)) == [(older, "tombstone", 0)]


def test_tags_go_only_when_they_are_named() -> None:
    version, other = result(5), Key("jobs.double", "10", "0" * 32)
    assert planned(KEY, version) == []
    assert planned(KEY, version, prefixes=("v1/memo/jobs.double/1/",)) == [(version, "tag", 1)]
    assert planned(other, version, prefixes=("v1/memo/jobs.double/1/",)) == []


def test_results_go_when_they_are_older_than_is_asked_for() -> None:
    older, newest_one = result(3 * DAY), result(2 * DAY)
    assert planned(KEY, older, newest_one, older_than=2 * DAY + 1) == [(older, "old", 0)]
    assert planned(KEY, older, newest_one, older_than=DAY) == [(older, "old", 0), (newest_one, "old", 1)]
    assert planned(ITEM, newest_one, older_than=DAY, keep=5) == [(newest_one, "old", 1)]
    assert numbered(state_prefix("job"), 1e9, older_than=0) == []


def standing(*versions: Version, **policy: Any) -> list[str]:
    """Say why the versions that stay do so, newest first."""
    infos = sorted((ObjectInfo(KEY.prefix + version.name, 7, NOW) for version in versions), key=lambda info: info.key)
    (plan,) = garbage.plan(infos, Policy(**policy), earliest=NOW, latest=NOW)
    return [each.reason for each in plan.kept]


def test_what_stays_is_told_with_the_reason() -> None:
    assert standing(result(1), result(2), result(3), keep=2) == ["newest", "keep", "grace"]
    assert standing(result(100, ttl=60), result(DAY)) == ["grace", "grace"]
    assert standing(grave(1), result(2)) == ["tombstone"]
    assert standing(result(8 * DAY, ttl=1), result(10 * DAY), keep=2) == ["cover", "keep"]


def test_foreign_objects_stay() -> None:
    infos = [
        ObjectInfo(key, 1, 0.0)
        for key in sorted(
            [
                "v1/memo/jobs.double/1/README.txt",
                "v1/memo/jobs.double/1/" + "0" * 32 + "/notes.txt",
                KEY.prefix + result(-3 * DAY, ttl=0).name,
                "v1/memo/too/many/parts/" + "0" * 32 + "/" + result(9e8, ttl=0).name,
                "v1/state/job/notes.txt",
                "v1/lease/job/notes.txt",
                "v1/state/deeper/job/" + sequence_name(1),
                "v1/state/deeper/job/" + sequence_name(2),
                "v1/state/" + sequence_name(1),
                "v1/state/" + sequence_name(2),
                "v1/probe/00000000",
                "v1/memo",
                "elsewhere/" + result(9e8, ttl=0).name,
            ]
        )
    ]
    kept = [
        each
        for plan in garbage.plan(infos, Policy(grace=0, older_than=0), earliest=NOW, latest=NOW)
        for each in plan.kept
    ]
    assert [(each.object_key, each.reason) for each in kept] == [
        (info.key, "marker" if "probe" in info.key else "foreign") for info in infos
    ]


class KilledError(BaseException):
    """Its process is gone."""


class MortalStore(TroubledStore):
    """Lets its process be killed before a request, counted by `left`."""

    left: float = math.inf

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError

    def put(self, object_key: str, data: Any, **options: Any) -> None:
        self._live()
        super().put(object_key, data, **options)

    def delete(self, object_keys: Any) -> None:
        self._live()
        super().delete(object_keys)


@pytest.mark.parametrize("left", range(1, 77, 4))
def test_what_a_doctor_leaves_that_was_killed_goes_after_an_hour(left: int, clock: Clock) -> None:
    others = {
        "v1/probe/" + "0" * 32: b"create-only held",
        "v1/probe/" + "1" * 32: b"",
        "v1/probe/" + "v" * 32: b"1",
        f"v1/probe/{'0' * 16}/a-b": b"theirs",
        f"v1/probe/{'0' * 16}/notes": b"v1/probe/0000000000000000/notes",
        f"v1/probe/{'0' * 16}/trial": b"theirs",
        f"v1/probe/{'0' * 15}/trial": b"",
        f"v1/probe/x/{'0' * 16}/trial": b"",
        f"x/v1/probe/{'0' * 16}/trial": b"",
    }
    store = MortalStore(clock)
    for object_key, data in others.items():
        store.put(object_key, data)
    store.left = left
    with pytest.raises(KilledError):
        Examination(store, store, clock=clock).run()
    store.left: float = math.inf
    there = [info.key for info in store.list("")]
    clock.now += 3600
    assert gc(store).objects == 0
    clock.now += 1
    found = gc(store)
    assert [info.key for info in store.list("")] == sorted(others)
    assert found.reasons == ({"trial": len(there) - len(others)} if len(there) > len(others) else {})


versions = st.one_of(
    st.builds(
        result,
        st.floats(0, 20 * DAY),
        order=st.none() | st.floats(0, 20 * DAY),
        ttl=st.none() | st.integers(0, 10 * int(DAY)),
        nonce=st.integers(0, 99),
    ),
    st.builds(grave, st.floats(0, 20 * DAY), st.integers(0, 99)),
)


policies = st.fixed_dictionaries(
    {
        "keep": st.integers(1, 3),
        "grace": st.sampled_from([0.0, DAY, 7 * DAY]),
        "prefixes": st.sampled_from([(), ("v1/memo/",)]),
        "older_than": st.sampled_from([math.inf, 9 * DAY]),
    }
)


@given(st.lists(versions, max_size=8, unique=True), policies, st.randoms(use_true_random=False))
def test_wherever_a_collection_ends_no_reader_finds_what_was_not_found_before(
    present: list[Version], policy: dict[str, Any], chance: Any
) -> None:
    """A wave may be carried out in any order, and in part; the next one only after all of it."""
    doomed = planned(KEY, *present, **policy)
    ordered = [
        version for wave in range(3) for version in shuffled((each[0] for each in doomed if each[2] == wave), chance)
    ]
    before = newest(present)
    for count in range(len(ordered) + 1):
        left = [version for version in present if version not in ordered[:count]]
        assert newest(left) in ({before, None} if before in ordered else {before})
        assert newest(left) is not None or before in {None, *ordered[:count]}


def newest(present: Iterable[Version]) -> Version | None:
    return Listing(tuple(sorted(present, key=lambda version: version.name))).newest


def shuffled(found: Iterable[Version], chance: Any) -> list[Version]:
    ordered = list(found)
    chance.shuffle(ordered)
    return ordered


# States and leases.


def numbered(prefix: str, *ages: float, **policy: Any) -> list[tuple[int, str, int]]:
    """Return what may go of versions 1, 2, … of these ages."""
    infos = [ObjectInfo(prefix + sequence_name(number), 7, NOW - age) for number, age in enumerate(ages, start=1)][::-1]
    numbers = {prefix + sequence_name(number): number for number in range(1, len(ages) + 1)}
    doomed = all_doomed(infos, Policy(**policy))
    return [(numbers[each.object_key], each.reason, each.wave) for each in doomed]


def test_the_newest_version_of_a_state_never_goes() -> None:
    state = state_prefix("job")
    assert numbered(state, 1e9) == []
    assert numbered(state, 1e9, 1e8, keep_states=1, grace=0.0) == [(1, "superseded", 0)]


def test_versions_of_a_state_go_an_hour_after_they_were_superseded_at_the_earliest() -> None:
    state = state_prefix("job")
    assert numbered(state, 9000, RETENTION - 1, keep_states=1, grace=0.0) == []
    assert numbered(state, 9000, RETENTION, keep_states=1, grace=0.0) == [(1, "superseded", 0)]
    assert numbered(state, 9000, RETENTION, keep_states=1) == []
    assert numbered(state, *[1e9] * 12) == [(1, "superseded", 0), (2, "superseded", 0)]


def test_a_lease_goes_when_it_lapsed_long_ago() -> None:
    lease = lease_prefix("job")
    assert numbered(lease, DAY) == []
    assert numbered(lease, 3 * DAY) == [(1, "lease", 1)]
    assert numbered(lease, 3 * DAY, DAY) == [(1, "superseded", 0)]
    assert numbered(lease, 4 * DAY, 3 * DAY) == [(1, "superseded", 0), (2, "lease", 1)]
    assert numbered(lease, 100, 50) == []


# gc.


def names(store: MemoryStore) -> Counter[str]:
    return Counter(info.key.split("/")[1] for info in store.list(""))


def test_gc_deletes_what_nobody_needs_and_says_what(store: TroubledStore, clock: Clock) -> None:
    double = Cache(store).cached(name="jobs.double", version=1, ttl=60)(lambda number: 2 * number)
    items = S3TTLCache(store, name="items", ttl=60)
    state = ServiceState("job", store, keep=20)
    double(1)
    items["a"] = 1
    del items["a"]
    Lease("job", store).acquire()
    for number in range(12):
        state.set(number)
    store.put("v1/memo/README.txt", b"not ours")
    clock.now += 30 * DAY
    double(2)
    before = sum(info.size for info in store.list(""))
    found = gc(store)
    assert found.reasons == {"expired": 1, "tombstone": 1, "superseded": 2, "lease": 1}
    assert found.objects == 5
    assert found.bytes == before - sum(info.size for info in store.list(""))
    assert found.failures == ()
    assert names(store) == {"memo": 2, "state": 10}
    assert state.get() == 11
    assert double.cache_get(2) is not None
    assert gc(store).objects == 0


def test_gc_takes_the_tags_that_are_named(store: TroubledStore) -> None:
    for version in ("1", "2"):
        Cache(store).cached(name="jobs.double", version=version)(abs)(-1)
    assert gc(store, tags=[("jobs.double", "1")]).reasons == {"tag": 1}
    assert [info.key.split("/")[3] for info in store.list("")] == ["2"]


def test_gc_deletes_in_batches_and_holds_little(store: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "PAGE_SIZE", 3)
    for number in range(10):
        key = Key("jobs.double", "1", f"{number:032d}")
        for version in (result(90 * DAY, ttl=1), result(80 * DAY, ttl=1)):
            store.put(key.prefix + version.name, b"x")
    batches: list[list[str]] = []
    delete = store.delete
    monkeypatch.setattr(store, "delete", lambda keys: (batches.append(list(keys)), delete(batches[-1])))
    assert gc(store).objects == 20
    assert max(map(len, batches)) == 3
    for batch in batches:
        assert len({key.rpartition("/")[0] for key in batch}) == len(batch)


def test_what_cannot_be_deleted_keeps_what_depends_on_it(
    store: TroubledStore, caplog: pytest.LogCaptureFixture
) -> None:
    older, newest_one = result(90 * DAY, ttl=1), result(80 * DAY, ttl=1)
    other = Key("jobs.double", "1", "1" * 32)
    for key, version in ((KEY, older), (KEY, newest_one), (other, newest_one)):
        store.put(key.prefix + version.name, b"x")
    delete = store.delete

    def refuse(keys: Iterable[str]) -> None:
        batch = list(keys)
        if KEY.prefix + older.name in batch:
            raise StoreUnavailableError(f"kept {batch}")
        delete(batch)

    store.delete = refuse  # type: ignore[method-assign]
    found = gc(store)
    assert found.objects == 1
    assert older.name in str(found.failures[0])
    assert [info.key for info in store.list("")] == [KEY.prefix + newest_one.name, KEY.prefix + older.name]
    assert "some garbage could not be deleted" in caplog.text


def test_what_goes_of_a_batch_is_counted_and_holds_nothing_back(store: TroubledStore) -> None:
    fill(store, 3)
    stuck = min(info.key for info in store.list("") if result(90 * DAY, ttl=1).name in info.key)
    delete = store.delete

    def refuse(keys: Iterable[str]) -> None:
        batch = set(keys)
        delete(batch - {stuck})
        if stuck in batch:
            error = StoreAccessError(f"kept {stuck}")
            error.left = (stuck,)
            raise error

    store.delete = refuse  # type: ignore[method-assign]
    found = gc(store)
    assert (found.objects, found.reasons) == (4, {"superseded": 2, "expired": 2})
    assert [str(failure) for failure in found.failures] == [f"kept {stuck}"]
    assert {info.key.rpartition("/")[0] for info in store.list("")} == {stuck.rpartition("/")[0]}


def fill(store: MemoryStore, count: int) -> None:
    """Lay calls that each have a superseded result and an expired one."""
    for number in range(count):
        key = Key("jobs.double", "1", f"{number:032d}")
        for version in (result(90 * DAY, ttl=1), result(80 * DAY, ttl=1)):
            store.put(key.prefix + version.name, b"x")


def test_a_dry_run_tells_what_gc_would_do_and_does_nothing(store: TroubledStore) -> None:
    fill(store, 3)
    store.put("v1/notes.txt", b"foreign")
    told: list[tuple[str, str]] = []
    found = gc(
        Cache(store, read_only=True), dry_run=True, report=lambda each: told.append((each.object_key, each.reason))
    )
    assert Counter(reason for _, reason in told) == {"superseded": 3, "expired": 3, "foreign": 1}
    assert {key for key, _ in told} == {info.key for info in store.list("")}
    done = gc(store)
    assert done == found
    assert (done.sizes, done.kept) == ({"superseded": 3, "expired": 3}, {"foreign": 1})
    assert done.objects == 6


def test_deletes_go_out_together_and_a_wave_waits_for_the_one_before(
    store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "PAGE_SIZE", 3)
    fill(store, 20)
    delete, together, batches = store.delete, threading.Barrier(7, timeout=30), list[list[str]]()

    def meet(keys: Iterable[str]) -> None:
        together.wait()
        batches.append(list(keys))
        delete(batches[-1])

    monkeypatch.setattr(store, "delete", meet)
    assert gc(store).objects == 40
    places = [result(90 * DAY).name[:10] in batch[0] for batch in batches]
    assert places == [True] * 7 + [False] * 7


def test_a_store_that_refuses_all_deletes_is_soon_given_up(
    store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "PAGE_SIZE", 1)
    fill(store, 200)
    store.before_delete = raising(StoreUnavailableError("no"))
    found = gc(store)
    assert found.objects == 0
    assert 20 <= len(found.failures) < 30
    store.before_delete = lambda: None
    assert gc(store).objects == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace": None}, "grace=None"),
        ({"grace": -1}, "grace=-1"),
        ({"keep": 0}, "keep=0"),
        ({"older_than": "soon"}, "older_than='soon'"),
        ({"keep_states": 1.5}, "keep_states=1.5"),
        ({"cache": "bucket"}, "names no store"),
        ({"tags": ("ns", "v1")}, "tags= has 'ns'"),
        ({"tags": ("abc", "v12")}, "tags= has 'abc'"),
        ({"tags": [("ns", 1)]}, "tags= has"),
    ],
)
def test_what_makes_no_sense_is_an_error(options: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        gc(**{"cache": MemoryStore(), **options})


def test_a_read_only_cache_is_not_collected() -> None:
    with pytest.raises(SettingsError, match="read-only"):
        gc(Cache(MemoryStore(), read_only=True))
