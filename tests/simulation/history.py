"""What happened, in the order in which it really happened, and what a reader may then see.

An operation is `begun` and `ended` at ticks of the world; one that never ended may have taken effect at any time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["write", "invalidate", "clear"]


class LostWriteError(AssertionError):
    """An acknowledged write is not what a listing read returns, though nothing later excuses it."""


class StaleReadError(AssertionError):
    """A reader got a value that an acknowledged, later write had replaced."""


class ResurrectedError(AssertionError):
    """A reader got a value whose computation began before an acknowledged invalidation."""


class InventedError(AssertionError):
    """A reader got what was never written under that key."""


@dataclass(eq=False)
class Operation:
    """One write, invalidation or clear of a key.

    `computed` is the tick at which the computation of a written value began. `acknowledged` says that the caller was
    told of its success; a killed operation has an end but no acknowledgement. A computation's caller is promised a value,
    and not that it is stored: it counts as a write if it wrote and did not take that back. Others are `promised`.
    """

    kind: Kind
    key: str
    process: object
    begun: int
    value: str = ""
    computed: int = 0
    ended: float = math.inf
    promised: bool = False
    acknowledged: bool = False


@dataclass
class History:
    """All operations so far."""

    operations: list[Operation] = field(default_factory=list)

    def check_read(self, key: str, value: str | None, *, process: object = None, before: float = math.inf) -> None:
        """Judge what a reader that began at tick `before` got; with `process`, by that process's own doings alone."""
        known = [
            operation
            for operation in self.operations
            if operation.key == key and (process is None or operation.process is process)
        ]
        acknowledged = [operation for operation in known if operation.acknowledged and operation.ended < before]
        if value is None:
            self._check_absence(key, known, acknowledged)
            return
        source = next((op for op in self.operations if op.value == value and op.key == key), None)
        if source is None:
            raise InventedError(f"{key} reads {value!r}, which nobody wrote under it")
        for other in acknowledged:
            if other.kind == "write" and other.begun > source.ended:
                raise StaleReadError(f"{key} reads {value}, but {other.value} was acknowledged later")
            if other.kind == "invalidate" and source.computed < other.begun:
                raise ResurrectedError(f"{key} reads {value}, computed before an acknowledged invalidation")
            if other.kind == "clear" and source.ended < other.begun:
                raise ResurrectedError(f"{key} reads {value}, acknowledged before an acknowledged clear")

    @staticmethod
    def _check_absence(key: str, known: list[Operation], acknowledged: list[Operation]) -> None:
        for write in acknowledged:
            excused = any(other.kind != "write" and other.ended > write.begun for other in known)
            if write.kind == "write" and not excused:
                raise LostWriteError(f"{key} reads nothing, but {write.value} was acknowledged")
