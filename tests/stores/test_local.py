from __future__ import annotations

import contextlib
import gc
import mmap
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import sqlite3
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from s3memo.errors import (
    NotFoundError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.stores import sqlite
from s3memo.stores.base import ObjectInfo, TimeBounds
from s3memo.stores.local import _LIST, FILE_NAME, MAX_OBJECT_BYTES, LocalStore
from s3memo.stores.sqlite import Loan, _forks
from tests.stores import writer
from tests.stores.contract import ListingProperty, NewStore, StoreContract, keys, requests_of, start_together

NOBODY = 65534
forks_beside_threads = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class TestLocalStore(StoreContract, ListingProperty):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, tmp_path_factory: pytest.TempPathFactory) -> NewStore:
        return lambda: LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def file_of(store: LocalStore) -> Path:
    return store.directory / FILE_NAME


def integrity_of(store: LocalStore) -> str:
    with closing(sqlite3.connect(file_of(store))) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    return str(verdict)


def in_a_child(action: Callable[[], None]) -> None:
    """Run the action in a forked child and fail if it fails."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0, "the child failed: see its traceback in the captured output"
        return
    status = 1
    try:
        action()
        status = 0
    except BaseException:  # noqa: BLE001  nothing may leave the child: it would run pytest's remaining tests
        traceback.print_exc()
    finally:
        os._exit(status)


# Settings


def test_url_is_the_absolute_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")

    assert LocalStore(tmp_path / "a b").url == f"file://{tmp_path}/a%20b"
    assert LocalStore("here").url == f"file://{tmp_path}/here"
    assert LocalStore("~/there").url == "file:///home/somebody/there"
    assert repr(LocalStore("/data")) == "LocalStore('/data')"


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="path given is empty"):
        LocalStore("")
    with pytest.raises(SettingsError, match="timeout is in seconds"):
        LocalStore(tmp_path, timeout=-1)


def test_directory_is_created_on_first_use(store: LocalStore) -> None:
    assert not store.directory.exists()
    store.put("object", b"x")

    assert file_of(store).is_file()


@pytest.mark.parametrize("name", ["a b", "50%", "what?mode=ro", "a#b", "\u65e5\u672c"])
def test_directory_of_any_name(tmp_path: Path, name: str) -> None:
    LocalStore(tmp_path / name).put("object", b"x")

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert LocalStore(tmp_path / name).get("object") == b"x"


def test_times_are_those_of_the_clock(tmp_path: Path) -> None:
    now = [100.5]
    store = LocalStore(tmp_path, clock=lambda: now[0])
    store.put("object", b"first")
    now[0] = 200.25
    store.put("object", b"second")
    now[0] = 300.125

    assert list(store.list("")) == [ObjectInfo("object", 6, 200.25)]
    assert store.time() == TimeBounds(300.125, 300.125)


def test_a_pickled_store_is_opened_anew(store: LocalStore) -> None:
    store.put("object", b"x")
    other = pickle.loads(pickle.dumps(LocalStore(store.directory, timeout=3.5)))

    assert other.url == store.url
    assert other._timeout == 3.5
    assert other.get("object") == b"x"


def test_an_object_too_large_for_sqlite(store: LocalStore) -> None:
    with (
        mmap.mmap(-1, MAX_OBJECT_BYTES + 1) as never_touched,
        memoryview(never_touched) as data,
        pytest.raises(StoreNotSupportedError, match=r"'big' has 999,990,001 bytes.*keep such results in S3"),
    ):
        store.put("big", data)


# Listing


def test_a_listing_reads_nothing_but_the_index(store: LocalStore) -> None:
    store.put("object", b"x")
    with closing(sqlite3.connect(file_of(store))) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + _LIST, ("v1/", 1001)).fetchall()

    assert [step[3] for step in plan] == ["SEARCH objects USING COVERING INDEX listing (key>?)"]


def test_a_long_listing_holds_no_snapshot_between_pages(store: LocalStore) -> None:
    with store._database.connection("fill") as connection:
        connection.execute("BEGIN")
        rows = ((f"job/{number:06}", 1, 0.0, b"x") for number in range(20_000))
        connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    listing = store.list("job/")
    first = next(listing)
    with closing(sqlite3.connect(file_of(store), isolation_level=None)) as connection:
        connection.execute("DELETE FROM objects WHERE key = 'job/015000'")
        (blocked, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert blocked == 0
    assert keys([first, *listing]) == [f"job/{number:06}" for number in range(20_000) if number != 15_000]
    assert requests_of(lambda: next(store.list("job/"))) == {"LIST": 1}


# Connections


def open_files(directory: Path) -> list[str]:
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in targets if target.startswith(str(directory))]


def test_a_closed_store_may_be_used_again(store: LocalStore) -> None:
    store.put("object", b"x")
    store.close()
    assert not open_files(store.directory)

    assert store.get("object") == b"x"


def test_a_store_nobody_holds_leaves_nothing_open(store: LocalStore, tmp_path: Path) -> None:
    dropped = LocalStore(tmp_path / "dropped")
    dropped.put("object", b"x")
    directory = dropped.directory
    assert open_files(directory)
    del dropped
    gc.collect()

    assert not open_files(directory)


def test_threads_come_and_go_and_connections_do_not_pile_up(store: LocalStore) -> None:
    def use_many_threads() -> int:
        start_together(lambda number=number: store.put(f"object/{number}", b"x") for number in range(32))
        return len(open_files(store.directory))

    most = 3 * 32  # database, log and shared memory
    assert [use_many_threads() <= most for _ in range(5)] == [True] * 5
    assert len(store._database._idle) <= 16


def test_a_failed_operation_leaves_no_transaction(store: LocalStore) -> None:
    store.put("object/a", b"x")
    with pytest.raises(UnicodeEncodeError):
        store.delete(["object/a", "no UTF-8: \ud800"])

    assert keys(store.list("")) == ["object/a"]
    LocalStore(store.directory, timeout=0).put("object/b", b"x")


def test_a_directory_deleted_in_use_is_made_anew(store: LocalStore) -> None:
    store.put("object/a", b"x")
    shutil.rmtree(store.directory)
    other = LocalStore(store.directory)
    other.put("object/b", b"x")
    store.put("object/c", b"x")
    with pytest.raises(NotFoundError):
        store.get("object/a")
    other.close()
    store.close()

    assert keys(LocalStore(store.directory).list("")) == ["object/b", "object/c"]


# Processes


def test_processes_create_the_same_files_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    directories = [tmp_path / str(number) for number in range(60)]
    names = [f"writer {number}" for number in range(6)]
    barrier = spawn.Barrier(len(names))
    processes = [spawn.Process(target=writer.create_together, args=(name, directories, barrier)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * len(names)
    for directory in directories:
        store = LocalStore(directory)
        assert {name: store.get(name) for name in keys(store.list(""))} == {
            name: writer.value_of(name) for name in names
        }


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_loses_nothing_acknowledged(store: LocalStore, seed: int) -> None:
    writers = [writer.start(f"writer {number}", store.directory) for number in range(3)]
    paces = [process.stdout for process in writers if process.stdout]
    more = [paces[0]] * random.Random(seed).randrange(60)
    seen = [pace.readline().removesuffix("\n") for pace in [*paces, *more]]
    for process in writers:
        process.kill()
    written = seen + [key for process in writers for key in writer.acknowledged(process)]

    LocalStore(store.directory, timeout=1).put("the others go on", b"x")
    listed = {info.key: info.size for info in store.list("writer")}
    assert set(written) <= set(listed)
    assert len(listed) <= len(written) + len(writers)
    for key, size in listed.items():
        assert store.get(key) == writer.value_of(key)
        assert size == len(writer.value_of(key))
    assert integrity_of(store) == "ok"


def test_parent_and_forked_child_share_the_store(store: LocalStore) -> None:
    store.put("before", b"x")

    def child() -> None:
        assert store.get("before") == b"x"
        store.put("from the child", b"x")

    in_a_child(child)
    store.put("from the parent", b"x")
    assert keys(store.list("")) == ["before", "from the child", "from the parent"]


@forks_beside_threads
def test_what_a_child_writes_outlives_its_parents_connections(store: LocalStore) -> None:
    """SQLite deletes the log when the last connection it knows of is closed: the child's must be one that it knows."""
    store.put("before", b"x")
    closed, goes_on = os.pipe(), os.pipe()

    def child() -> None:
        store.put("while the parent is open", b"x")
        os.write(goes_on[1], b".")
        os.read(closed[0], 1)
        store.put("when the parent has closed", b"x")

    def parent() -> None:
        os.read(goes_on[0], 1)
        assert store.get("before") == b"x"
        store.close()
        os.write(closed[1], b".")

    thread = threading.Thread(target=parent)
    thread.start()
    try:
        in_a_child(child)
    finally:
        thread.join()
    assert keys(LocalStore(store.directory).list("")) == [
        "before",
        "when the parent has closed",
        "while the parent is open",
    ]
    assert integrity_of(store) == "ok"


def test_an_operation_that_is_interrupted_holds_off_no_fork(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        assert _forks.inside
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store._database.connection("wait"):
        interrupted()
    monkeypatch.setattr(store._database, "lend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.get("object")
    assert not _forks.inside


def test_an_operation_that_is_interrupted_as_it_ends_holds_off_no_fork(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    store.put("object", b"")
    monkeypatch.setattr(Loan, "__exit__", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        store.get("object")
    assert not _forks.inside


def awaited_fork() -> threading.Thread:
    """Let another thread fork, and return it when it waits for what is under way."""
    thread = threading.Thread(target=in_a_child, args=(lambda: None,), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while _forks.entrance.acquire(blocking=False):
        _forks.entrance.release()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return thread


@forks_beside_threads
def test_a_signals_handler_amidst_an_operation_may_use_the_store_while_a_fork_waits(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_FORK_PATIENCE_SECONDS", 20.0)
    store.put("object", b"data")
    with store._database.connection("wait"):
        thread = awaited_fork()
        assert store.get("object") == b"data"
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


@forks_beside_threads
@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_fork_waits_for_connections_that_are_being_closed(how: str, store: LocalStore) -> None:
    """Or the child would inherit a lock of SQLite's that nobody releases there."""
    forks: list[threading.Thread] = []

    class Slow(sqlite.Connection):
        def close(self) -> None:
            forks.append(awaited_fork())
            forks[0].join(0.1)
            assert forks[0].is_alive()
            super().close()

    idle = store._database._idle
    store.put("object", b"")
    idle[:] = [sqlite3.connect(file_of(store), check_same_thread=False, factory=Slow)]
    if how == "close":
        store.close()
    else:
        del store._database
    assert not idle
    forks[0].join(10)
    assert not forks[0].is_alive()


def test_a_fork_amidst_an_operation_of_its_thread_does_not_wait_for_that(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with store._database.connection("fork"):
        in_a_child(lambda: None)
    assert not waits


def test_code_that_comes_amidst_a_delete_may_write(store: LocalStore) -> None:
    """A signal's handler, say, or the child that it forks: until the delete goes on they would wait for each other."""

    class Name(str):
        __slots__ = ()

        def __conform__(self, _: object) -> str:  # sqlite3 asks for it as it takes a parameter
            LocalStore(store.directory, timeout=0).put(f"beside {self}", b"")
            return str(self)

    for name in ("first", "second"):
        store.put(name, b"")
    store.delete([Name("first"), Name("second")])
    assert keys(store.list("")) == ["beside first", "beside second"]


@forks_beside_threads
def test_forks_in_the_midst_of_other_threads_writes(store: LocalStore) -> None:
    stop = threading.Event()
    failures: list[Exception] = []

    def write(name: str) -> None:
        number = 0
        try:
            while not stop.is_set():
                key = f"{name}/{number % 20}"
                store.put(key, writer.value_of(key))
                assert store.get(key) == writer.value_of(key)
                number += 1
        except Exception as error:  # noqa: BLE001  reported below, from the main thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"thread {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):

            def child(number: int = number) -> None:
                for turn in range(5):
                    store.put(f"child {number}/{turn}", b"x")
                assert len(list(store.list(f"child {number}/"))) == 5

            in_a_child(child)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(list(store.list("child"))) == 50
    assert integrity_of(store) == "ok"


# Trouble


def test_a_writer_that_holds_the_lock_too_long(store: LocalStore) -> None:
    store.put("object", b"x")
    impatient = LocalStore(store.directory, timeout=0.05)
    with closing(sqlite3.connect(file_of(store), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreUnavailableError, match=r"could not put 'object' in .*s3memo\.db: .*locked.*longer timeout"
        ):
            impatient.put("object", b"y")
        assert impatient.get("object") == b"x"
    impatient.put("object", b"y")

    assert store.get("object") == b"y"


def test_a_reader_that_holds_up_the_creation(store: LocalStore) -> None:
    store.directory.mkdir()
    impatient = LocalStore(store.directory, timeout=0.05)
    with closing(sqlite3.connect(file_of(store), isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM sqlite_master").fetchall()
        with pytest.raises(StoreUnavailableError, match=r"could not put 'object' .*locked"):
            impatient.put("object", b"x")
    impatient.put("object", b"x")

    assert store.get("object") == b"x"


def test_another_programs_database_is_refused_and_untouched(store: LocalStore) -> None:
    store.directory.mkdir()
    with closing(sqlite3.connect(file_of(store))) as connection:
        connection.execute("CREATE TABLE objects (key TEXT)")
    before = file_of(store).read_bytes()
    with pytest.raises(StoreNotSupportedError, match="another program; choose another directory"):
        store.put("object", b"x")

    assert file_of(store).read_bytes() == before


def test_a_newer_format_is_refused(store: LocalStore) -> None:
    store.put("object", b"x")
    store.close()
    with closing(sqlite3.connect(file_of(store))) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreNotSupportedError, match="has format 2 and this s3memo knows format 1; upgrade"):
        store.get("object")


def test_a_file_that_is_no_database_may_be_moved_away(store: LocalStore) -> None:
    store.directory.mkdir()
    file_of(store).write_text("These are not the bytes you are looking for. " * 100)
    with pytest.raises(
        StoreAccessError, match=r"could not list 'job/' in .*s3memo\.db: .*not a database; move it away"
    ):
        list(store.list("job/"))
    file_of(store).rename(store.directory / "moved")
    store.put("job/object", b"x")

    assert keys(store.list("job/")) == ["job/object"]


def test_a_damaged_database_says_so(store: LocalStore) -> None:
    for number in range(200):
        store.put(f"object/{number}", b"x" * 1000)
    store.close()
    content = file_of(store).read_bytes()
    file_of(store).write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(StoreAccessError, match="malformed; move it away"):
        store.get("object/7")


def test_a_database_without_its_table_says_so(store: LocalStore) -> None:
    store.put("object", b"x")
    with closing(sqlite3.connect(file_of(store))) as connection:
        connection.execute("DROP TABLE objects")
    with pytest.raises(StoreAccessError, match="no such table: objects; move it away"):
        store.get("object")


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for directory, reason in [
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "below", "Not a directory"),
        (Path("/proc/s3memo"), "No such file or directory"),
    ]:
        with pytest.raises(StoreAccessError, match=f"could not put 'object' in {directory}/.*: {reason}; see that"):
            LocalStore(directory).put("object", b"x")


def test_a_directory_in_place_of_the_file(store: LocalStore) -> None:
    file_of(store).mkdir(parents=True)
    with pytest.raises(StoreAccessError, match="unable to open database file; see that"):
        store.put("object", b"x")


def test_a_full_database_says_so_and_keeps_what_it_has(store: LocalStore) -> None:
    store.put("object/a", b"a")
    with store._database.connection("limit") as connection:
        connection.execute("PRAGMA max_page_count = 50")
    with pytest.raises(StoreUnavailableError, match="full; free some space"):
        store.put("object/b", b"b" * 1_000_000)

    assert keys(store.list("")) == ["object/a"]


def test_a_write_that_the_system_refuses(store: LocalStore) -> None:
    store.put("object/a", b"a" * 100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with pytest.raises(StoreUnavailableError, match=r"could not put 'object/b' .*: disk I/O error; see whether"):
            store.put("object/b", b"b" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.put("object/c", b"c" * 1_000_000)

    assert keys(store.list("")) == ["object/a", "object/c"]
    assert store.get("object/a") == b"a" * 100_000
    assert integrity_of(store) == "ok"


def test_what_nobody_foresaw_is_still_a_store_error(store: LocalStore) -> None:
    with pytest.raises(StoreError, match=r"could not get .*report it"):
        store.get(object())  # type: ignore[arg-type]


# Permission: as root, nothing is forbidden, so these tests turn into nobody for a moment


@contextmanager
def as_a_reader() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def public(store: LocalStore) -> Iterator[LocalStore]:
    """A store whose directory may be read and not written; pytest's own temporary directories are closed to others."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        store = LocalStore(path)
        store.put("object", b"x" * 10_000)
        path.chmod(0o555)
        try:
            yield store
        finally:
            store.close()
            path.chmod(0o755)


def test_a_store_on_read_only_media_is_readable(public: LocalStore) -> None:
    public.close()
    file_of(public).chmod(0o444)
    reader = LocalStore(public.directory)
    with as_a_reader():
        assert keys(reader.list("")) == ["object"]
        assert reader.get("object") == b"x" * 10_000
        with pytest.raises(
            StoreAccessError, match=r"could not put 'object' .*readonly database; see that .* may read and write"
        ):
            reader.put("object", b"y")

    public.directory.chmod(0o755)
    file_of(public).chmod(0o644)
    public.put("object", b"y")
    assert reader.get("object") == b"y"


@pytest.fixture
def left_by_a_crash(public: LocalStore) -> LocalStore:
    """A public store whose last object is in the log alone, since its writer did not get to close it."""

    def crash() -> None:
        public.put("object/2", b"only in the log")

    in_a_child(crash)
    assert sorted(path.name for path in public.directory.iterdir()) == ["s3memo.db", "s3memo.db-shm", "s3memo.db-wal"]
    return LocalStore(public.directory)


def test_a_reader_who_may_not_write_sees_what_is_in_the_log(left_by_a_crash: LocalStore) -> None:
    with as_a_reader():
        assert left_by_a_crash.get("object/2") == b"only in the log"
        assert keys(left_by_a_crash.list("")) == ["object", "object/2"]


def test_a_log_that_cannot_be_read_is_never_passed_over(left_by_a_crash: LocalStore) -> None:
    (left_by_a_crash.directory / "s3memo.db-shm").unlink()
    with as_a_reader(), pytest.raises(StoreAccessError, match=r"unable to open database file; see that"):
        left_by_a_crash.get("object")

    assert left_by_a_crash.get("object/2") == b"only in the log"


def test_a_directory_that_may_not_be_written(public: LocalStore) -> None:
    with as_a_reader(), pytest.raises(StoreAccessError, match="Permission denied; see that"):
        LocalStore(public.directory / "below").put("object", b"x")
