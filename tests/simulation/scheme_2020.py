"""The scheme of 2020, in its own words: a new object for every change, read the last, delete the others."""

from __future__ import annotations

from collections.abc import Callable

from s3memo.errors import StoreError
from tests.simulation.world import SimulatedStore


class Scheme2020:
    """State under `<key>.<epoch ms>`, as it was written by hand into many serverless jobs."""

    def __init__(self, store: SimulatedStore) -> None:
        self.store = store

    def get(self, key: str) -> str | None:
        try:
            names = self._page(key)
        except StoreError:
            return None
        return bytes(self.store.get(names[-1])).decode() if names else None

    def set(self, key: str, value: str) -> None:
        self.store.put(f"{key}.{int(self.store.local_time() * 1000)}", value.encode())
        self.store.delete(self._page(key)[:-1])

    def fetch(self, key: str, compute: Callable[[], str]) -> str:
        value = self.get(key)
        if value is None:
            value = compute()
            self.set(key, value)
        return value

    refresh = fetch

    def invalidate(self, key: str) -> None:
        self.store.delete(self._page(key))

    clear = invalidate

    def _page(self, key: str) -> list[str]:
        return [info.key for info in self.store.list(key, limit=self.store.page_size)]
