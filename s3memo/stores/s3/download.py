"""Reading a large object: from one answer, while helpers fetch parts by requests of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from s3memo.errors import StoreError
from s3memo.locks import process_lock
from s3memo.stores.parts import HELPERS, PARALLEL, PART, Helpers, cut, room_for
from s3memo.stores.retry import Deadline
from s3memo.stores.s3.errors import FOREIGN_ERRORS, Request
from s3memo.stores.transfer import read_into

if TYPE_CHECKING:
    from s3memo.stores.s3.client import Answer, Connection


class _RangeIgnoredError(Exception):
    """The server sends the whole object whatever range it is asked for."""


class Download:
    """Reads the object from the answer to a GET; `options` are those of the GET.

    The answer is read from the front. Helpers fetch parts of a very large object from the back, until both meet. If the
    answer breaks off, the missing parts are requested. All go into one buffer.
    """

    def __init__(self, connection: Connection, url: str, options: Mapping[str, Any], answer: Answer) -> None:
        self._connection = connection
        self._url = url
        self._options = options
        self._answer = answer
        self._size: int = answer["ContentLength"]
        self._missing = deque(cut(self._size))
        self._position = 0
        self._progress = connection.progress(PART)
        self._has_ranges = True
        self._broken: Exception | None = None

    def read(self) -> bytearray:
        """Return the object's bytes. Raises StoreError."""
        with closing(self._answer["Body"]) as body:
            data = room_for(self._size, self._url)
            with memoryview(data) as view:
                self._read(body, view)
        return data

    def _read(self, body: Any, view: memoryview) -> None:
        def fetch() -> bool:
            return self._fetch_last(view)

        count = min(HELPERS, len(self._missing) - 1) if self._size >= PARALLEL else 0
        with Helpers(fetch, count, self._progress.cancel) as helpers:
            self._read_on(body, view, helpers)
            while not helpers.failed and self._has_ranges and fetch():
                pass
        if self._missing and self._broken is None:  # the server ignores ranges
            self._read_on(body, view, helpers)
        if self._broken is not None and self._missing:
            raise self._failure(self._broken) from self._broken

    def _read_on(self, body: Any, view: memoryview, helpers: Helpers) -> None:
        """Read the answer until helpers have taken the rest, or it breaks off.

        Before a part that a helper gave back may lie parts that helpers have brought: these are read again.
        """
        while not helpers.failed and self._missing:
            try:
                part = self._missing.popleft()
            except IndexError:  # a helper was faster
                return
            try:
                if part.stop > self._position:
                    read_into(view[self._position : part.stop], body, self._progress)
                    self._position = part.stop
            except FOREIGN_ERRORS as error:
                self._give_back(part)
                self._broken = error
                policy = self._progress.policy
                if policy.pause(tried=1, elapsed=self._progress.elapsed, jitter=0.0) is None:
                    raise self._failure(error) from error
                return

    def _failure(self, error: Exception) -> StoreError:
        return self._connection.failure(error, self._progress, Request("GET", self._url))

    def _give_back(self, part: slice) -> None:
        with process_lock:
            self._missing = deque(sorted([*self._missing, part], key=lambda missing: missing.start))

    def _fetch_last(self, view: memoryview) -> bool:
        try:
            part = self._missing.pop()
        except IndexError:
            return False
        wanted = {**self._options, "Range": f"bytes={part.start}-{part.stop - 1}"}

        def receive(answer: Answer, deadline: Deadline) -> None:
            with closing(answer["Body"]) as body:
                self._check(answer, part)
                read_into(view[part], body, deadline)

        try:
            self._connection.ask(
                "GET", self._url, lambda client, _: client.get_object(**wanted), receive, deadline=self._progress
            )
        except _RangeIgnoredError:
            self._has_ranges = False
            self._give_back(part)
            return False
        return True

    def _check(self, answer: Answer, part: slice) -> None:
        """Raise an error unless the answer is this part of the same object."""
        got = answer.get("ContentRange")
        if got is None:
            raise _RangeIgnoredError
        if answer.get("ETag") != self._answer.get("ETag") or not got.endswith(f"/{self._size}"):
            raise StoreError(f"{self._url} was replaced while it was read: read it again")
        if got != f"bytes {part.start}-{part.stop - 1}/{self._size}":
            raise ConnectionError(f"the server sent {got} and not bytes {part.start}-{part.stop - 1}/{self._size}")
