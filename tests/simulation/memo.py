"""The memo protocol as one simulated process uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from s3memo.cache import Cache
from s3memo.calls import Call, fetching, refreshing
from s3memo.collect import gc
from s3memo.events import Recorder
from s3memo.freshness import Policy
from s3memo.terms import Terms
from s3memo.threads import run
from s3memo.versions import Key
from tests.simulation.world import SimulatedStore


class Memo:
    """s3memo's own Cache over a simulated store. Each logical key has a tag of its own, so that it can be cleared."""

    def __init__(self, store: SimulatedStore) -> None:
        self.cache = Cache(store, on_error="raise")
        self.terms = Terms(Recorder("job"), Policy(), keep=1, on_error="raise")

    @staticmethod
    def key(key: str) -> Key:
        return Key("job", key, "0" * 32)

    def get(self, key: str) -> str | None:
        entry = self.cache.get(self.key(key), self.terms)
        return None if entry is None else entry.value

    def set(self, key: str, value: str) -> None:
        self.cache.set(self.key(key), self.terms, value)

    def fetch(self, key: str, compute: Callable[[], str]) -> str:
        with self.cache.flights.begin(self.key(key)) as flight:
            return run(call := self._call(key, compute), fetching(call, flight)).value

    def refresh(self, key: str, compute: Callable[[], str]) -> str:
        with self.cache.flights.begin(self.key(key)) as flight:
            return run(call := self._call(key, compute), refreshing(call, flight)).value

    def _call(self, key: str, compute: Callable[[], str]) -> Call:
        return Call(self.cache, self.key(key), self.terms, compute, lambda: self.key(key))

    def invalidate(self, key: str) -> None:
        self.cache.invalidate(self.key(key), self.terms)

    def collect(self, grace: float) -> None:
        gc(self.cache, grace=grace)

    def clear_memory(self) -> None:
        self.cache.forget(lambda _: True)

    def clear(self, key: str) -> None:
        self.cache.clear(f"v1/memo/job/{key}/", lambda other: other.tag == key, self.terms)


class MemoOfOneFunction(Memo):
    """The same, with all keys below one prefix, so that a page of names shows several."""

    @staticmethod
    def key(key: str) -> Key:
        return Key("job", "0", hashlib.blake2b(key.encode(), digest_size=16).hexdigest())
