"""What in a store may go, and why: decided from a listing alone, without a GET. Pure.

Of what is not named here nothing goes: foreign objects, a state's newest version, the newest result of a call that has
not expired, and whatever might still be needed to bury, or to refuse, what arrives late.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from s3memo.sequences import LEASE_ROOT, RETENTION, STATE_ROOT, Chain, sequence_name
from s3memo.stores.base import ObjectInfo
from s3memo.versions import DAY, MICROSECONDS, RESULT_ROOTS, Listing, Version, parse_object_key

Reason: TypeAlias = Literal["expired", "superseded", "buried", "tag", "tombstone", "lease"]

WEEK = 7 * DAY
"""µs. A computation that lasts longer is not stored, so a tombstone of that age has nothing left to bury."""

_LEASE_LIFE = 2 * 86_400.0  # seconds; twice as long as any lease lasts without a renewal


@dataclass(frozen=True, slots=True)
class Policy:
    """What a collection takes; `grace` is in seconds.

    A result goes `grace` after it expired by the ttl in its name, and beyond the `keep` newest of its call `grace` after
    it was superseded; of a state `keep_states` versions stay, and those superseded within `grace`. All results below the
    `prefixes` go.
    """

    grace: float = 7 * 86_400.0
    keep: int = 1
    keep_states: int = 10
    prefixes: tuple[str, ...] = ()


class Doomed(NamedTuple):
    """An object that may go. Of one prefix, those of a higher `wave` go only when all of a lower one are gone."""

    object_key: str
    size: int
    reason: Reason
    wave: int


def plan(infos: Iterable[ObjectInfo], policy: Policy, *, earliest: float, latest: float) -> Iterator[list[Doomed]]:
    """Yield what may go of each prefix in an ascending listing, oldest first; `earliest` and `latest` bound the time.

    What is held in memory is one prefix's objects. Objects of no prefix of ours are passed over.
    """
    for prefix, group in itertools.groupby(infos, key=lambda info: info.key[: info.key.rfind("/") + 1]):
        if prefix.startswith(RESULT_ROOTS):
            yield _plan_results(prefix, group, policy, earliest, latest)
        elif prefix.startswith(STATE_ROOT):
            yield _plan_state(prefix, group, policy, earliest)
        elif prefix.startswith(LEASE_ROOT):
            yield _plan_lease(prefix, group, earliest)


def _plan_results(
    prefix: str, infos: Iterable[ObjectInfo], policy: Policy, earliest: float, latest: float
) -> list[Doomed]:
    """The newest result that no tombstone buries goes only after all the others, or an older one would be found."""
    parsed = ((parse_object_key(info.key), info.size) for info in infos)
    sizes = {found[1]: size for found, size in parsed if found and not found[1].is_foreign(latest)}
    listing, now = Listing(tuple(sizes)), int(earliest * MICROSECONDS)
    buried_until = -1 if listing.tombstone is None else listing.tombstone
    reasons: dict[Version, tuple[Reason, int]] = {}
    standing = [version for version in sizes if not version.dead and version.created > buried_until]
    for place, version in enumerate(standing):
        reason = _reason(version, standing[:place], policy, now, named=prefix.startswith(policy.prefixes))
        if reason:
            reasons[version] = reason, 0
    if standing and standing[0] in reasons:
        reason, _ = reasons.pop(standing[0])
        if len(reasons) == len(standing) - 1:
            reasons[standing[0]] = reason, 1
    for version in sizes:
        if not version.dead and version.created <= buried_until:
            reasons[version] = "buried", 0
        elif version.dead and version.created < buried_until:
            reasons[version] = "tombstone", 0
        elif version.dead and now - version.created > WEEK:
            reasons[version] = "tombstone", 2  # after what it buries
    ordered = sorted(reasons, key=lambda version: (reasons[version][1], version.order))
    return [Doomed(prefix + version.name, sizes[version], *reasons[version]) for version in ordered]


def _reason(version: Version, newer: list[Version], policy: Policy, now: int, *, named: bool) -> Reason | None:
    """Say why a result that no tombstone buries may go."""
    long_ago = now - int(policy.grace * MICROSECONDS)
    if named:
        return "tag"
    if len(newer) >= policy.keep and newer[-1].order < long_ago:
        return "superseded"
    if version.ttl is not None and version.created + version.ttl * MICROSECONDS < long_ago:
        return "expired"
    return None


def _plan_state(prefix: str, infos: Iterable[ObjectInfo], policy: Policy, earliest: float) -> list[Doomed]:
    chain = Chain.of(infos, prefix)
    retention = max(policy.grace, RETENTION)
    return _superseded(prefix, chain, chain.due(keep=policy.keep_states, now=earliest, retention=retention))


def _plan_lease(prefix: str, infos: Iterable[ObjectInfo], earliest: float) -> list[Doomed]:
    chain = Chain.of(infos, prefix)
    due = chain.due(keep=1, now=earliest)
    doomed = _superseded(prefix, chain, due)
    newest = chain.newest
    if newest and len(due) == len(chain.versions) - 1 and newest.last_modified + _LEASE_LIFE < earliest:
        doomed.append(Doomed(prefix + sequence_name(newest.number), newest.size, "lease", 1))
    return doomed


def _superseded(prefix: str, chain: Chain, due: list[int]) -> list[Doomed]:
    sizes = {version.number: version.size for version in chain.versions}
    return [Doomed(prefix + sequence_name(number), sizes[number], "superseded", 0) for number in due]
