"""What a look for a key brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from s3memo.events import Tier
from s3memo.flight import Outcome
from s3memo.freshness import Freshness
from s3memo.memory import Held
from s3memo.versions import Key, Listing, Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A stored result: its value and what its name tells. `size` is what the object takes in the store, in bytes.

    Where an exception is stored, because `cache_exceptions` lists its class, `error` is that, and `value` None. `load`
    brings the value when it is asked for; what a batch returned may have to GET it, and raises NotFoundError if it is gone.
    """

    key: Key
    load: Callable[[], T] = field(repr=False)
    version: Version
    size: int
    error: Exception | None = None

    @property
    def value(self) -> T:
        """What the function returned."""
        return self.load()

    @property
    def created_at(self) -> datetime:
        """When its computation began, by the store's clock."""
        return self.version.created_at

    @property
    def elapsed(self) -> float:
        """How long it took to compute, in seconds."""
        return self.version.elapsed / 1000


class Hit(NamedTuple):
    """A version that may be served: as memory holds it, its value for this one caller, and the tier that had it."""

    key: Key
    held: Held
    value: Any
    tier: Tier
    freshness: Freshness

    @property
    def entry(self) -> Entry[Any]:
        """What `cache_get` returns."""
        held = self.held
        if held.raised is None:
            return Entry(self.key, partial(itself, self.value), held.version, held.size)
        return Entry(self.key, partial(itself, None), held.version, held.size, error=self.value)

    def outcome(self) -> Outcome[Any]:
        """Return the value, or raise the exception that it is."""
        held = self.held
        if held.raised is not None:
            raise held.load()  # another one: `value` would refer to itself by way of the frames that hold this
        return Outcome(
            self.value,
            held.load,
            held.version.elapsed / 1000,
            self.freshness == "stale",
            held.version,
            held.size,
            is_hit=True,
        )


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing that may be served as it is.

    `listing` is what the store was seen to have, None if it could not be asked; `fallback` a version of it that has
    expired and may yet be served if the function fails.
    """

    listing: Listing | None = None
    fallback: Version | None = None


def itself(value: Any) -> Any:
    """Return what an Entry holds already."""
    return value
