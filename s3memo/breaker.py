"""When to ask a store that has failed again: a circuit breaker (Nygard, Release It!, 2007)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from s3memo.errors import StoreUnavailableError
from s3memo.locks import process_lock
from s3memo.stores.clock import local_clock

Change: TypeAlias = Literal["opened", "closed"]

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which a store is left alone after its first failure in a row, and at most; each failure doubles them."""

_TROUBLE = (StoreUnavailableError, ConnectionError, TimeoutError)


class Breaker:
    """Lets a store be left alone for a while once it has used up an operation's attempts or time.

    When that while is over one caller asks it again, and the others only once that one had an answer.
    """

    def __init__(self, clock: Callable[[], float] = local_clock) -> None:
        self._clock = clock
        self._failures = 0  # in a row
        self._until = 0.0
        self._is_probed = False

    @property
    def pause(self) -> float:
        """For how many seconds the store is left alone after the failures that it has had in a row."""
        return float(min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE))

    def check(self) -> None:
        """Raise StoreUnavailableError if the store is to be left alone; else the caller is to ask it."""
        if not self._failures:
            return
        with process_lock:
            left = self._until - self._clock()
            if 0 < left <= self.pause:  # more would mean that the clock was set back
                raise StoreUnavailableError(f"the store failed, and is left alone for another {left:.1f} s")
            self._is_probed = True
            self._until = self._clock() + self.pause  # for all but this caller

    def learn(self, outcome: Exception | None) -> Change | None:
        """Learn how an operation on the store ended, and return what that changes. Any answer at all is a good end."""
        is_trouble = isinstance(outcome, _TROUBLE)
        if not is_trouble and not self._failures:
            return None
        with process_lock:
            if not is_trouble:
                self._failures = 0
                return "closed"
            if self._failures and not self._is_probed and self._clock() < self._until:
                return None  # it was under way when the store was found to fail
            self._failures += 1
            self._is_probed = False
            self._until = self._clock() + self.pause
            return "opened"
