"""A store that keeps nothing, so that a process holds results in its memory tier only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from s3memo import NotFoundError, ObjectInfo, TimeBounds
from s3memo.stores.base import Buffer, PutMode


class ForgetfulStore:
    """Accepts everything and holds nothing."""

    url = "memory://forgetful"
    enforces_create_only = False

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:  # noqa: ARG002
        """Yield nothing."""
        return iter(())

    def get(self, object_key: str) -> Buffer:
        """Raise NotFoundError."""
        raise NotFoundError(f"nothing is kept, nor {object_key!r}")

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Discard the object."""

    def delete(self, object_keys: Iterable[str]) -> None:
        """Do nothing."""

    def time(self) -> TimeBounds:
        """Return this machine's clock."""
        now = time.time()
        return TimeBounds(now, now)
