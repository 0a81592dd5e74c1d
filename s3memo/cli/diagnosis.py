"""From facts about a store to findings with remedies, and to what works there. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from s3memo.cli.bucket import BucketSettings, Rule
from s3memo.cli.examination import Facts
from s3memo.errors import StoreAccessError, StoreError, StoreNotSupportedError
from s3memo.events import RequestKind
from s3memo.sequences import STATE_ROOT
from s3memo.versions import RESULT_ROOTS

Level: TypeAlias = Literal["ok", "note", "warning", "problem"]
Service: TypeAlias = Literal["memo", "fleet", "state"]

SERVICES: dict[Service, str] = {
    "memo": "results of functions and mappings",
    "fleet": "one computation for all machines, and Lease",
    "state": "ServiceState",
}
_ALL: tuple[Service, ...] = ("memo", "fleet", "state")
_SHARED: tuple[Service, ...] = ("fleet", "state")
_VERBS: dict[RequestKind, str] = {"LIST": "listed", "GET": "read", "PUT": "written", "DELETE": "deleted"}
_SKEW = 60.0
"""Seconds by which clocks may differ without a warning; S3 refuses requests that are 15 minutes off."""

_VAGUE = 10.0
_CLOSE = 0.005
_PERCENTS = (50, 90, 99)


class Finding(NamedTuple):
    """One finding, its remedy, and the services it breaks."""

    level: Level
    subject: str
    text: str
    remedy: str = ""
    breaks: tuple[Service, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Findings, for each service the subjects that break it, and latencies in ms by percentile."""

    url: str
    findings: tuple[Finding, ...]
    broken: dict[Service, tuple[str, ...]]
    latencies: dict[RequestKind, dict[str, float]]
    offset: tuple[float, float] | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for scripts."""
        return {
            "url": self.url,
            "works": {service: not subjects for service, subjects in self.broken.items()},
            "findings": [finding._asdict() for finding in self.findings],
            "latency_ms": self.latencies,
            "clock_offset_seconds": self.offset,
        }


def diagnose(facts: Facts) -> Diagnosis:
    """Return the diagnosis."""
    findings = tuple(_findings(facts))
    broken = {
        service: tuple(dict.fromkeys(finding.subject for finding in findings if service in finding.breaks))
        for service in SERVICES
    }
    latencies = {kind: percentiles(seconds) for kind in _VERBS if (seconds := facts.seconds.get(kind))}
    offset = facts.offset if isinstance(facts.offset, tuple) else None
    return Diagnosis(facts.url, findings, broken, latencies, offset and (offset.earliest, offset.latest))


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles of durations by nearest rank, in milliseconds."""
    ranked = sorted(seconds)
    return {f"p{percent}": round(1000 * ranked[math.ceil(len(ranked) * percent / 100) - 1], 2) for percent in _PERCENTS}


def _findings(facts: Facts) -> Iterator[Finding]:
    yield from _of_access(facts)
    if "PUT" in facts.seconds and "LIST" in facts.seconds:
        yield _of_order(facts)
        yield from _of_sight(facts)
    yield from _of_create_only(facts)
    yield from _of_clock(facts)
    if facts.bucket is not None:
        yield from _of_versions(facts.bucket)
        yield from _of_retention(facts.bucket)
        yield from _of_rules(facts.bucket)
    elif facts.seconds:
        yield Finding("note", "bucket", "versions, object lock and lifecycle rules are asked of buckets in S3 alone")
    if facts.leftovers:
        names = ", ".join(facts.leftovers[:3]) + (" …" if facts.leftovers[3:] else "")
        yield Finding(
            "warning",
            "clean-up",
            f"{len(facts.leftovers)} objects of this examination are left: {names}",
            "delete them",
        )


def _of_access(facts: Facts) -> Iterator[Finding]:
    failures = [*facts.failures.values()]
    is_read = facts.tells_absence or "GET" in facts.seconds
    if facts.hidden is not None and not is_read and "GET" not in facts.failures:
        failures.append(facts.hidden)
    remedies = set()
    for error in failures:
        text, remedy = _taken_apart(error)
        if remedy not in remedies:  # a missing bucket fails every request, but is one problem
            yield Finding("problem", "access", text, remedy, _ALL)
        remedies.add(remedy)
    if not failures:
        yield Finding("ok", "access", "objects can be listed, read, written and deleted")
    elif is_read and not facts.failures.keys() & {"LIST", "GET"}:
        yield Finding(
            "note", "access", "what is stored can be read", "set S3MEMO_READ_ONLY=1 where results are only to be read"
        )
    if facts.hidden is not None and "GET" in facts.seconds and not facts.failures.keys() & {"LIST", "GET"}:
        yield Finding(
            "problem",
            "absent objects",
            f"an object that is absent is answered like a forbidden one: {_taken_apart(facts.hidden)[0]}",
            "grant s3:ListBucket on the bucket for this prefix; where the server then still answers so, as older Ceph "
            "does, put StringLikeIfExists for StringLike in what `s3memo policy` prints",
            _ALL,
        )


def _of_order(facts: Facts) -> Finding:
    if facts.disorder:
        return Finding(
            "problem",
            "order",
            f"listings are not in ascending order of UTF-8 bytes: {facts.disorder}",
            "use a server that lists as S3 does",
            _ALL,
        )
    return Finding("ok", "order", "listings are in ascending order of UTF-8 bytes")


def _of_sight(facts: Facts) -> Iterator[Finding]:
    for what in facts.late:
        yield Finding(
            "problem",
            "consistency",
            f"from another connection, {what}",
            "ask the server itself, not a cache or a replica before it; or use one with strong consistency, as S3 has",
            _ALL,
        )
    if not facts.late:
        yield Finding("ok", "consistency", "what is written or deleted is seen at once from another connection")


def _of_create_only(facts: Facts) -> Iterator[Finding]:
    if facts.create_only is None:
        yield Finding("ok", "create-only", "of racing writers of one object exactly one wins")
    elif isinstance(facts.create_only, StoreNotSupportedError):
        text, _, remedy = str(facts.create_only).partition(". ")
        yield Finding("problem", "create-only", text, remedy, _SHARED)
    elif isinstance(facts.create_only, StoreError):
        yield Finding("problem", "create-only", *_taken_apart(facts.create_only), _SHARED)
    else:
        yield Finding("note", "create-only", "could not be tried", breaks=_SHARED)


def _of_clock(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.offset, StoreError):
        if "LIST" not in facts.failures:
            yield Finding("problem", "clock", *_taken_apart(facts.offset, ": "), _ALL)
    elif facts.offset is not None:
        low, high = facts.offset
        nearest = max(low, -high, 0.0)
        text = f"the store's clock is {_offset(low, high)}"
        if nearest > _SKEW:
            yield Finding(
                "warning",
                "clock",
                text,
                "set this machine's clock, or the server's: s3memo goes by the store's, but S3 refuses requests that are "
                "15 minutes off",
            )
        elif high - low > _VAGUE:
            yield Finding(
                "warning",
                "clock",
                f"{text}, which is vague",
                "let the server's front ends keep one time (NTP), and answer sooner",
            )
        else:
            yield Finding("ok", "clock", text)


def _of_versions(bucket: BucketSettings) -> Iterator[Finding]:
    if isinstance(bucket.versioning, StoreError):
        yield _unknown("versions", "versioned", bucket.versioning, "s3:GetBucketVersioning")
    elif not bucket.versioning:
        yield Finding("ok", "versions", "the bucket keeps no versions of what is deleted")
    elif isinstance(bucket.rules, StoreError) or _covered(
        bucket, [rule for rule in bucket.rules if rule.removes_noncurrent]
    ):
        yield Finding("ok", "versions", "the bucket is versioned")
    else:
        yield Finding(
            "warning",
            "versions",
            "the bucket is versioned, so that what s3memo deletes is kept and billed for ever",
            "add a rule with NoncurrentVersionExpiration: `s3memo lifecycle` prints one",
        )


def _of_retention(bucket: BucketSettings) -> Iterator[Finding]:
    if isinstance(bucket.retention, StoreError):
        yield _unknown("object lock", "under object lock", bucket.retention, "s3:GetBucketObjectLockConfiguration")
    elif bucket.retention:
        period = next(
            (f"{bucket.retention[unit]} {unit.lower()}" for unit in ("Days", "Years") if bucket.retention.get(unit)), ""
        )
        yield Finding(
            "warning",
            "object lock",
            f"the bucket locks each object for {period}, so that nothing superseded is freed before",
            "keep results in a bucket without a default retention",
        )
    else:
        yield Finding("ok", "object lock", "no object is locked by default")


def _of_rules(bucket: BucketSettings) -> Iterator[Finding]:
    if isinstance(bucket.rules, StoreError):
        yield _unknown("lifecycle", "subject to lifecycle rules", bucket.rules, "s3:GetLifecycleConfiguration")
        return
    hazards = [finding for rule in bucket.rules for finding in _hazards(rule, bucket.root)]
    yield from hazards
    if not _covered(bucket, [rule for rule in bucket.rules if rule.aborts_uploads]):
        yield Finding(
            "warning",
            "lifecycle",
            "no rule aborts incomplete uploads, so that the parts of interrupted ones are kept and billed for ever",
            "add a rule with AbortIncompleteMultipartUpload: `s3memo lifecycle` prints one",
        )
    elif not hazards:
        yield Finding("ok", "lifecycle", "rules abort incomplete uploads, and expire nothing that is live")


def _hazards(rule: Rule, root: str) -> Iterator[Finding]:
    name = f"the rule {rule.name!r} on {rule.prefix + '*'!r}"
    touches_state = rule.touches(root + STATE_ROOT)
    touches_any = rule.touches(f"{root}v1/")
    if rule.expires_after is not None and touches_state:
        yield Finding(
            "problem",
            "lifecycle",
            f"{name} deletes states of jobs {rule.expires_after} days after they were written",
            "limit it to other prefixes; `s3memo lifecycle --expire-after` prints rules for results alone",
            ("state",),
        )
    elif rule.expires_after is not None and any(rule.touches(root + folder) for folder in RESULT_ROOTS):
        yield Finding(
            "warning",
            "lifecycle",
            f"{name} deletes results {rule.expires_after} days after they were written, live ones too",
            "leave that to ttl= and gc, unless it is meant",
        )
    if rule.archives_after is not None and touches_any:
        yield Finding(
            "problem",
            "lifecycle",
            f"{name} archives objects after {rule.archives_after} days, and what is archived cannot be read",
            "keep archiving off this prefix",
            ("state",) if touches_state else (),
        )


def _covered(bucket: BucketSettings, rules: Iterable[Rule]) -> bool:
    return any(rule.covers(f"{bucket.root}v1/") for rule in rules)


def _unknown(subject: str, what: str, error: StoreError, permission: str) -> Finding:
    if isinstance(error, StoreAccessError):
        return Finding(
            "note",
            subject,
            f"whether the bucket is {what} could not be asked (needs {permission})",
            "ask whoever owns the bucket, or grant it to whoever runs doctor",
        )
    return Finding("note", subject, f"whether the bucket is {what} this server does not tell: {_taken_apart(error)[0]}")


def _offset(low: float, high: float) -> str:
    if max(abs(low), abs(high)) < _CLOSE:
        return "this machine's"
    at_least, at_most = (f"{round(seconds, 2) + 0.0:+.2f}" for seconds in (low, high))
    return f"between {at_least} and {at_most} s ahead of this machine's"


def _taken_apart(error: StoreError, mark: str = "; ") -> tuple[str, str]:
    """Split an error of ours into what happened and what to do."""
    text, _, remedy = str(error).rpartition(mark)
    return (text, remedy.rstrip(",")) if text else (remedy, "")
