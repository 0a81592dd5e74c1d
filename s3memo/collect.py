"""`gc`: deletes what `garbage` plans."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from s3memo import garbage
from s3memo.errors import SettingsError, StoreError
from s3memo.events import Recorder, logger
from s3memo.freshness import Duration, seconds
from s3memo.garbage import Doomed, Kept, Policy, Reason, Standing
from s3memo.settings import check_count
from s3memo.sharing import Place, cache_at, check_place
from s3memo.stores.base import PAGE_SIZE, Store
from s3memo.versions import named_prefixes

_ROOT = "v1/"
_AT_ONCE = 8  # DELETEs
_PATIENCE = 20  # of them may fail


class Collected(NamedTuple):
    """What a collection did: objects and bytes deleted, in all and by reason (`reasons`, `sizes`), and what stays (`kept`).

    Each of `failures` names all objects that a DELETE left; objects that must go after them were not tried.
    """

    objects: int
    bytes: int
    reasons: Counter[Reason]
    failures: tuple[StoreError, ...]
    sizes: Counter[Reason]
    kept: Counter[Standing]


def gc(
    cache: Place = None,
    *,
    grace: Duration = "7d",
    keep: int = 1,
    keep_states: int = 10,
    tags: Iterable[tuple[str, str]] = (),
    older_than: Duration | None = None,
    dry_run: bool = False,
    report: Callable[[Doomed | Kept], object] = lambda _: None,
) -> Collected:
    """Delete from a store what nobody needs any more, for one LIST per thousand objects; DELETEs are free.

    Results go `grace` after they expired by the ttl they were written with; raise it if functions read with a longer ttl.
    Superseded ones go after `grace` too, but `keep` results of each call and `keep_states` versions of each state stay:
    give the highest `keep=` of your functions and states. Tombstones go after seven days, leases long after they lapsed.
    All results of each `(namespace, tag)` in `tags` go, such as those of a function's former code, and with `older_than`
    all created that long ago. A state's newest version and foreign objects always stay.

    `report` is called for each object, before it is deleted; with `dry_run` nothing is. Eight DELETEs run at a time. A
    collection that is interrupted, or gives up after twenty failed DELETEs, can be run again. Raises SettingsError, and
    StoreError if the store cannot be listed.
    """
    policy = _checked_policy(grace, keep, keep_states, tags, older_than)
    check_place(cache)
    place = cache_at(cache)
    if not dry_run:
        place.check_writable("gc")
    store = place.store
    collection = _Collection(store, Recorder("gc", place.hooks), dry_run=dry_run)
    kept: Counter[Standing] = Counter()
    earliest, latest = store.time()
    for doomed, staying in garbage.plan(store.list(_ROOT), policy, earliest=earliest, latest=latest):
        for each in chain[Doomed | Kept](doomed, staying):
            report(each)
        kept.update(each.reason for each in staying)
        collection.add(doomed)
        if len(collection.failures) >= _PATIENCE:
            break
    else:
        collection.carry_out()
    deleted, count = collection.sizes.total(), collection.reasons.total()
    if not dry_run:
        logger.info("s3memo: gc deleted %d objects of %d bytes in %s", count, deleted, store.url)
    return Collected(count, deleted, collection.reasons, tuple(collection.failures), collection.sizes, kept)


def _checked_policy(
    grace: Duration, keep: int, keep_states: int, tags: Iterable[tuple[str, str]], older_than: Duration | None
) -> Policy:
    """Return the policy that the options of `gc` ask for. Raises SettingsError."""
    lasting, age = seconds(grace, name="grace"), seconds(older_than, name="older_than")
    if lasting is None:
        raise SettingsError("grace=None must be a duration")
    check_count("keep", keep, of="versions", least=1)
    check_count("keep_states", keep_states, of="versions", least=1)
    prefixes = tuple(prefix for pair in tags for prefix in _tag_prefixes(pair))
    return Policy(lasting, keep, keep_states, prefixes, math.inf if age is None else age)


def _tag_prefixes(pair: tuple[str, str]) -> list[str]:
    match pair:
        case (str() as namespace, str() as tag):
            return named_prefixes(namespace, tag)
    raise SettingsError(f"tags= has {pair!r}: give a list of pairs (namespace, tag)")


class _Collection:
    """Deletes in batches, wave by wave, and holds back what must go after an object that a request left."""

    def __init__(self, store: Store, recorder: Recorder, *, dry_run: bool) -> None:
        self._store = store
        self._recorder = recorder
        self._dry_run = dry_run
        self._pending: list[list[Doomed]] = [[], [], []]  # by wave
        self.reasons: Counter[Reason] = Counter()
        self.sizes: Counter[Reason] = Counter()
        self.failures: list[StoreError] = []

    def add(self, doomed: list[Doomed]) -> None:
        """Add what may go of one prefix."""
        for each in doomed:
            self._pending[each.wave].append(each)
        if max(map(len, self._pending)) >= _AT_ONCE * PAGE_SIZE:
            self.carry_out()

    def carry_out(self) -> None:
        """Delete what was added."""
        held_back: set[str] = set()
        for wave in self._pending:
            due = [each for each in wave if _prefix(each) not in held_back]
            batches = [due[start : start + PAGE_SIZE] for start in range(0, len(due), PAGE_SIZE)]
            for batch, error in zip(batches, self._delete_all(batches), strict=True):
                left = _left(batch, error)
                self._count(each for each in batch if each not in left)
                held_back.update(map(_prefix, left))
                if error is not None:
                    self.failures.append(error)
                    self._recorder.trouble(error, "some garbage could not be deleted; the next collection tries again")
            wave.clear()

    def _delete_all(self, batches: list[list[Doomed]]) -> list[StoreError | None]:
        if len(batches) <= 1:
            return [self._delete(batch) for batch in batches]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="s3memo-gc") as pool:
            return list(pool.map(self._delete, batches))

    def _delete(self, batch: list[Doomed]) -> StoreError | None:
        if self._dry_run:
            return None
        try:
            self._store.delete(each.object_key for each in batch)
        except StoreError as error:
            return error
        return None

    def _count(self, gone: Iterable[Doomed]) -> None:
        for each in gone:
            self.reasons[each.reason] += 1
            self.sizes[each.reason] += each.size


def _left(batch: list[Doomed], error: StoreError | None) -> set[Doomed]:
    """Return what a DELETE may have left of a batch: what the error names, or all if that is not clear."""
    if error is None:
        return set()
    named = {each for each in batch if each.object_key in error.left}
    return named if named and len(named) == len(error.left) else set(batch)


def _prefix(doomed: Doomed) -> str:
    return doomed.object_key.rpartition("/")[0]
