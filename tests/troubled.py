"""A clock that a test sets, and a store that fails as it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s3memo import MemoryStore
from s3memo.errors import StoreUnavailableError
from s3memo.stores.base import Buffer, PutMode


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class TroubledStore(MemoryStore):
    """Does as told before it puts, gets or deletes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.before_put: Callable[[str], None] = lambda _: None
        self.before_get: Callable[[str], None] = lambda _: None
        self.before_delete: Callable[[], None] = lambda: None
        self.loses_answers = False

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        self.before_put(object_key)
        super().put(object_key, data, mode=mode)
        if self.loses_answers:
            raise StoreUnavailableError("lost")

    def get(self, object_key: str) -> bytes:
        self.before_get(object_key)
        return super().get(object_key)

    def delete(self, object_keys: Any) -> None:
        self.before_delete()
        super().delete(object_keys)


def once(action: Callable[[], Any]) -> Callable[..., None]:
    """Do something the first time only."""
    todo = [action]

    def act(*_: Any) -> None:
        if todo:
            todo.pop()()

    return act


def raising(error: Exception) -> Callable[..., Any]:
    def act(*_: Any, **__: Any) -> Any:
        raise error

    return act
