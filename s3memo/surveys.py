"""What batches ask beside their calls: which of many are stored, told by names alone, and what one version holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from s3memo.entry import Hit
from s3memo.errors import NotFoundError
from s3memo.terms import Terms
from s3memo.tiers import SERVED, Tiers, loaded
from s3memo.versions import Key, Listing, Version


class Surveys(Tiers):
    """Tiers that can be asked of many keys at once."""

    def survey(self, keys: Sequence[Key], terms: Terms, absent_since: float = math.inf) -> float:
        """List what the store has of a function's keys, in as few pages as that takes; of trouble only tell.

        Absences count that were read since `absent_since`. Returns since when those count that were read for this, in
        POSIX seconds; infinity if none were.
        """
        unknown = [key for key in keys if not self._is_at_hand(key, terms, absent_since)]
        if not unknown:
            return math.inf
        with terms.fail_open(unknown[0], "results could not be listed, so each is looked up"):
            self._memo.breaker.check()
            return self._names.survey(unknown, terms)
        return math.inf

    def known(self, key: Key, terms: Terms) -> tuple[Version, int] | None:
        """Return the version that a call would be served from the store, and its size in bytes, if its name is known."""
        found = self._names.known(key)
        newest = found and found[0].newest
        if not found or not newest or not found[1] or terms.exceptions or not self._memo.packing.takes(found[1]):
            return None
        return (newest, found[1]) if self._judge_listed(newest, key, terms) == "fresh" else None

    def find_stored(self, key: Key, terms: Terms, *, absent_since: float) -> Hit | None:
        """Return what is remembered, and tell of it; of a miss nothing, for somebody else will compute and tell."""
        with self.flights.begin(key) as flight, terms.fail_open(key, "the store could not be read"):
            found = self.recall(key, terms, flight, serves_stale=False, absent_since=absent_since)
            if isinstance(found, Hit):
                self.tell(key, terms, found)
                return found
        return None

    def value_of(self, key: Key, version: Version, terms: Terms) -> Any:
        """Return what one version holds, for nobody but the caller. Raises StoreError and CodecError.

        Memory does not get it: a newer one may be there that this process has not seen.
        """
        slot = self._slot(key, terms)
        if slot is not None and slot.held.version == version:
            return loaded(slot.held)
        try:
            _, value, _ = self._memo.load(key, version, terms, Listing(), lambda _: False)
        except NotFoundError as error:
            raise NotFoundError(
                f"{key.prefix}{version.name} is not in {self.store.url} any more: it was replaced, invalidated or "
                "collected; call the function again"
            ) from error
        return value

    def forget_names(self, key: Key) -> None:
        """Look for a key again before anything is believed of it: another process has written it."""
        self._names.forget(key)

    def _is_at_hand(self, key: Key, terms: Terms, absent_since: float) -> bool:
        """Whether a call needs no LIST, as far as names and dates tell."""
        slot = self._servable(key, terms)
        if slot is not None and self._judge(slot.held, terms) in SERVED:
            return True
        found = self._names.sighted(key, absent_since)
        if found is None or found.listing.seen_at < self._seen_since(key, terms):
            return False
        newest = found.listing.newest
        return found.is_proof or (newest is not None and self._judge_listed(newest, key, terms) in SERVED)
