"""What batches ask besides their calls: which of many keys are stored, by names alone, and the value of one version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from s3memo.entry import Hit
from s3memo.errors import NotFoundError
from s3memo.names import NOTHING_READ, Reading
from s3memo.terms import Terms
from s3memo.tiers import SERVED, Tiers, loaded
from s3memo.versions import NOTHING_LISTED, Key, Version


class Surveys(Tiers):
    """Tiers that can be asked for many keys at once."""

    def survey(self, keys: Sequence[Key], terms: Terms, before: Reading = NOTHING_READ) -> Reading:
        """List what the store has of a function's keys, in as few pages as possible; errors are only reported.

        Absences read since those of `before` count. Returns the reading on which calls of these keys may rely.
        """
        seen = {key: self._at_hand_since(key, terms, before) for key in keys}
        unknown = [key for key, since in seen.items() if since is None]
        read_since = math.inf
        if unknown:
            with terms.fail_open(unknown[0], "results could not be listed, so each is looked up"):
                self._memo.breaker.check()
                read_since = self._names.survey(unknown, terms)
        known_since = min((since for since in seen.values() if since is not None), default=math.inf)
        return Reading(min(before.absent_since, read_since), min(known_since, read_since))

    def known(self, key: Key, terms: Terms, reading: Reading) -> tuple[Version, int] | None:
        """Return the version that would serve a call from the store, and its size in bytes; None if its name is unknown."""
        found = self._names.known(key, reading)
        newest = found and found[0].newest
        if not found or not newest or not found[1] or terms.exceptions or not self._memo.packing.takes(found[1]):
            return None
        freshness = self._judge_listed(newest, self.store.time().latest, key, terms)
        return (newest, found[1]) if freshness == "fresh" else None

    def find_stored(self, key: Key, terms: Terms, *, reading: Reading) -> Hit | None:
        """Return and report a hit; return None for a miss, which whoever computes it will report."""
        with self.flights.begin(key) as flight, terms.fail_open(key, "the store could not be read"):
            found = self.recall(key, terms, flight, serves_stale=False, reading=reading)
            if isinstance(found, Hit):
                self.tell(key, terms, found)
                return found
        return None

    def value_of(self, key: Key, version: Version, terms: Terms) -> Any:
        """Return the value of one version. Raises StoreError and CodecError.

        It is not put into memory, since this process may not have seen a newer version.
        """
        slot = self._slot(key, terms)
        if slot is not None and slot.held.version == version:
            return loaded(slot.held)
        try:
            _, value, _ = self._memo.load(key, version, terms, NOTHING_LISTED, is_kept=False)
        except NotFoundError as error:
            raise NotFoundError(
                f"{key.prefix}{version.name} is not in {self.store.url} any more: it was replaced, invalidated or "
                "collected; call the function again"
            ) from error
        return value

    def forget_names(self, key: Key) -> None:
        """Forget what is known of a key's names, because another process has written it."""
        self._names.forget(key)

    def _at_hand_since(self, key: Key, terms: Terms, before: Reading) -> float | None:
        """Return when the names were seen by which a call needs no LIST; None if it needs one."""
        slot = self._servable(key, terms)
        if slot is not None and self._judge(slot.held, terms) in SERVED:
            return math.inf
        found = self._names.sighted(key, Reading(before.absent_since))
        if found is None or found.listing.seen_at < self._seen_since(key, terms):
            return None
        newest = found.listing.newest
        if found.is_proof or (newest and self._judge_listed(newest, found.latest, key, terms) in SERVED):
            return found.listing.seen_at
        return None
