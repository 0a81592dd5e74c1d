"""`gc`: deletes what `garbage` says may go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from s3memo import garbage
from s3memo.errors import SettingsError, StoreError
from s3memo.events import Recorder, logger
from s3memo.freshness import Duration, seconds
from s3memo.garbage import Doomed, Policy, Reason
from s3memo.settings import check_count
from s3memo.sharing import Place, cache_at, check_place
from s3memo.stores.base import PAGE_SIZE, Store
from s3memo.versions import tag_prefix

_ROOT = "v1/"


class Collected(NamedTuple):
    """What a collection did: objects deleted, their bytes, how many went for each reason, and what could not be deleted.

    Each of `failures` names all objects that a DELETE left; those that were to go after them were not tried.
    """

    objects: int
    bytes: int
    reasons: Counter[Reason]
    failures: tuple[StoreError, ...]


def gc(
    cache: Place = None,
    *,
    grace: Duration = "7d",
    keep: int = 1,
    keep_states: int = 10,
    tags: Iterable[tuple[str, str]] = (),
) -> Collected:
    """Delete from a store what nobody needs any more, at the price of one LIST a thousand objects; DELETEs are free.

    Results go `grace` after they expired by the ttl that they were written with; give it if functions read with a longer
    one. Of those that were superseded for as long, `keep` results of each call and `keep_states` versions of each state
    stay: give the highest `keep=` of your functions and states. Tombstones go after seven days, leases when they lapsed
    long ago, and all results of each `(namespace, tag)` in `tags`, such as that of a function's former code. A state's
    newest version never goes, and foreign objects stay. Raises SettingsError, and StoreError if the store cannot be listed.
    """
    lasting = seconds(grace, name="grace")
    if lasting is None:
        raise SettingsError("grace=None must be a duration")
    for name, number in (("keep", keep), ("keep_states", keep_states)):
        check_count(name, number, of="versions", least=1)
    check_place(cache)
    place = cache_at(cache)
    place.check_writable("gc")
    prefixes = tuple(map(_tag_prefix, tags))
    policy = Policy(lasting, keep, keep_states, prefixes)
    collection = _Collection(place.store, Recorder("gc", place.hooks))
    store = place.store
    earliest, latest = store.time()
    for doomed in garbage.plan(store.list(_ROOT), policy, earliest=earliest, latest=latest):
        collection.add(doomed)
    collection.carry_out()
    logger.info("s3memo: gc deleted %d objects of %d bytes in %s", collection.objects, collection.bytes, store.url)
    return Collected(collection.objects, collection.bytes, collection.reasons, tuple(collection.failures))


def _tag_prefix(pair: tuple[str, str]) -> str:
    match pair:
        case (str() as namespace, str() as tag):
            return tag_prefix(namespace, tag)
    raise SettingsError(f"tags= has {pair!r}: give a list of pairs (namespace, tag)")


class _Collection:
    """Deletes in batches, a wave at a time, so that what one request leaves undone keeps what depends on it."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._pending: list[list[Doomed]] = [[], [], []]  # by wave
        self.objects = 0
        self.bytes = 0
        self.reasons: Counter[Reason] = Counter()
        self.failures: list[StoreError] = []

    def add(self, doomed: list[Doomed]) -> None:
        """Take what may go of one prefix."""
        for each in doomed:
            self._pending[each.wave].append(each)
        if max(map(len, self._pending)) >= PAGE_SIZE:
            self.carry_out()

    def carry_out(self) -> None:
        """Delete what was taken."""
        held_back: set[str] = set()
        for wave in self._pending:
            due = [each for each in wave if _prefix(each) not in held_back]
            for start in range(0, len(due), PAGE_SIZE):
                batch = due[start : start + PAGE_SIZE]
                if not self._delete(batch):
                    held_back.update(map(_prefix, batch))
            wave.clear()

    def _delete(self, batch: list[Doomed]) -> bool:
        try:
            self._store.delete(each.object_key for each in batch)
        except StoreError as error:
            self.failures.append(error)
            self._recorder.trouble(error, "some garbage could not be deleted; the next collection tries again")
            return False
        self.objects += len(batch)
        self.bytes += sum(each.size for each in batch)
        self.reasons.update(each.reason for each in batch)
        return True


def _prefix(doomed: Doomed) -> str:
    return doomed.object_key.rpartition("/")[0]
