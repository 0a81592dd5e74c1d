"""A bucket's settings that affect objects: versioning, object lock and lifecycle rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s3memo.errors import NotFoundError, StoreError
from s3memo.stores.s3 import S3Store

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects must be restored before they can be read."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An enabled lifecycle rule that applies to untagged objects under `prefix`; a `partial` one to some sizes only.

    Times are in days; a date counts as 0.
    """

    name: str
    prefix: str
    partial: bool
    expires_after: int | None
    archives_after: int | None
    removes_noncurrent: bool
    aborts_uploads: bool

    def covers(self, prefix: str) -> bool:
        """Return whether it applies to all objects below a prefix."""
        return not self.partial and prefix.startswith(self.prefix)

    def touches(self, prefix: str) -> bool:
        """Return whether it applies to some of the objects below a prefix."""
        return prefix.startswith(self.prefix) or self.prefix.startswith(prefix)


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """Each setting, or the error that hides it; `root` is the prefix of the store's object keys in the bucket."""

    root: str
    versioning: str | StoreError
    retention: Mapping[str, Any] | StoreError
    rules: tuple[Rule, ...] | StoreError


def read_settings(store: S3Store, root: str) -> BucketSettings:
    """Ask a bucket for its settings."""
    versioning = _asked(store, "get_bucket_versioning")
    lock = _asked(store, "get_object_lock_configuration")
    lifecycle = _asked(store, "get_bucket_lifecycle_configuration")
    return BucketSettings(
        root=root,
        versioning=versioning if isinstance(versioning, StoreError) else versioning.get("Status", ""),
        retention=lock if isinstance(lock, StoreError) else _retention(lock),
        rules=lifecycle if isinstance(lifecycle, StoreError) else parse_rules(lifecycle),
    )


def parse_rules(lifecycle: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules of a lifecycle configuration that can apply to a store's objects, which have no tags."""
    parsed = (_parse_rule(rule) for rule in lifecycle.get("Rules", ()) if rule.get("Status") == "Enabled")
    return tuple(rule for rule in parsed if rule is not None)


def _parse_rule(rule: Mapping[str, Any]) -> Rule | None:
    where = rule.get("Filter") or {"Prefix": rule.get("Prefix", "")}
    where = where.get("And", where)
    if "Tag" in where or where.get("Tags"):
        return None
    expiration = rule.get("Expiration", {})
    archives = [step for step in rule.get("Transitions", ()) if step.get("StorageClass") in _ARCHIVES]
    return Rule(
        name=rule.get("ID", ""),
        prefix=where.get("Prefix", ""),
        partial="ObjectSizeGreaterThan" in where or "ObjectSizeLessThan" in where,
        expires_after=expiration.get("Days", 0) if "Days" in expiration or "Date" in expiration else None,
        archives_after=min((step.get("Days", 0) for step in archives), default=None),
        removes_noncurrent="NoncurrentVersionExpiration" in rule,
        aborts_uploads="AbortIncompleteMultipartUpload" in rule,
    )


def _asked(store: S3Store, question: str) -> Mapping[str, Any] | StoreError:
    try:
        return store.ask_bucket(lambda client, bucket: getattr(client, question)(Bucket=bucket))
    except NotFoundError:
        return {}
    except StoreError as error:
        return error


def _retention(lock: Mapping[str, Any]) -> Mapping[str, Any]:
    retention: Mapping[str, Any] = lock.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
    return retention
