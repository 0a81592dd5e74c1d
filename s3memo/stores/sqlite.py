"""One SQLite file for many threads and processes: opens it, checks its format, pools its connections, survives fork().

Errors of sqlite3 leave this module as StoreErrors.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import TypeAlias

from s3memo.errors import StoreAccessError, StoreError, StoreNotSupportedError, StoreUnavailableError

_APPLICATION_ID = int.from_bytes(b"s3me", "big")
_FORMAT = 1
_SCHEMA = (
    """
    CREATE TABLE objects (
        key TEXT NOT NULL PRIMARY KEY,  -- the default BINARY collation compares UTF-8 bytes
        size INTEGER NOT NULL,
        last_modified REAL NOT NULL,
        data BLOB NOT NULL
    )
    """,
    # A listing reads this index alone, which is eight times faster than reading each row beside its blob.
    "CREATE INDEX listing ON objects (key, size, last_modified)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT}",
)
_MAX_IDLE = 16
_RETRY_SECONDS = 0.01
_FORK_PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 0.001

_NO_PERMISSION = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}

_Remedy: TypeAlias = tuple[type[StoreError], str]
_DAMAGED: _Remedy = StoreAccessError, "move it away together with its -wal and -shm files, and a new one will be made"
_FORBIDDEN: _Remedy = StoreAccessError, "see that the directory exists and that this user may read and write in it"
_LOCKED: _Remedy = (
    StoreUnavailableError,
    "other processes kept it locked; try again, or give LocalStore a longer timeout",
)
_REMEDIES: dict[int, _Remedy] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: (StoreUnavailableError, "free some space, or choose a directory on another disk"),
    sqlite3.SQLITE_IOERR: (StoreUnavailableError, "see whether the disk is full or failing"),
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_ERROR: _DAMAGED,
    sqlite3.SQLITE_CANTOPEN: _FORBIDDEN,
    sqlite3.SQLITE_READONLY: _FORBIDDEN,
    sqlite3.SQLITE_PERM: _FORBIDDEN,
    sqlite3.SQLITE_AUTH: _FORBIDDEN,
}


class Connection(sqlite3.Connection):
    """`file` identifies the file it was opened on; None means that it must not be reused."""

    file: tuple[int, int] | None = None


class Database:
    """Connections to the file at an absolute path, each lent for one operation.

    `timeout` is how long an operation waits while other processes write, in seconds.
    """

    def __init__(self, path: Path, *, timeout: float) -> None:
        self.path = path
        self._file = os.fspath(path)
        self._timeout = timeout
        self._idle: list[Connection] = []
        weakref.finalize(self, _close_dropped, self._idle)
        _forks.watch(self)

    def connection(self, purpose: str, *objects: object) -> Loan:
        """Lend a connection in autocommit mode while the block runs.

        `purpose`, formatted with the objects, completes "could not …" in a StoreError's message.
        """
        return Loan(self, purpose, objects)

    def lend(self) -> Connection:
        """Return a connection for exclusive use. Raises sqlite3's errors."""
        present = _file_at(self._file)
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._open()
            if connection.file == present:
                return connection
            connection.close()  # its file was moved or deleted, so writes to it would be lost

    def take_back(self, connection: Connection) -> None:
        """Keep a connection for the next operation, or close it."""
        if connection.file is not None and len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; the next operation opens a new one."""
        operation = object()
        try:
            _forks.enter(id(operation))
            _close_all(self._idle)
        finally:
            _forks.inside.pop(id(operation), None)

    def disown(self) -> None:
        """In a forked child: keep the parent's connections for ever, neither using nor closing them."""
        _disowned.extend(self._idle)
        self._idle.clear()

    def _open(self) -> Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = self._connect("mode=rwc")
        except sqlite3.OperationalError as error:
            if _primary_code(error) not in _NO_PERMISSION or not self._is_settled():
                raise
            # On read-only media SQLite cannot create its lock files. It can do without if nobody writes the file; but a
            # writer may come at any time, so such a connection serves one operation.
            return self._connect("mode=ro&immutable=1")
        connection.file = _file_at(self._file)
        return connection

    def _is_settled(self) -> bool:
        """Return whether everything written is in the file itself, with no log beside it."""
        return self.path.is_file() and not self.path.with_name(f"{self.path.name}-wal").exists()

    def _connect(self, query: str) -> Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?{query}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,  # autocommit in every Python version
            check_same_thread=False,
            factory=Connection,
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, only a power failure can lose a commit
            if not self._recognise(connection):
                self._initialise(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _recognise(self, connection: sqlite3.Connection) -> bool:
        """Return whether the file is ours, or False if it is still empty; otherwise raise StoreNotSupportedError."""
        identity = """
            SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
            FROM pragma_application_id, pragma_user_version
        """
        application_id, version, tables = connection.execute(identity).fetchone()
        if (application_id, version, tables) == (0, 0, 0):
            return False
        if application_id != _APPLICATION_ID:
            raise StoreNotSupportedError(
                f"{self.path} is the database of another program; choose another directory, or move the file away"
            )
        if version != _FORMAT:
            raise StoreNotSupportedError(
                f"{self.path} has format {version} and this s3memo knows format {_FORMAT}; "
                "upgrade s3memo, or choose another directory"
            )
        return True

    def _initialise(self, connection: sqlite3.Connection) -> None:
        self._switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        if not self._recognise(connection):  # unless another process was faster
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:  # SQLite does not wait here for others that switch too
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return


class Loan:
    """The context manager of `Database.connection`."""

    __slots__ = ("_connection", "_database", "_objects", "_purpose")

    def __init__(self, database: Database, purpose: str, objects: tuple[object, ...]) -> None:
        self._database = database
        self._purpose = purpose
        self._objects = objects

    def __enter__(self) -> sqlite3.Connection:
        try:
            _forks.enter(id(self))
            self._connection = self._database.lend()
        except BaseException as error:
            _forks.inside.pop(id(self), None)
            self._explain(error)
            raise
        return self._connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if error is None:
                self._database.take_back(self._connection)
            else:
                self._connection.close()  # rolls back
        except sqlite3.DatabaseError as failure:
            error = failure
        finally:
            _forks.inside.pop(id(self), None)
        if error is not None:
            self._explain(error)

    def __del__(self) -> None:
        """End a loan whose exit was interrupted before its first step: every fork would wait for it."""
        if id(self) in _forks.inside:
            with contextlib.suppress(AttributeError):  # interrupted even before it had one
                self._connection.close()
            del _forks.inside[id(self)]

    def _explain(self, error: BaseException) -> None:
        """Raise a StoreError in place of an error of sqlite3 or the system."""
        if isinstance(error, sqlite3.DatabaseError | OSError):
            purpose = self._purpose.format(*self._objects)
            raise _explained(error, f"could not {purpose} in {self._database.path}") from error


class _ForkGuard:
    """Lets fork() happen only between operations and with all connections closed.

    A child inherits SQLite's record of the locks that a process holds, but not the locks: even a connection opened in
    the child would rely on locks that nobody holds, and another process could delete the log under it.
    (https://www.sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork()")

    An operation enters through the `entrance`, and is `inside`, by its id and its thread's, until it removes itself. A
    fork polls for that: a lock would slow down every read, and an interruption could keep an operation from telling.
    """

    def __init__(self) -> None:
        self._databases: list[weakref.ref[Database]] = []
        self._reset()
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def watch(self, database: Database) -> None:
        """Watch a database as long as it lives.

        Does not take the `entrance`: the caller may hold a lock that fork() waits for while it holds the entrance.
        """
        self._databases.append(weakref.ref(database, self._databases.remove))

    def enter(self, operation: int) -> None:
        """Let an operation in, by its id, as soon as no fork is under way; it is to remove itself from `inside`."""
        thread = threading.get_ident()
        if thread in self.inside.values():  # as a signal's handler amidst another, for whose end a fork may wait
            self.inside[operation] = thread
        else:
            with self.entrance:
                self.inside[operation] = thread

    def _reset(self) -> None:
        self.entrance = threading.RLock()  # a signal handler may enter again
        self.inside: dict[int, int] = {}

    def _before(self) -> None:
        self.entrance.acquire()
        own = {threading.get_ident()}  # what this thread is amidst ends no sooner for being waited for
        deadline = time.monotonic() + _FORK_PATIENCE_SECONDS
        while not own.issuperset(self.inside.values()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        for database in self._alive():
            database.close()

    def _in_parent(self) -> None:
        self.entrance.release()

    def _in_child(self) -> None:
        self._reset()
        for database in self._alive():
            database.disown()

    def _alive(self) -> list[Database]:
        return [database for reference in [*self._databases] if (database := reference()) is not None]


_forks = _ForkGuard()
_disowned: list[Connection] = []


def _close_all(connections: list[Connection]) -> None:
    with contextlib.suppress(IndexError):  # the list may shrink meanwhile
        while True:
            connections.pop().close()


def _close_dropped(connections: list[Connection]) -> None:
    """Close a dropped database's connections, at whatever moment: a fork waits for that, but it does not wait for one."""
    try:
        _forks.inside[id(connections)] = threading.get_ident()
        _close_all(connections)
    finally:
        _forks.inside.pop(id(connections), None)


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  on every operation: a Path would take twice as long
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def _explained(error: sqlite3.DatabaseError | OSError, failure: str) -> StoreError:
    """Convert an error of sqlite3 or the system; the only place that does."""
    if isinstance(error, OSError):
        kind, remedy = _FORBIDDEN
        return kind(f"{failure}: {error.strerror}; {remedy}")
    kind, remedy = _REMEDIES.get(_primary_code(error), (StoreError, "this is unexpected: please report it"))
    return kind(f"{failure}: {error}; {remedy}")
