"""A circuit breaker: when to ask a store that has failed again (Nygard, Release It!, 2007)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from s3memo.errors import StoreUnavailableError
from s3memo.locks import process_lock
from s3memo.stores.clock import local_clock

Change: TypeAlias = Literal["opened", "closed"]

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which a store is skipped after its first failure, and at most; each failure in a row doubles them."""

_TROUBLE = (StoreUnavailableError, ConnectionError, TimeoutError)


class Breaker:
    """Skips a store for a while once it has used up an operation's attempts or time.

    When that pause is over, one caller asks the store again, and the others go on skipping it until that caller has an
    answer; at most for the longest pause, since a thread that ends with the interpreter brings none. `changes` counts
    how often the store was found to fail or to answer again.
    """

    def __init__(self, clock: Callable[[], float] = local_clock) -> None:
        self.changes = 0
        self._clock = clock
        self._failures = 0  # in a row
        self._reason = ""
        self._until = 0.0
        self._is_probed = False

    @property
    def pause(self) -> float:
        """How long the store is skipped after its current failures in a row, in seconds."""
        return float(min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE))

    @property
    def is_open(self) -> bool:
        """Whether the store failed when it was last asked."""
        return self._failures > 0

    def check(self) -> None:
        """Raise StoreUnavailableError if the store is to be skipped; otherwise the caller is to ask it."""
        if not self._failures:  # no lock, which would make the threads of a batch queue
            return
        with process_lock:
            left = self._until - self._clock()
            if 0 < left <= (LONGEST_PAUSE if self._is_probed else self.pause):  # more: the clock was set back
                when = "while another call asks it" if self._is_probed else f"for another {left:.1f} s"
                raise StoreUnavailableError(f"the store is left alone {when}, because it failed: {self._reason}")
            self._is_probed = True
            self._until = self._clock() + LONGEST_PAUSE

    def give_back(self) -> None:
        """Let another caller ask after the usual pause, because this one was interrupted before it had an answer."""
        with process_lock:
            if self._is_probed:
                self._is_probed = False
                self._until = self._clock() + self.pause

    def learn(self, outcome: Exception | None, *, since: int) -> Change | None:
        """Learn the outcome of an operation, and return what that changes. Any answer at all counts as success.

        `since` is the value of `changes` when it began: a failure begun before the last change has no effect.
        """
        is_trouble = isinstance(outcome, _TROUBLE)
        if not is_trouble and not self._failures:  # as above
            return None
        with process_lock:
            is_news = since == self.changes if is_trouble else self._failures > 0
            if not is_news:
                return None
            self.changes += 1
            self._failures = self._failures + 1 if is_trouble else 0
            self._reason = str(outcome)
            self._until = self._clock() + self.pause
            self._is_probed = False
        return "opened" if is_trouble else "closed"
