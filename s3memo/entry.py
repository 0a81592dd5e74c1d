"""Results of looking up a key: an Entry for callers, a Hit or a Miss inside."""

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
    """A stored result: its value and the metadata in its name. `size` is the size of its object in the store, in bytes.

    For a stored exception (see `cache_exceptions`), `error` is that exception and `value` is None. `load` returns the
    value when it is first needed; in a batch this may take a GET, and raises NotFoundError if the object is gone.
    """

    key: Key
    load: Callable[[], T] = field(repr=False)
    version: Version
    size: int
    error: Exception | None = None

    @property
    def value(self) -> T:
        """The value that the function returned."""
        return self.load()

    @property
    def created_at(self) -> datetime:
        """When the computation began, by the store's clock."""
        return self.version.created_at

    @property
    def elapsed(self) -> float:
        """How long the computation took, in seconds."""
        return self.version.elapsed / 1000


class Hit(NamedTuple):
    """A version that may be served: its form in memory, its value for this caller, and the tier that had it."""

    key: Key
    held: Held
    value: Any
    tier: Tier
    freshness: Freshness

    @property
    def entry(self) -> Entry[Any]:
        """The Entry that `cache_get` returns."""
        held = self.held
        if held.raised is None:
            return Entry(self.key, partial(itself, self.value), held.version, held.size)
        return Entry(self.key, partial(itself, None), held.version, held.size, error=self.value)

    def outcome(self) -> Outcome[Any]:
        """Return the outcome with the value, or raise the stored exception."""
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
    """No version that may be served as it is.

    `listing` is what the store was seen to have, None if it could not be asked. `fallback` is an expired version in it
    that may still be served if the function fails.
    """

    listing: Listing | None = None
    fallback: Version | None = None


def itself(value: Any) -> Any:
    """Return the value given: the `load` of an Entry that already holds its value."""
    return value
