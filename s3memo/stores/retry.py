"""Retries and deadlines: how often a store is asked, how long it is waited for, and when to give up."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from s3memo.errors import SettingsError, StoreUnavailableError

Result = TypeVar("Result")

_FIRST_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of one operation on a store; times in seconds.

    An attempt may take `connect_timeout` to connect, and then `read_timeout` without a sign from the server.
    `operation_timeout` bounds all attempts together, including the transfer; for an object of 8 MiB or more, each 8 MiB
    may take that long. A server name may have several addresses: if none answers, connecting takes that long for each.
    """

    attempts: int = 3
    operation_timeout: float = 15.0
    connect_timeout: float = 3.0
    read_timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise SettingsError(f"attempts={self.attempts} must be at least 1")
        if min(self.connect_timeout, self.read_timeout) <= 0:
            raise SettingsError(
                f"connect_timeout={self.connect_timeout} and read_timeout={self.read_timeout} must be above 0 seconds"
            )
        if self.longest_silence > self.operation_timeout:
            raise SettingsError(
                f"connect_timeout={self.connect_timeout} and read_timeout={self.read_timeout} together must not exceed "
                f"operation_timeout={self.operation_timeout}"
            )

    @property
    def longest_silence(self) -> float:
        """How long one attempt waits for a silent server, in seconds."""
        return self.connect_timeout + self.read_timeout

    def pause(self, *, tried: int, elapsed: float, jitter: float) -> float | None:
        """Return how many seconds to wait after `tried` attempts, or None if another might not end in time.

        `jitter` is random in [0, 1): "full jitter" (Brooker, Exponential Backoff and Jitter, 2015).
        """
        pause = jitter * _FIRST_PAUSE * 2 ** (tried - 1)
        in_time = elapsed + pause + self.longest_silence <= self.operation_timeout
        return pause if in_time and tried < self.attempts else None


class Deadline:
    """The deadline of an operation, by an injected clock."""

    def __init__(self, clock: Callable[[], float], policy: RetryPolicy) -> None:
        self.policy = policy
        self._clock = clock
        self._begun = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the operation began."""
        return self._clock() - self._begun

    def left(self) -> float:
        """Return the seconds left, or raise TimeoutError."""
        expired = self.expired()
        if expired is not None:
            raise expired
        return self.policy.operation_timeout - self.elapsed

    def expired(self) -> TimeoutError | None:
        """Return the TimeoutError if no time is left, or None."""
        timeout = self.policy.operation_timeout
        if self.elapsed < timeout:
            return None
        return TimeoutError(self._explain(timeout))

    def moved(self, count: int) -> None:
        """Note that `count` more bytes have moved."""

    def _explain(self, timeout: float) -> str:
        return f"not done within operation_timeout={timeout:g} seconds, which large objects may need more of"


class Progress(Deadline):
    """A deadline that starts anew whenever another `step` bytes were moved, by any thread."""

    def __init__(self, clock: Callable[[], float], policy: RetryPolicy, step: int) -> None:
        super().__init__(clock, policy)
        self._step = step
        self._moved = 0
        self._is_cancelled = False

    def moved(self, count: int) -> None:
        """Note that `count` more bytes have moved."""
        self._moved += count
        if self._moved >= self._step and not self._is_cancelled:
            self._moved = 0
            self._begun = self._clock()

    def cancel(self) -> None:
        """Leave no more time."""
        self._is_cancelled = True
        self._begun = -math.inf

    def _explain(self, timeout: float) -> str:
        return f"no more than {self._moved:,} bytes moved within operation_timeout={timeout:g} seconds"


def until_answered(attempt: Callable[[int], Result], deadline: Deadline, sleep: Callable[[float], None]) -> Result:
    """Return what an attempt returns; repeat it, with its number from 1 on, after each StoreUnavailableError.

    Raises the last error once the policy allows no further attempt.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return attempt(tried)
        except StoreUnavailableError:
            jitter = random.random()  # noqa: S311  spreads load; no secret
            pause = deadline.policy.pause(tried=tried, elapsed=deadline.elapsed, jitter=jitter)
            if pause is None:
                raise
        sleep(pause)
