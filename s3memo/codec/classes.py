"""How instances of the user's classes are stored: those of the classes that may be rebuilt, and of no other."""

from __future__ import annotations

from collections.abc import Iterable

from s3memo.codec import registry
from s3memo.codec.table import PLAIN, Extension, Record, type_name


class Classes:
    """The classes whose instances may be rebuilt from stored bytes."""

    def __init__(self, kinds: Iterable[type] = ()) -> None:
        self._by_kind: dict[type, Record] = {}

    def by_kind(self, kind: type) -> Record | None:
        """Return what stores instances of exactly this class, if that is allowed."""
        return self._by_kind.get(kind)

    def by_code(self, code: int) -> Extension | None:
        """Return what rebuilds what is stored under this code, if that is an instance."""
        return None


NO_CLASSES = Classes()


def remedy(kind: type) -> str:
    """Say what is wrong with a type that cannot be stored, and what to do."""
    base = next((base for base in kind.__mro__ if base in PLAIN or base is list or registry.is_stored(base)), None)
    plain = f"a plain {type_name(base)}" if base else "Python's built-in types"
    return f"this version does not store. Convert it to {plain}"
