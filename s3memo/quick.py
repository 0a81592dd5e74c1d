"""Memory hits without a key: a C lru_cache leads from a call's arguments to what memory holds for them.

It takes arguments for the same that are equal and of the same types, so it is for those only of whose types no two equal
values differ: None, bool, int, short str and bytes, and floats but zero, which has a sign. All others go by their key.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from s3memo.events import Tally

_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_CALLS = 4096
_LONGEST = 256  # characters or bytes: the arguments of so many calls stay in the process


class NotQuickError(Exception):
    """These arguments go by their key."""


class Cell:
    """What a call's arguments lead to: a value, until when it may be served by `settings.quick_clock`, and a tally.

    The three are in one `lease`, so that whoever reads it gets what belongs together.
    """

    __slots__ = ("__weakref__", "lease")

    def __init__(self) -> None:
        self.lease = _NO_LEASE

    def close(self) -> None:
        """Serve nothing, and keep nothing."""
        self.lease = _NO_LEASE


_NO_LEASE: tuple[Any, float, Tally] = None, -math.inf, Tally()

Cells = Callable[..., Cell]
"""Leads from a call's arguments to its cell. It raises whatever their hashes do, and NotQuickError."""


def cells() -> Cells:
    """Return what leads from arguments to cells."""
    return functools.lru_cache(_CALLS, typed=True)(_cell)


def no_cells_yet(*_args: object) -> Cell:
    """Stand for cells of a function that has not been called with quick arguments yet."""
    raise NotQuickError


def no_cells(*_args: object) -> Cell:
    """Stand for cells of a function that can have none."""
    raise NotQuickError


def are_quick(args: tuple[Any, ...]) -> bool:
    """Whether equal arguments of the same types are the same."""
    return _ATOMS.issuperset(map(type, args)) and all(
        bool(arg) if type(arg) is float else len(arg) <= _LONGEST if type(arg) in {str, bytes} else True for arg in args
    )


def _cell(*args: Any) -> Cell:
    if not are_quick(args):
        raise NotQuickError
    return Cell()
