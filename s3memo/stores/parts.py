"""Large objects in parts: how they are cut, buffered, and transferred by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

from s3memo.errors import StoreError
from s3memo.locks import process_lock, rebuild_after_fork

MIB = 1024 * 1024
PART = 8 * MIB
"""In bytes. An object of this size or more is written to S3 in parts of this size; a read may be split likewise."""

MAX_PARTS = 10_000
"""The most parts that S3 allows for an object."""

PARALLEL = 32 * MIB
"""In bytes. Larger objects are read over several connections."""

HELPERS = 3
"""How many threads transfer one object beside the caller's."""

_MOST_HELPERS = 12


def cut(size: int) -> list[slice]:
    """Return the parts of an object: of 8 MiB, or of more whole MiB where there would be over 10,000 parts."""
    part = max(PART, -(-size // (MAX_PARTS * MIB)) * MIB)
    return [slice(start, min(start + part, size)) for start in range(0, size, part)]


def room_for(size: int, name: str) -> bytearray:
    """Return a buffer for an object of `size` bytes. Raises StoreError, naming the object, if there is no memory."""
    try:
        return bytearray(size)
    except (MemoryError, OverflowError) as error:
        raise StoreError(
            f"cannot read {name}: the server says that it has {size:,} bytes, and this process has no memory for so many; "
            "give it more, or delete the object"
        ) from error


class _Crew:
    """Limits the helpers of this process over all transfers: many transfers at once need none."""

    def __init__(self) -> None:
        self._reset()
        rebuild_after_fork(self._reset)

    def hire(self, count: int) -> int:
        """Return how many of `count` helpers may start."""
        with process_lock:
            hired = min(count, self._free)
            self._free -= hired
            return hired

    def dismiss(self, count: int) -> None:
        """Release `count` helpers."""
        with process_lock:
            self._free += count

    def _reset(self) -> None:
        self._free = _MOST_HELPERS


_crew = _Crew()


class Helpers:
    """Threads that repeat a step until it returns False or fails, while the block does its own; then waits for them.

    When one of them or the block fails, `cancel` is called to make all others end soon; the first error is raised.
    """

    def __init__(self, step: Callable[[], bool], count: int, cancel: Callable[[], None]) -> None:
        self._step = step
        self._cancel = cancel
        self._hired = _crew.hire(count)
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        for _ in range(self._hired):
            thread = threading.Thread(target=copy_context().run, args=(self._work,), name="s3memo-part", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is exiting: go on alone
                break
            self._threads.append(thread)
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        try:
            if error is not None:
                self._fail(error)
            for thread in self._threads:
                thread.join()
        finally:
            _crew.dismiss(self._hired)
        if self._error is not None and self._error is not error:
            raise self._error

    @property
    def failed(self) -> bool:
        """Whether one of them has failed."""
        return self._error is not None

    def _work(self) -> None:
        try:
            while not self.failed and self._step():
                pass
        except BaseException as error:  # noqa: BLE001  raised where they are waited for
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with process_lock:
            is_first = self._error is None
            self._error = self._error or error
        if is_first:
            self._cancel()


def share(step: Callable[[], bool], count: int, cancel: Callable[[], None]) -> None:
    """Repeat a step until it returns False, with up to `count` helpers; raise the first error."""
    with Helpers(step, count, cancel) as helpers:
        while not helpers.failed and step():
            pass
