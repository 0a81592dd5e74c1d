"""One computation of a missing result across machines, best effort: the holder of a lease computes, the others wait.

The procedures yield steps as in `calls`: a callable that may wait for the store, or a Pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from s3memo.cache import Cache
from s3memo.entry import Hit, Miss
from s3memo.errors import SettingsError
from s3memo.events import Recorder
from s3memo.lease import Lease, polling
from s3memo.terms import Terms
from s3memo.versions import Key

T = TypeVar("T")

Steps: TypeAlias = Generator[Any, Any, T]

_leading: set[Lease] = set()
"""The leases of this process's computations; any of these may be waiting for any call here, whatever the thread."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A step that only waits, for some seconds; calling it blocks the thread."""

    seconds: float

    def __call__(self) -> None:
        time.sleep(self.seconds)


class Turn:
    """One call's part in deciding who computes its key, by a lease of `ttl` seconds billed to the function."""

    def __init__(self, cache: Cache, key: Key, terms: Terms, ttl: float) -> None:
        self._cache = cache
        self._key = key
        self._terms = terms
        self._lease = _Lease(key, cache, ttl, terms.recorder)
        self._taking = threading.Lock()
        self._is_over = False

    def computing(
        self, missed: Miss, look: Callable[[], Hit | Miss], compute: Callable[[Miss], Steps[T]]
    ) -> Steps[Hit | T]:
        """Return what `look` finds, now or while another machine computes, or else what `compute` returns and stores.

        Any trouble with the lease is reported and survived, and the result is computed for `missed`: a lease saves work
        and never decides what is right. What `compute` raises passes through.
        """
        result: Hit | T
        try:
            found = yield from self._waiting(missed, look)
            if isinstance(found, Hit):
                result = found
            else:
                if self._lease.held:
                    _leading.add(self._lease)
                try:
                    result = yield from compute(found)
                finally:
                    _leading.discard(self._lease)
        except GeneratorExit:  # no further steps are carried out
            self._give_back()
            raise
        except BaseException:
            yield self._give_back
            raise
        yield self._give_back
        return result

    def _waiting(self, missed: Miss, look: Callable[[], Hit | Miss]) -> Steps[Hit | Miss]:
        """Return what was found, or the last miss when it is time to compute, mostly because the lease is ours.

        When a holder has given its lease back without a result, nobody waits for a second one: perhaps there is none to
        be had. Nor does a process that holds a lease wait longer than another's lease lasts: that holder may be waiting
        for what is computed here.
        """
        waited = 0.0
        try:
            for pause in polling():
                if (yield self._take):
                    self._tell("computes for all machines", waited)
                    return (yield look)  # type: ignore[no-any-return]
                if self._lease.was_passed_on or (_leading and waited > self._lease.ttl):
                    self._tell("computes without the lease", waited)
                    return (yield look)  # type: ignore[no-any-return]
                if not waited:
                    self._tell(f"waits for {self._lease.holder}", waited)
                yield Pause(pause)
                waited += pause
                found = yield look
                if isinstance(found, Hit):
                    return found
        except SettingsError:
            raise
        except Exception as error:  # noqa: BLE001  a third-party store may raise anything
            self._terms.survive(error, self._key, "the lease failed, so the result is computed whoever else does")
        return missed

    def _tell(self, message: str, waited: float) -> None:
        self._terms.recorder.emit("lease", key=self._key, seconds=waited, message=message)

    def _take(self) -> bool:
        with self._taking, self._cache.asking(self._terms):
            return not self._is_over and self._lease.acquire(blocking=False)

    def _give_back(self) -> None:
        """Release the lease if it is ours, even if a cancelled task's attempt has just acquired it."""
        with self._taking:
            self._is_over = True
            if self._lease.held:
                with (
                    self._terms.fail_open(self._key, "the lease could not be given back, and lapses by itself"),
                    self._cache.asking(self._terms),
                ):
                    self._lease.release()


class _Lease(Lease):
    """The lease for one key of a function, which reports its trouble; it is not worth a second attempt to PUT."""

    _puts = 1

    def __init__(self, key: Key, cache: Cache, ttl: float, recorder: Recorder) -> None:
        super().__init__(str(key), cache, ttl=ttl)
        self._recorder = recorder
