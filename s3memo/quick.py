"""Memory hits without deriving a key: a C lru_cache maps a call's arguments to the value in memory.

It treats arguments that are equal and of equal types as the same. So it serves only types for which that is true: None,
bool, int, short str and bytes, and floats other than zero, which has a sign. All other arguments go by their key.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from s3memo.events import Tally

_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_CALLS = 4096
_LONGEST = 256  # characters or bytes; the cache keeps the arguments of _CALLS calls alive


class NotQuickError(Exception):
    """These arguments go by their key."""


class Cell:
    """What a call's arguments lead to: a value, until when it may be served (by `settings.quick_clock`), and a tally.

    The three are one `lease`, so that a reader gets them consistently without a lock.
    """

    __slots__ = ("__weakref__", "lease")

    def __init__(self) -> None:
        self.lease = _NO_LEASE

    def close(self) -> None:
        """Drop the value; serve nothing more."""
        self.lease = _NO_LEASE


_NO_LEASE: tuple[Any, float, Tally] = None, -math.inf, Tally()

Cells = Callable[..., Cell]
"""Maps a call's arguments to its cell. Raises what their hashes raise, and NotQuickError."""


def cells() -> Cells:
    """Return an empty map from arguments to cells."""
    return functools.lru_cache(_CALLS, typed=True)(_cell)


def no_cells_yet(*_args: object) -> Cell:
    """The cells of a function that has not been called with quick arguments yet."""
    raise NotQuickError


def no_cells(*_args: object) -> Cell:
    """The cells of a function that can have none."""
    raise NotQuickError


def are_quick(args: tuple[Any, ...]) -> bool:
    """Whether arguments equal to these and of the same types always mean the same call."""
    return _ATOMS.issuperset(map(type, args)) and all(
        bool(arg) if type(arg) is float else len(arg) <= _LONGEST if type(arg) in {str, bytes} else True for arg in args
    )


def _cell(*args: Any) -> Cell:
    if not are_quick(args):
        raise NotQuickError
    return Cell()
