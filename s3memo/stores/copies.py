"""Copies of immutable objects in a directory on this machine, each in a file that ends in a hash of the rest.

Plain files, because a file of any size is read in one copy and replaced atomically, its modification time records its
last use without a lock, and deleting it frees the disk. SQLite frees no disk space and takes no object of 1 GiB, and
diskcache unpickles what it finds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from blake3 import blake3

from s3memo.stores.base import Buffer
from s3memo.stores.claims import Claims
from s3memo.stores.quota import Quota, try_lock
from s3memo.stores.transfer import flat

_CHECK_BYTES = 32
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Copies:
    """Copies in a directory that only this user can write to, created on first use. Methods raise OSError.

    Safe for many threads and processes, however they end, and for fork(). `clock` returns POSIX seconds.
    """

    def __init__(self, directory: str, max_bytes: int, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._quota = Quota(directory, max_bytes, clock)
        self._claims = Claims(self._quota.incoming)
        self._is_ready = False

    def read(self, object_key: str) -> bytearray | None:
        """Return an object's bytes, or None if there is no copy. A damaged copy is deleted and raises OSError."""
        self._prepare()
        name = _name_of(object_key)
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            data = _read_whole(descriptor, name)
            if data is not None:
                with suppress(OSError):  # on a read-only disk it can be read, but not dated
                    self._date(descriptor)
                return data
        finally:
            os.close(descriptor)
        self.drop(object_key)
        raise OSError(f"the copy {path} of {object_key} was damaged, and is deleted")

    def keep(self, object_key: str, data: Buffer) -> None:
        """Write a copy, whole or not at all, if there is room. If the disk is full, make room for the next one."""
        self._prepare()
        try:
            self._keep(_name_of(object_key), flat(data))
        except FileNotFoundError:  # the directory was deleted
            self._is_ready = False
            self._prepare()
            self._keep(_name_of(object_key), flat(data))
        except OSError as error:
            if error.errno in _FULL:
                self._quota.give_way(memoryview(data).nbytes + _CHECK_BYTES)
            raise

    def drop(self, object_key: str) -> None:
        """Delete the copy, if there is one."""
        self._prepare()
        with suppress(FileNotFoundError):
            os.unlink(self._path(_name_of(object_key)))  # noqa: PTH108  as in quota

    def claimed(self, object_key: str) -> AbstractContextManager[None]:
        """Fetch an object that was not found here while nobody else fetches it; see Claims."""
        return self._claims.claimed(_name_of(object_key)) if self._is_ready else nullcontext()

    def _keep(self, name: str, data: memoryview) -> None:
        temporary = os.path.join(self._quota.incoming, name[:2] + os.urandom(15).hex())  # noqa: PTH118
        size = len(data) + _CHECK_BYTES
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                if not try_lock(descriptor):
                    raise FileNotFoundError(f"{temporary} was taken for what a killed process has left")
                os.ftruncate(descriptor, size)  # whoever makes room sees its final size at once
                is_written = self._quota.admit(int(name[:2], 16), size, temporary)
                if is_written:
                    _write(descriptor, data)
                    _write(descriptor, memoryview(_check_of(name, data)))
                    self._date(descriptor)
                    self._place(temporary, self._path(name))  # while it is locked
                    return
            finally:
                os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
        os.unlink(temporary)  # noqa: PTH108

    def _place(self, temporary: str, path: str) -> None:
        try:
            os.replace(temporary, path)  # noqa: PTH105
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(os.path.dirname(path), 0o700)  # noqa: PTH102, PTH120
            os.replace(temporary, path)  # noqa: PTH105

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name[:2]}/{name}"

    def _date(self, descriptor: int) -> None:
        now = self._clock()
        os.utime(descriptor, (now, now))

    def _prepare(self) -> None:
        """Create the directory; raise PermissionError if other users could write to it."""
        if self._is_ready:
            return
        os.makedirs(os.path.dirname(self._directory), exist_ok=True)  # noqa: PTH103, PTH120
        for path in (self._directory, self._quota.incoming):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)  # noqa: PTH102
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS_MAY_WRITE:
                raise PermissionError(
                    f"{path} is no directory that only this user can write in: choose another for local="
                )
        self._quota.sweep()
        self._is_ready = True


def _name_of(object_key: str) -> str:
    return hashlib.blake2b(object_key.encode(), digest_size=16).hexdigest()


def _check_of(name: str, data: bytearray | memoryview) -> bytes:
    """Return the hash by which a copy is known to be whole and under its own name."""
    check = blake3(name.encode())
    check.update(data)
    return check.digest()


def _read_whole(descriptor: int, name: str) -> bytearray | None:
    size = os.fstat(descriptor).st_size - _CHECK_BYTES
    if size < 0:
        return None
    data, check = bytearray(size), bytearray(_CHECK_BYTES)
    is_whole = _fill(descriptor, memoryview(data)) and _fill(descriptor, memoryview(check))
    return data if is_whole and check == _check_of(name, data) else None


def _fill(descriptor: int, target: memoryview) -> bool:
    while len(target):
        count = os.readv(descriptor, [target])
        if not count:
            return False
        target = target[count:]
    return True


def _write(descriptor: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(descriptor, data) :]
