"""A quota for a directory of copies, by a count that all processes share; the least recently used copies are evicted.

The directory has a folder for each of 256 shards, `incoming` for files being fetched or written, and two files:
`usage`, a count of bytes for each shard, and `evicting`, locked by the one process that makes room. A count is raised
before a file gets its name, and lowered only after a look at what is there, so a process killed at any point leaves it
too high, never too low. A file in `incoming` is locked while it is written. Sizes are in whole blocks of 4 KiB, as on
disk.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

SHARDS = 256
NAME = re.compile("[0-9a-f]{32}")
"""The names of copies; the first two digits are the shard. Files of other names are neither counted nor deleted."""

_BLOCK = 4096
_SAMPLE = 10_000
"""How many files are looked at to make room: a larger number is judged by this sample, which takes about 0.1 s."""

_SPARED = 10
"""One in this many parts is evicted at a time, so that not every write has to make room."""

_UNKNOWN = 2**62
"""Stands for a lost count: more than any disk, so that the next write looks at what is there."""

_PATIENCE = (0.0, *(0.001 * 2**attempt for attempt in range(9)))
"""Seconds between attempts to lock a file, 0.5 in all: others hold it for microseconds, or 0.1 s to make room."""

_STALE = 3600.0
"""Seconds without a write after which a file counts as left behind by a killed process, even if it is locked."""

_YOUNG = 10.0
"""In seconds. A younger file may not be locked yet."""

_AHEAD = 60.0
"""In seconds. A use dated further ahead was before the clock was set back, and its true time is unknown."""


class Found(NamedTuple):
    """An existing copy: its size on disk in bytes, and when it was last used, in POSIX seconds."""

    path: str
    size: int
    used: float


def footprint(size: int) -> int:
    """Return how many bytes a file of `size` bytes takes on disk."""
    return -(-size // _BLOCK) * _BLOCK


def doomed(found: Iterable[Found], size: int, *, most: int) -> list[Found]:
    """Return the least recently used copies that take `size` bytes together, at most `most` of them."""
    gone = []
    for copy in sorted(found, key=lambda copy: copy.used)[:most]:
        if size <= 0:
            break
        size -= copy.size
        gone.append(copy)
    return gone


class Quota:
    """Keeps the total size of a directory's copies below `max_bytes`. Its methods raise OSError.

    `clock` returns POSIX seconds. Safe to call from many threads and processes; nothing is held open between calls.
    """

    def __init__(self, directory: str, max_bytes: int, clock: Callable[[], float]) -> None:
        self.incoming = os.path.join(directory, "incoming")  # noqa: PTH118  as everywhere here: a hit should cost microseconds
        self._directory = directory
        self._max_bytes = max_bytes
        self._clock = clock
        self._stuck = set[str]()

    def admit(self, shard: int, size: int, temporary: str) -> bool:
        """Count a file of `size` bytes, existing as `temporary`; return False if there is no room and none can be made.

        There is no room for a file above the bound, nor while another process takes long to make some.
        """
        taken = footprint(size)
        if taken > self._max_bytes:
            return False
        if self._reserve(shard, taken):
            return True
        with self._locked("evicting") as descriptor:
            if descriptor is None:
                return False
            if self._reserve(shard, taken):  # the process we waited for has made room
                return True
            self._make_room(taken, temporary)
        return self._reserve(shard, taken)

    def give_way(self, size: int) -> None:
        """On a full disk, delete the least recently used: `size` bytes, and a share of what is there."""
        with self._locked("evicting") as descriptor:
            if descriptor is None:  # another process is doing so
                return
            self.sweep()
            _, found = self._sample([*range(SHARDS)])
            share = sum(copy.size for copy in found) // _SPARED
            for copy in doomed(found, footprint(size) + share, most=len(found)):
                with suppress(FileNotFoundError):
                    os.unlink(copy.path)  # noqa: PTH108

    def sweep(self, *, own: str = "") -> Counter[int]:
        """Delete files that killed processes left unfinished; return the bytes that others are writing, by shard."""
        writing: Counter[int] = Counter()
        with os.scandir(self.incoming) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not NAME.fullmatch(entry.name) or entry.path == own or not entry.is_file(follow_symlinks=False):
                        continue
                    age = abs(self._clock() - status.st_mtime)
                    if age > _STALE or (age > _YOUNG and _is_abandoned(entry.path)):
                        os.unlink(entry.path)  # noqa: PTH108
                    else:
                        writing[int(entry.name[:2], 16)] += footprint(status.st_size)
        return writing

    def _reserve(self, shard: int, size: int) -> bool:
        with self._counts() as counts:
            if sum(counts) + size > self._max_bytes:
                return False
            counts[shard] += size
            return True

    def _make_room(self, size: int, own: str) -> None:
        """Look at everything, or at sample after sample, until `size` more bytes fit."""
        first = os.urandom(1)[0]
        left = [(first + number) % SHARDS for number in range(SHARDS)]
        spare = self._max_bytes // _SPARED
        while left:
            with self._counts() as counts:
                before = counts[:]
            # Before the shards: a file that is moved meanwhile is counted twice rather than not at all.
            writing = self.sweep(own=own)
            shards, found = self._sample(left)
            elsewhere = sum(count for shard, count in enumerate(before) if shard not in shards)
            here = Counter({shard: writing[shard] for shard in shards})
            for copy in found:
                here[_shard_of(copy.path)] += copy.size
            excess = elsewhere + here.total() + size - self._max_bytes
            if excess > 0 and elsewhere < _UNKNOWN:
                most = len(found) if len(shards) == SHARDS else max(1, len(found) // _SPARED)
                for copy in doomed(found, excess + spare, most=most):
                    with suppress(FileNotFoundError):
                        os.unlink(copy.path)  # noqa: PTH108
                    here[_shard_of(copy.path)] -= copy.size
            with self._counts() as counts:
                for shard in shards:
                    counts[shard] = min(max(0, here[shard] + counts[shard] - before[shard]), _UNKNOWN)
                if sum(counts) + size <= self._max_bytes:
                    return

    def _sample(self, left: list[int]) -> tuple[set[int], list[Found]]:
        """Take shards off `left` until there are enough files to judge by; return these shards and their files."""
        shards: set[int] = set()
        found: list[Found] = []
        known = self._clock() + _AHEAD
        while left and len(found) < _SAMPLE:
            shard = left.pop()
            shards.add(shard)
            with suppress(FileNotFoundError), os.scandir(f"{self._directory}/{shard:02x}") as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        if NAME.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False):
                            status = entry.stat(follow_symlinks=False)
                            used = status.st_mtime if status.st_mtime < known else 0.0
                            found.append(Found(entry.path, footprint(status.st_size), used))
        return shards, found

    @contextmanager
    def _counts(self) -> Iterator[array[int]]:
        """Lend the counts, and write them back if changed. Raises TimeoutError."""
        with self._locked("usage") as descriptor:
            if descriptor is None:
                raise TimeoutError(f"another process keeps {self._directory}/usage locked")
            raw = os.pread(descriptor, 8 * SHARDS, 0)
            counts = array("Q", raw if len(raw) == 8 * SHARDS else array("Q", [_UNKNOWN] * SHARDS).tobytes())
            yield counts
            if counts.tobytes() != raw:
                os.pwrite(descriptor, counts.tobytes(), 0)

    @contextmanager
    def _locked(self, name: str) -> Iterator[int | None]:
        """Like `_locked` below, but once waited for in vain, as for a stopped process, a file is tried only once."""
        patience = _PATIENCE[:1] if name in self._stuck else _PATIENCE
        with _locked(f"{self._directory}/{name}", patience=patience) as descriptor:
            (self._stuck.add if descriptor is None else self._stuck.discard)(name)
            yield descriptor


def _shard_of(path: str) -> int:
    return int(path[-32:-30], 16)


@contextmanager
def _locked(path: str, *, patience: tuple[float, ...]) -> Iterator[int | None]:
    """Lend a file descriptor locked against other threads and processes, or None if another keeps the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if any(try_lock(descriptor, pause) for pause in patience) else None
    finally:
        unlock(descriptor)


def _is_abandoned(path: str) -> bool:
    """Whether nobody writes a file any more: a writer holds its lock, which dies with it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, pause: float = 0.0) -> bool:
    """Try to lock a file, after `pause` seconds; return whether that succeeded."""
    if pause:  # even sleep(0) takes time
        time.sleep(pause)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Unlock and close a file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has it open too
    os.close(descriptor)
