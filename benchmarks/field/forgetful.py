"""A store that keeps nothing, so that what a process holds is its memory tier alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from s3memo import NotFoundError, ObjectInfo, TimeBounds
from s3memo.stores.base import Buffer, PutMode


class ForgetfulStore:
    """Takes everything and has nothing."""

    url = "memory://forgetful"
    enforces_create_only = False

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:  # noqa: ARG002
        """Yield nothing."""
        return iter(())

    def get(self, object_key: str) -> Buffer:
        """Raise NotFoundError."""
        raise NotFoundError(f"nothing is kept, nor {object_key!r}")

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Forget it."""

    def delete(self, object_keys: Iterable[str]) -> None:
        """Do nothing."""

    def time(self) -> TimeBounds:
        """Return this machine's clock."""
        now = time.time()
        return TimeBounds(now, now)
