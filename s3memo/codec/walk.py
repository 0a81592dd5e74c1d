"""Walks over the parts of a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from s3memo.codec import registry
from s3memo.codec.classes import NO_CLASSES, Classes
from s3memo.codec.table import PLAIN, Extension


def walk(value: object, classes: Classes) -> Iterator[tuple[object, Extension | None]]:
    """Yield `value` and all its parts, recursively, each with its extension; an object is taken apart once only.

    One that cannot be taken apart is yielded again with None.
    """
    met: dict[int, object] = {}  # keeps each alive, so that no address is reused
    pending = [value]
    while pending:
        part = pending.pop()
        kind = type(part)
        extension = None if kind in PLAIN else _find(kind, classes)
        yield part, extension
        if id(part) not in met and kind not in PLAIN:
            met[id(part)] = part
            try:
                pending.extend(_parts(part, extension))
            except Exception:  # noqa: BLE001  each type has its own ways to refuse
                yield part, None


def is_immutable(value: object, classes: Classes = NO_CLASSES) -> bool:
    """Whether `value` and all its parts are immutable, so that callers can share it."""
    met: dict[int, object] = {}  # as above
    pending = [value]
    while pending:
        part = pending.pop()
        kind = type(part)
        if kind in PLAIN or id(part) in met:
            continue
        extension = _find(kind, classes)
        if extension is None or extension.mutable:
            return False
        met[id(part)] = part
        try:
            parts = list(extension.take(part))
        except Exception:  # noqa: BLE001  as above
            return False
        if not PLAIN.issuperset(map(type, parts)):  # there may be millions that need no look
            pending += parts
    return True


def _find(kind: type, classes: Classes) -> Extension | None:
    try:
        return classes.by_kind(kind) or registry.by_kind(kind)
    except ImportError:  # storing this type needs a library that is not installed
        return None


def _parts(value: Any, extension: Extension | None) -> Iterable[object]:
    if type(value) is list:
        return value
    if type(value) is dict:
        return [*value, *value.values()]
    return extension.take(value) if extension else ()
