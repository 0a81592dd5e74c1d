from __future__ import annotations

import errno
import fcntl
import os
import pickle
import random
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from s3memo import LocalStore, MemoryStore, NotFoundError, S3Store, SettingsError, Store, TieredStore
from s3memo.createonly import check_create_only, marker_of
from s3memo.errors import StoreUnavailableError
from s3memo.stores import copies, quota
from s3memo.stores.clock import local_clock
from s3memo.stores.quota import SHARDS, Found, doomed
from s3memo.versions import tombstone
from tests.stores.contract import keys, requests_of, start_together
from tests.stores.results import bytes_of, result
from tests.troubled import Clock, TroubledStore, raising

ONE, OTHER = result(1), result(2)
BLOCK = 4096


@pytest.fixture
def remote(clock: Clock) -> TroubledStore:
    return TroubledStore(clock)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


@pytest.fixture
def tiered(remote: TroubledStore, local: Path, clock: Clock) -> TieredStore:
    return TieredStore(remote, local, clock=clock)


def copies_in(local: Path) -> list[Path]:
    return [path for path in local.rglob("*") if quota.NAME.fullmatch(path.name)]


def taken(local: Path) -> int:
    return sum(quota.footprint(path.stat().st_size) for path in copies_in(local))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# What is copied


def test_what_was_put_is_read_without_a_request(tiered: TieredStore) -> None:
    assert requests_of(lambda: tiered.put(ONE, b"one")) == {"PUT": 1}
    assert requests_of(lambda: tiered.get(ONE)) == {}
    assert tiered.get(ONE) == b"one"


def test_what_another_machine_put_is_downloaded_once(tiered: TieredStore, remote: TroubledStore) -> None:
    remote.put(ONE, b"one")
    assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}
    assert requests_of(lambda: tiered.get(ONE)) == {}
    assert tiered.get(ONE) == b"one"


def test_bytes_read_are_the_callers_own(tiered: TieredStore) -> None:
    tiered.put(ONE, b"one")
    mine = tiered.get(ONE)
    assert isinstance(mine, bytearray)
    mine[:] = b"two"
    assert tiered.get(ONE) == b"one"


@pytest.mark.parametrize("size", [0, 1, BLOCK - 32, BLOCK - 31, 3_000_000])
def test_any_size(tiered: TieredStore, size: int) -> None:
    data = bytes_of(ONE, size)
    tiered.put(ONE, data)
    assert tiered.copy_of(ONE) == data


@pytest.mark.parametrize(
    "object_key",
    [
        pytest.param(ONE.rpartition("/")[0] + "/" + tombstone(5, nonce="0123abcd").name, id="tombstone"),
        pytest.param("v1/state/job/ffffffffffffff.s3s", id="state"),
        pytest.param("v1/lease/job/ffffffffffffff.s3s", id="lease"),
        pytest.param("v1/probe/0123", id="probe"),
        pytest.param(ONE + ".bak", id="foreign"),
        pytest.param("x/" + ONE, id="below another root"),
    ],
)
def test_all_but_results_passes_through(
    tiered: TieredStore, remote: TroubledStore, local: Path, object_key: str
) -> None:
    tiered.put(object_key, b"first", mode="create")
    assert requests_of(lambda: tiered.get(object_key)) == {"GET": 1}
    remote.put(object_key, b"second")
    assert tiered.get(object_key) == b"second"
    tiered.delete([object_key])
    assert not local.exists()
    assert list(tiered.list("")) == []


def test_items_of_mappings_are_results(tiered: TieredStore) -> None:
    item = "v1/map/items/" + ONE.split("/", 4)[4]
    tiered.put(item, b"x")
    assert requests_of(lambda: tiered.get(item)) == {}


def test_what_the_remote_store_did_not_take_is_not_kept(
    tiered: TieredStore, remote: TroubledStore, local: Path
) -> None:
    remote.before_put = raising(StoreUnavailableError("down"))
    with pytest.raises(StoreUnavailableError):
        tiered.put(ONE, b"one")
    with pytest.raises(NotFoundError):
        tiered.get(ONE)
    assert copies_in(local) == []


def test_a_deleted_object_is_gone(tiered: TieredStore, local: Path) -> None:
    tiered.put(ONE, b"one")
    tiered.put(OTHER, b"other")
    tiered.delete(info.key for info in tiered.list("") if info.key == ONE)
    with pytest.raises(NotFoundError):
        tiered.get(ONE)
    assert len(copies_in(local)) == 1


def test_after_a_failed_deletion_the_remote_store_is_asked(tiered: TieredStore, remote: TroubledStore) -> None:
    """Its answer may have been lost."""
    tiered.put(ONE, b"one")
    remote.before_delete = raising(StoreUnavailableError("down"))
    with pytest.raises(StoreUnavailableError):
        tiered.delete([ONE])
    assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}
    MemoryStore.delete(remote, [ONE])
    assert tiered.get(ONE) == b"one", "it was read again, and nobody here has deleted it since"


def test_a_copy_may_be_dropped(tiered: TieredStore) -> None:
    tiered.put(ONE, b"one")
    tiered.drop_copy(ONE)
    tiered.drop_copy(ONE)
    assert tiered.copy_of(ONE) is None
    assert tiered.get(ONE) == b"one"


def test_stores_share_a_directory_and_mix_nothing(local: Path, clock: Clock) -> None:
    stores = [TieredStore(MemoryStore(name, clock=clock), local) for name in ("one", "other", "one")]
    stores[0].put(ONE, b"one")
    assert stores[1].copy_of(ONE) is None
    assert stores[2].copy_of(ONE) == b"one"


class Elsewhere(MemoryStore):
    endpoint = "https://elsewhere"


def test_one_bucket_on_two_servers_is_two(local: Path) -> None:
    TieredStore(MemoryStore("bucket"), local).put(ONE, b"one")
    assert TieredStore(Elsewhere("bucket"), local).copy_of(ONE) is None


# Room


def test_the_least_recently_used_make_room(remote: TroubledStore, local: Path, clock: Clock) -> None:
    tiered = TieredStore(remote, local, max_bytes=10 * BLOCK, clock=clock)
    for number in range(10):
        clock.now += 1
        tiered.put(result(number), b"x")
    clock.now += 1
    tiered.get(result(0))
    clock.now += 1
    tiered.put(result(10), b"x")
    held = {number for number in range(11) if tiered.copy_of(result(number)) is not None}
    assert held == {0, *range(3, 11)}, "the new one has room, and a tenth is spared"
    assert all(tiered.get(result(number)) == b"x" for number in range(11))
    assert taken(local) <= 10 * BLOCK


def test_after_the_clock_was_set_back_the_new_make_room_for_nothing_old(
    remote: TroubledStore, local: Path, clock: Clock
) -> None:
    tiered = TieredStore(remote, local, max_bytes=10 * BLOCK, clock=clock)
    clock.now += 10**7
    for number in range(10):
        tiered.put(result(number), b"x")
    (incoming,) = local.rglob("incoming")
    left = incoming / ("0a" + "0" * 30)
    left.write_bytes(bytes(BLOCK))
    os.utime(left, (clock.now, clock.now))
    clock.now -= 10**7
    for number in range(10, 20):
        clock.now += 1
        tiered.put(result(number), b"x")
    held = {number for number in range(20) if tiered.copy_of(result(number)) is not None}
    assert held >= set(range(12, 20))
    assert not left.exists()


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT])
def test_on_a_full_disk_the_least_recently_used_make_room(  # noqa: PLR0917  pytest passes them by name
    tiered: TieredStore, remote: TroubledStore, local: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    write = copies._write

    def act(descriptor: int, data: memoryview) -> None:
        if len(copies_in(local)) > 10:
            raise OSError(kind, "full")
        write(descriptor, data)

    monkeypatch.setattr(copies, "_write", act)
    for number in range(30):
        clock.now += 1
        tiered.put(result(number), b"x")
    held = {number for number in range(30) if tiered.copy_of(result(number)) is not None}
    assert len(held) >= 8
    assert min(held) > 15
    assert all(tiered.get(result(number)) == b"x" for number in range(30))


def test_a_planted_directory_does_not_stop_it(remote: TroubledStore, local: Path, clock: Clock) -> None:
    tiered = TieredStore(remote, local, max_bytes=4 * BLOCK, clock=clock)
    tiered.put(ONE, b"x")
    planted = copies_in(local)[0].parent / (copies_in(local)[0].name[:2] + "0" * 30)
    planted.mkdir()
    os.utime(planted, (1, 1))
    for number in range(10, 30):
        tiered.put(result(number), b"x")
        assert tiered.copy_of(result(number)) is not None


def test_what_is_larger_than_the_bound_is_not_kept_and_makes_nothing_go(
    remote: TroubledStore, local: Path, clock: Clock
) -> None:
    tiered = TieredStore(remote, local, max_bytes=3 * BLOCK, clock=clock)
    tiered.put(ONE, b"x")
    tiered.put(OTHER, bytes(3 * BLOCK))
    assert tiered.copy_of(ONE) is not None
    assert tiered.copy_of(OTHER) is None
    assert tiered.get(OTHER) == bytes(3 * BLOCK)
    tiered.put(result(3), bytes(3 * BLOCK - 32))
    assert tiered.copy_of(result(3)) is not None
    assert tiered.copy_of(ONE) is None


def test_many_are_judged_by_a_sample(
    remote: TroubledStore, local: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "_SAMPLE", 20)
    tiered = TieredStore(remote, local, max_bytes=200 * BLOCK, clock=clock)
    for number in range(600):
        clock.now += 1
        tiered.put(result(number), b"x")
        assert tiered.copy_of(result(number)) is not None
    assert taken(local) <= 200 * BLOCK
    held = [number for number in range(600) if tiered.copy_of(result(number)) is not None]
    assert len(held) > 150
    assert sum(held) / len(held) > 400, "mostly the newest"


@pytest.mark.parametrize("damage", [b"", b"short", bytes(8 * SHARDS), b"\xff" * 8 * SHARDS], ids=len)
def test_a_damaged_count_is_made_good(remote: TroubledStore, local: Path, clock: Clock, damage: bytes) -> None:
    tiered = TieredStore(remote, local, max_bytes=10 * BLOCK, clock=clock)
    for number in range(10):
        tiered.put(result(number), b"x")
    (usage,) = local.rglob("usage")
    usage.write_bytes(damage)
    for number in range(10, 40):
        tiered.put(result(number), b"x")
    assert 5 * BLOCK < taken(local) <= 20 * BLOCK
    assert tiered.copy_of(result(39)) is not None


@pytest.mark.parametrize("sample", [2, 10_000])
def test_a_lost_count_makes_nothing_go(
    remote: TroubledStore, local: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    monkeypatch.setattr(quota, "_SAMPLE", sample)
    tiered = TieredStore(remote, local, max_bytes=10 * BLOCK, clock=clock)
    for number in range(8):
        tiered.put(result(number), b"x")
    (usage,) = local.rglob("usage")
    usage.unlink()
    tiered.put(result(8), b"x")
    assert len(copies_in(local)) == 9


def test_what_was_deleted_makes_room_in_the_end(remote: TroubledStore, local: Path, clock: Clock) -> None:
    tiered = TieredStore(remote, local, max_bytes=10 * BLOCK, clock=clock)
    tiered.put(ONE, b"kept")
    for number in range(100, 200):
        tiered.put(result(number), b"x")
        tiered.delete([result(number)])
    assert tiered.copy_of(ONE) == b"kept"


def test_while_another_process_makes_room_nothing_is_kept(remote: TroubledStore, local: Path, clock: Clock) -> None:
    tiered = TieredStore(remote, local, max_bytes=2 * BLOCK, clock=clock)
    tiered.put(ONE, b"x")
    tiered.put(OTHER, b"x")
    (evicting,) = local.rglob("evicting")
    with evicting.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tiered.put(result(3), b"x")
        assert tiered.copy_of(result(3)) is None
        assert len(copies_in(local)) == 2
    assert tiered.get(result(3)) == b"x"
    assert tiered.copy_of(result(3)) is not None


@pytest.mark.parametrize("seed", range(20))
def test_doomed_are_the_least_recently_used_and_no_more_than_needed(seed: int) -> None:
    rng = random.Random(seed)
    found = [Found(str(number), BLOCK * rng.randrange(1, 9), rng.random()) for number in range(rng.randrange(30))]
    size, most = rng.randrange(-BLOCK, 100 * BLOCK), rng.randrange(1, 40)
    gone = doomed(found, size, most=most)
    stay = [copy for copy in found if copy not in gone]
    assert len(gone) <= most
    assert all(one.used < other.used for one in gone for other in stay)
    assert sum(copy.size for copy in gone[:-1]) < max(size, 1)
    assert sum(copy.size for copy in gone) >= size or len(gone) == min(most, len(found))


# Damage and trouble


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def exchanged(path: Path) -> None:
    (other,) = (copy for copy in copies_in(path.parents[1]) if copy != path)
    path.write_bytes(other.read_bytes())


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one bit": flipped,
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut to less than its check": lambda path: os.truncate(path, 5),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "another's": exchanged,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_copy_is_found_and_replaced(
    tiered: TieredStore, local: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    tiered.put(ONE, b"one" * 100)
    (copy,) = copies_in(local)
    tiered.put(OTHER, b"other")
    for _ in range(2):
        damage(copy)
        assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}
        assert requests_of(lambda: tiered.get(ONE)) == {}
        assert tiered.get(ONE) == b"one" * 100
    (warning,) = warnings(caplog)
    assert "damaged" in warning
    assert ONE in warning


def test_a_damaged_copy_is_found_once(tiered: TieredStore, remote: TroubledStore, local: Path) -> None:
    tiered.put(ONE, b"one")
    remote.delete([ONE])
    (copy,) = copies_in(local)
    flipped(copy)
    assert tiered.copy_of(ONE) is None
    assert not copy.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["open", "ftruncate", "write", "replace"])
def test_what_ails_the_disk_is_logged_once_and_in_nobodys_way(  # noqa: PLR0917  pytest passes them by name
    remote: TroubledStore,
    local: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    number: int,
) -> None:
    tiered = TieredStore(remote, local)
    remote.put(OTHER, b"other")
    with monkeypatch.context() as patch:
        patch.setattr(copies.os, call, raising(OSError(number, os.strerror(number))))
        for _ in range(2):
            tiered.put(ONE, b"one")
            assert tiered.get(ONE) == b"one"
            assert tiered.get(OTHER) == b"other"
    assert copies_in(local) == [], "nor is anything left of the attempts"
    told = warnings(caplog)
    assert len(told) == (2 if call == "open" else 1), "for keeping, and for reading"
    assert all(os.strerror(number) in warning for warning in told)
    tiered.get(ONE)
    assert requests_of(lambda: tiered.get(ONE)) == {}


def test_a_disk_that_cannot_be_written_still_serves(
    tiered: TieredStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiered.put(ONE, b"one")
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS))
    for call in ("utime", "write", "replace", "unlink", "mkdir", "ftruncate"):
        monkeypatch.setattr(copies.os, call, raising(read_only))
    assert requests_of(lambda: tiered.get(ONE)) == {}
    assert warnings(caplog) == []


def test_an_object_that_does_not_fit_into_memory_is_asked_for(
    tiered: TieredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiered.put(ONE, b"one")
    monkeypatch.setattr(copies, "_read_whole", raising(MemoryError()))
    assert tiered.get(ONE) == b"one"


def test_a_count_that_stays_locked_is_not_waited_for(
    tiered: TieredStore, local: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiered.put(ONE, b"one")
    (usage,) = local.rglob("usage")
    with usage.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tiered.put(OTHER, b"other")
        assert tiered.get(ONE) == b"one"
        assert tiered.get(OTHER) == b"other"
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", raising(AssertionError("only the first waits")))
            for number in range(3, 23):
                tiered.put(result(number), b"x")
    assert len(warnings(caplog)) == 1
    assert "locked" in caplog.text
    assert len(copies_in(local)) == 1
    for number in (3, 4):
        tiered.put(result(number), b"x")
    assert len(copies_in(local)) == 3


def made_writable_by_others(directory: Path) -> None:
    directory.chmod(0o777)


def replaced_by_a_file(directory: Path) -> None:
    directory.rename(directory.with_name("away"))
    directory.write_text("x")


def replaced_by_a_link(directory: Path) -> None:
    directory.rename(directory.with_name("away"))
    directory.symlink_to(directory.with_name("away"))


@pytest.mark.parametrize("spoil", [made_writable_by_others, replaced_by_a_file, replaced_by_a_link])
def test_a_directory_that_others_may_have_made_is_not_used(
    remote: TroubledStore, local: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    TieredStore(remote, local).put(ONE, b"one")
    (directory,) = local.iterdir()
    spoil(directory)
    tiered = TieredStore(remote, local)
    assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}
    assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}
    tiered.put(OTHER, b"other")
    assert len(warnings(caplog)) == 2
    assert "only this user can write in" in caplog.text


def test_somebody_elses_directory_is_not_used(
    remote: TroubledStore, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TieredStore(remote, local).put(ONE, b"one")
    monkeypatch.setattr(copies.os, "geteuid", lambda: os.getuid() + 1)
    tiered = TieredStore(remote, local)
    assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}


def test_what_is_written_is_private(tiered: TieredStore, local: Path) -> None:
    before = os.umask(0)
    try:
        tiered.put(ONE, b"one")
    finally:
        os.umask(before)
    (directory,) = local.iterdir()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.rglob("*")]}
    assert modes == {0o700, 0o600}


def test_a_directory_may_be_deleted_at_any_time(tiered: TieredStore, local: Path) -> None:
    for _ in range(2):
        tiered.put(ONE, b"one")
        assert requests_of(lambda: tiered.get(ONE)) == {}
        shutil.rmtree(local)
        assert requests_of(lambda: tiered.get(ONE)) == {"GET": 1}
        assert requests_of(lambda: tiered.get(ONE)) == {}


def test_what_a_killed_process_left_is_deleted_and_what_is_being_written_is_not(
    remote: TroubledStore, local: Path, clock: Clock
) -> None:
    tiered = TieredStore(remote, local, max_bytes=4 * BLOCK, clock=clock)
    tiered.put(ONE, b"one")
    (incoming,) = local.rglob("incoming")
    names = (*(f"0{digit}" + "0" * 30 for digit in "abcd"), "notes")
    left, old, written, fresh, foreign = (incoming / name for name in names)
    for path, age in ((left, 11), (old, 3601), (written, 3599), (fresh, 9), (foreign, 10**6)):
        path.write_bytes(bytes(0 if path == fresh else 2 * BLOCK))
        os.utime(path, (clock.now - age, clock.now - age))
    with written.open("rb") as writer, old.open("rb") as inherited:
        fcntl.flock(writer, fcntl.LOCK_EX)
        fcntl.flock(inherited, fcntl.LOCK_EX)
        TieredStore(remote, local, clock=clock).get(ONE)
        assert sorted(incoming.iterdir()) == sorted([written, fresh, foreign]), (
            "who made a fresh one may be about to lock it"
        )
        for number in range(10):
            tiered.put(result(number), b"x")
        assert written.exists()
    assert taken(local) <= 4 * BLOCK, "with what is being written"
    tiered.put(result(11), bytes(4 * BLOCK - 32))
    assert not written.exists(), "its writer has died"
    assert tiered.copy_of(result(11)) is not None


@pytest.mark.parametrize("step", ["try_lock", "_write", "Copies._place"])
def test_others_begin_while_a_copy_is_written(
    tiered: TieredStore, remote: TroubledStore, local: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    remote.put(OTHER, b"other")
    owner, name = (copies.Copies, "_place") if step == "Copies._place" else (copies, step)
    action, others = getattr(owner, name), [TieredStore(remote, local)]

    def act(*arguments: Any) -> Any:
        while others:
            others.pop().copy_of(OTHER)
        return action(*arguments)

    monkeypatch.setattr(owner, name, act)
    tiered.put(ONE, b"one")
    assert tiered.copy_of(ONE) == b"one"
    assert not others
    assert not [*next(local.rglob("incoming")).iterdir()]


def test_an_interrupted_write_leaves_nothing(tiered: TieredStore, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(copies.os, "write", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            tiered.put(ONE, b"one")
    assert copies_in(local) == []
    assert tiered.get(ONE) == b"one"


def test_threads_share_it(remote: TroubledStore, local: Path) -> None:
    tiered = TieredStore(remote, local, max_bytes=20 * BLOCK)

    def work(number: int) -> None:
        rng = random.Random(number)
        for _ in range(50):
            object_key = result(rng.randrange(40))
            tiered.put(object_key, bytes_of(object_key, 5000))
            assert tiered.get(object_key) == bytes_of(object_key, 5000)

    assert start_together(lambda number=number: work(number) for number in range(4)) == [None] * 4
    assert taken(local) <= 20 * BLOCK


# As a store


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s3://bucket",), "needs a store"),
        ((TieredStore(MemoryStore(), "/nowhere"),), "no local tier yet"),
        ((MemoryStore(), "cache"), "local='cache' must be"),
        ((MemoryStore(), "s3://bucket"), "local='s3://bucket' must be"),
        ((MemoryStore(), False), "local=False must be"),
        ((MemoryStore(), 5), "local=5 must be"),
        ((MemoryStore(), Path()), r"local=\S+ must be"),
    ],
)
def test_wrong_arguments_are_told(arguments: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TieredStore(*arguments)


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, None, True])
def test_a_bound_is_a_number_of_bytes(max_bytes: Any) -> None:
    with pytest.raises(SettingsError, match="max_bytes"):
        TieredStore(MemoryStore(), "/nowhere", max_bytes=max_bytes)


def test_it_is_the_remote_store_to_whoever_asks(local: Path) -> None:
    remote = S3Store("bucket", "root", client_options={"region_name": "eu-west-1"})
    tiered = TieredStore(remote, local)
    assert isinstance(tiered, Store)
    assert tiered.url == "s3://bucket/root"
    assert tiered.endpoint == remote.endpoint
    assert tiered.enforces_create_only is True
    assert tiered.clock is remote.clock
    assert marker_of(tiered) == marker_of(remote)
    check_create_only(tiered)
    assert str(local) in repr(tiered)


class Plain:
    """A store that has the verbs and nothing else."""

    url = "plain://store"

    def __init__(self) -> None:
        self._store = MemoryStore()
        for verb in ("list", "get", "put", "delete", "time"):
            setattr(self, verb, getattr(self._store, verb))

    list = get = put = delete = time = None


def test_a_store_without_more_than_the_verbs_will_do(local: Path) -> None:
    remote: Any = Plain()
    tiered = TieredStore(remote, local)
    assert (tiered.endpoint, tiered.enforces_create_only) == ("plain://store", False)
    assert tiered.clock is local_clock
    tiered.put(ONE, b"one")
    assert tiered.get(ONE) == b"one"
    tiered.close()


def test_closing_closes_the_remote_store(tmp_path: Path) -> None:
    tiered = TieredStore(LocalStore(tmp_path / "remote"), tmp_path / "local")
    tiered.put(ONE, b"one")
    tiered.close()
    assert tiered.remote._database._idle == []
    assert tiered.get(ONE) == b"one"


def test_it_pickles_and_keeps_its_copies_where_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = LocalStore(tmp_path / "remote")
    here = TieredStore(remote, tmp_path / "local", max_bytes=12345)
    here.put(ONE, b"one")
    there = pickle.loads(pickle.dumps(here))
    assert (there.url, there.max_bytes) == (here.url, 12345)
    assert there.copy_of(ONE) == b"one"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    user = pickle.dumps(TieredStore(remote))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    pickle.loads(user).put(ONE, b"one")
    assert len(copies_in(tmp_path / "another" / "s3memo" / "objects")) == 1
    assert not (tmp_path / "home").exists()


def test_nothing_is_made_before_it_is_used(remote: TroubledStore, local: Path) -> None:
    tiered = TieredStore(remote, local)
    list(tiered.list(""))
    tiered.time()
    assert not local.exists()


def test_without_a_remote_server_its_own_error_is_told(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiered = TieredStore(S3Store("bucket", client_options={"no_such_option": 1}), local)
    with pytest.raises(SettingsError, match="client_options"):
        tiered.get(ONE)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_in_the_midst_of_writes_goes_on(tmp_path: Path) -> None:
    """Even of a lock that it inherited with the file that is locked."""
    tiered = TieredStore(MemoryStore(), tmp_path, max_bytes=10 * BLOCK)

    def write() -> None:
        for number in range(200):
            tiered.put(result(number), b"x")
        children.append(None)

    children: list[Any] = []
    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not children:
            child = os.fork()
            if not child:
                tiered.put(ONE, b"x")
                os._exit(tiered.get(ONE) != b"x")
            assert os.waitpid(child, 0)[1] == 0
    finally:
        writer.join()
    tiered.put(OTHER, b"x")
    assert tiered.copy_of(OTHER) == b"x"
    assert taken(tmp_path) <= 10 * BLOCK


def test_a_lock_does_not_live_on_in_a_forked_child(tmp_path: Path) -> None:
    path, patience = str(tmp_path / "usage"), (0.0,)
    with quota._locked(path, patience=patience) as held:
        assert held is not None
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with quota._locked(path, patience=patience) as held:
            assert held is not None
            with quota._locked(path, patience=patience) as second:
                assert second is None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# Whatever happens


class Machine(RuleBasedStateMachine):
    """Several machines' stores over one remote; two of them share a directory, as processes do."""

    bound = 6 * BLOCK

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.remote = MemoryStore(clock=self.clock)
        self.made: set[str] = set()
        here, there = (Path(self.scratch.name) / name for name in ("here", "there"))
        self.locals = here, here, there
        self.stores = [TieredStore(self.remote, local, max_bytes=self.bound, clock=self.clock) for local in self.locals]

    def teardown(self) -> None:
        self.scratch.cleanup()

    results = st.integers(0, 12).map(result)
    machines = st.integers(0, 2)

    @staticmethod
    def value_of(object_key: str) -> bytes:
        return bytes_of(object_key, 7919 * (object_key.encode()[60] % 4))

    @rule(machine=machines, object_key=results)
    def put(self, machine: int, object_key: str) -> None:
        self.clock.now += 1
        self.stores[machine].put(object_key, self.value_of(object_key))
        self.made.add(object_key)

    @rule(machine=machines, object_key=results)
    def get(self, machine: int, object_key: str) -> None:
        self.clock.now += 1
        is_there = object_key in keys(self.remote.list(""))
        try:
            data = bytes(self.stores[machine].get(object_key))
        except NotFoundError:
            assert not is_there
        else:
            assert object_key in self.made
            assert data == self.value_of(object_key)

    @rule(machine=machines, object_keys=st.lists(results, max_size=4))
    def delete(self, machine: int, object_keys: list[str]) -> None:
        self.stores[machine].delete(object_keys)
        for object_key in object_keys:
            assert self.stores[machine].copy_of(object_key) is None

    @rule(machine=machines)
    def restart(self, machine: int) -> None:
        self.stores[machine] = TieredStore(self.remote, self.locals[machine], max_bytes=self.bound, clock=self.clock)

    @rule(
        machine=machines,
        object_key=results,
        damage=st.sampled_from(["one bit", "cut short", "cut to less than its check", "empty", "zeros"]),
    )
    def damage(self, machine: int, object_key: str, damage: str) -> None:
        if self.stores[machine].copy_of(object_key) is not None:
            for path in self.locals[machine].rglob(copies._name_of(object_key)):
                DAMAGES[damage](path)

    @rule(local=st.sampled_from(["here", "there"]), name=st.sampled_from(["usage", "evicting"]))
    def lose(self, local: str, name: str) -> None:
        for path in (Path(self.scratch.name) / local).rglob(name):
            path.unlink()

    @invariant()
    def is_bounded(self) -> None:
        assert all(taken(local) <= self.bound for local in self.locals)


TestWhateverHappens = Machine.TestCase
TestWhateverHappens.settings = settings(stateful_step_count=30)
