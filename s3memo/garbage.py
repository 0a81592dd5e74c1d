"""What gc may delete, and why: decided from a listing alone, without a GET. Pure.

Never deleted are foreign objects, a state's newest version, a call's newest result that has not expired, and whatever
might still be needed to bury, or to refuse, a late write.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from s3memo.sequences import RETENTION, STATE_ROOT, Chain, is_chain_prefix, parse_sequence, sequence_name
from s3memo.stores.base import ObjectInfo
from s3memo.trials import PROBE_ROOT, is_of_trial
from s3memo.versions import DAY, MICROSECONDS, Listing, Version, is_result_prefix, parse_version

Reason: TypeAlias = Literal["expired", "superseded", "buried", "old", "tag", "tombstone", "lease", "trial"]
Standing: TypeAlias = Literal["newest", "keep", "grace", "cover", "tombstone", "marker", "foreign"]
"""Why an object stays: readers get it; it is one of the `keep` newest; it is not outdated for `grace`; it hides an older
one that stays; it may have something to bury; it marks a trial of create-only; s3memo did not write it."""

WEEK = 7 * DAY
"""µs. Longer computations are not stored, so a tombstone of that age has nothing left to bury."""

_TRIAL_LIFE = 3600.0  # seconds; a trial of a store takes some minutes at most
_LEASE_LIFE = 2 * 86_400.0  # seconds; twice the longest ttl of a lease


@dataclass(frozen=True, slots=True)
class Policy:
    """What a collection takes; durations are in seconds.

    A result goes `grace` after it expired by the ttl in its name. Beyond the `keep` newest of its call, it goes `grace`
    after it was superseded. Of a state, `keep_states` versions and those superseded within `grace` stay. All results below
    `prefixes` go, and all created over `older_than` ago.
    """

    grace: float = 7 * 86_400.0
    keep: int = 1
    keep_states: int = 10
    prefixes: tuple[str, ...] = ()
    older_than: float = math.inf


class Doomed(NamedTuple):
    """An object that may go. Below one prefix, a `wave` goes only when all lower ones are gone."""

    object_key: str
    size: int
    reason: Reason
    wave: int


class Kept(NamedTuple):
    """An object that stays."""

    object_key: str
    size: int
    reason: Standing


class Plan(NamedTuple):
    """What becomes of the objects of one prefix; `doomed` is in the order in which they may go."""

    doomed: list[Doomed]
    kept: list[Kept]


def plan(infos: Iterable[ObjectInfo], policy: Policy, *, earliest: float, latest: float) -> Iterator[Plan]:
    """Yield a plan for each prefix in an ascending listing; `earliest` and `latest` bound the store's time, POSIX seconds.

    Only the objects of one prefix that may be ours are held in memory. Foreign objects come in plans of their own.
    """
    for prefix, group in by_prefix(infos):
        read = reader(prefix, latest)
        sizes, links = dict[Version, int](), list[ObjectInfo]()
        for info in group:
            found = read(info)
            if isinstance(found, Version):
                sizes[found] = info.size
            elif found is not None:
                links.append(info)
            else:
                yield _plan_other(prefix, info, earliest)
        if sizes:
            yield _plan_results(prefix, sizes, policy, earliest)
        if links:
            yield _plan_chain(prefix, links, policy, earliest)


def reader(prefix: str, latest: float) -> Callable[[ObjectInfo], Version | int | None]:
    """Return what reads the names of a prefix: as a version, as the number of a state or lease, or as None if foreign."""

    def read_version(info: ObjectInfo) -> Version | None:
        version = parse_version(info.key[len(prefix) :])
        return None if version is None or version.is_foreign(latest) else version

    if is_result_prefix(prefix):
        return read_version
    if is_chain_prefix(prefix):
        return lambda info: parse_sequence(info.key[len(prefix) :])
    return lambda _: None


def by_prefix(infos: Iterable[ObjectInfo]) -> Iterator[tuple[str, Iterator[ObjectInfo]]]:
    """Group the objects of an ascending listing by their keys up to the last slash."""
    return itertools.groupby(infos, key=lambda info: info.key[: info.key.rfind("/") + 1])


def _plan_other(prefix: str, info: ObjectInfo, earliest: float) -> Plan:
    """Of what is no result, state or lease nothing goes but what a trial that was killed has left."""
    is_trial = is_of_trial(info)
    if is_trial and info.last_modified + _TRIAL_LIFE < earliest:
        return Plan([Doomed(info.key, info.size, "trial", 0)], [])
    return Plan([], [Kept(info.key, info.size, "marker" if is_trial or prefix == PROBE_ROOT else "foreign")])


def _plan_results(prefix: str, sizes: Mapping[Version, int], policy: Policy, earliest: float) -> Plan:
    listing, now = Listing(tuple(sizes)), int(earliest * MICROSECONDS)
    buried_until = -1 if listing.tombstone is None else listing.tombstone
    unburied = [version for version in sizes if not version.dead and version.created > buried_until]
    goes, stays = _judge_unburied(unburied, policy, now, is_named=prefix.startswith(policy.prefixes))
    for version in sizes:
        if not version.dead and version.created <= buried_until:
            goes[version] = "buried", 0
        elif version.dead and version.created < buried_until:
            goes[version] = "tombstone", 0
        elif version.dead and now - version.created > WEEK:
            goes[version] = "tombstone", 2  # after what it buries
        elif version.dead:
            stays[version] = "tombstone"
    ordered = sorted(goes, key=lambda version: (goes[version][1], version.order))
    doomed = [Doomed(prefix + version.name, sizes[version], *goes[version]) for version in ordered]
    kept = [Kept(prefix + version.name, size, stays[version]) for version, size in sizes.items() if version in stays]
    return Plan(doomed, kept)


def _judge_unburied(
    versions: list[Version], policy: Policy, now: int, *, is_named: bool
) -> tuple[dict[Version, tuple[Reason, int]], dict[Version, Standing]]:
    """Return which of a call's results, newest first, go, each with its reason and wave, and which stay and why.

    The newest goes only after all the others, or readers would find an older one. `is_named`: their tag is to go.
    """
    goes, stays = dict[Version, tuple[Reason, int]](), dict[Version, Standing]()
    for place, version in enumerate(versions):
        successor = versions[place - 1] if place else None
        reason = "tag" if is_named else _reason(version, place, successor, policy, now)
        if reason:
            goes[version] = reason, 0
        else:
            stays[version] = _standing(version, place, policy, now)
    newest = versions[0] if versions else None
    if newest in goes:
        reason, _ = goes.pop(newest)
        if stays:
            stays[newest] = "cover"
        else:
            goes[newest] = reason, 1
    return goes, stays


def _reason(version: Version, place: int, successor: Version | None, policy: Policy, now: int) -> Reason | None:
    """Return why the result at a place, 0 for the newest, may go; None if it stays. `successor` is the next newer one."""
    long_ago = now - int(policy.grace * MICROSECONDS)
    if successor is not None and place >= policy.keep and successor.order < long_ago:
        return "superseded"
    if version.ttl is not None and version.created + version.ttl * MICROSECONDS < long_ago:
        return "expired"
    return "old" if now - version.created > policy.older_than * MICROSECONDS else None


def _standing(version: Version, place: int, policy: Policy, now: int) -> Standing:
    """Return why the result at a place stays."""
    if place:
        return "keep" if place < policy.keep else "grace"
    is_expired = version.ttl is not None and version.created + version.ttl * MICROSECONDS < now
    return "grace" if is_expired else "newest"


def _plan_chain(prefix: str, links: list[ObjectInfo], policy: Policy, earliest: float) -> Plan:
    """Plan a state or a lease. A state's newest version stays; a lease's goes last, long after the lease lapsed."""
    chain, is_state = Chain.of(links, prefix), prefix.startswith(STATE_ROOT)
    keep, retention = (policy.keep_states, max(policy.grace, RETENTION)) if is_state else (1, RETENTION)
    due = set(chain.due(keep=keep, now=earliest, retention=retention))
    doomed, kept = list[Doomed](), list[Kept]()
    for place, version in enumerate(chain.versions):
        object_key = prefix + sequence_name(version.number)
        if version.number in due:
            doomed.append(Doomed(object_key, version.size, "superseded", 0))
        elif not is_state and len(due) == len(chain.versions) - 1 and version.last_modified + _LEASE_LIFE < earliest:
            doomed.append(Doomed(object_key, version.size, "lease", 1))
        else:
            kept.append(Kept(object_key, version.size, "newest" if not place else "keep" if place < keep else "grace"))
    doomed.reverse()
    doomed.sort(key=lambda each: each.wave)
    return Plan(doomed, kept)
