"""What the cache has to know of a function it works for, and how it survives trouble on its behalf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from s3memo.codec import NO_CLASSES, Classes
from s3memo.errors import SettingsError
from s3memo.events import Recorder
from s3memo.freshness import Freshness, Policy, judge, whole_seconds
from s3memo.versions import Key

OnError: TypeAlias = Literal["compute", "raise"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How old a function's results may be, which are kept, what is told of trouble, and to whom.

    Of each result `keep` versions stay, if `cache_if` is true of it or None. `exceptions` are the classes whose
    instances are kept as results are, if raised, and for how many seconds. Instances of `classes` may be stored and
    rebuilt. With `fleet`, so many seconds, one machine computes what all miss, by a lease for as long. With `copy` no
    two callers get the same mutable result. `arguments` describes those of the one call that these are the terms of,
    where they are to be stored.
    """

    recorder: Recorder
    policy: Policy
    keep: int
    on_error: OnError
    classes: Classes = NO_CLASSES
    copy: bool = True
    cache_if: Callable[[Any], object] | None = None
    exceptions: Mapping[type, float] = field(default_factory=dict)
    fleet: float = 0.0
    arguments: Mapping[str, str] = field(default_factory=dict)

    def judge(self, age: float, raised: type | None) -> Freshness:
        """Say what a result of that age is, or an exception of class `raised`."""
        if raised is None:
            return judge(age, self.policy)
        return judge(age, Policy(self.exceptions.get(raised, 0.0)))

    def may_be_exception(self, ttl: int | None, age: float) -> bool:
        """Whether a version, whose name tells its writer's `ttl`, may be an exception that is still to be raised."""
        return any(age < kept and ttl == whole_seconds(kept) for kept in self.exceptions.values())

    def longest(self, raised: type | None) -> float:
        """Return the age, in seconds, at which a result is of no use any more, or an exception of class `raised`."""
        return self.policy.longest if raised is None else self.exceptions.get(raised, 0.0)

    def fail_open(self, key: Key, message: str) -> FailingOpen:
        """Survive, visibly, whatever a store or a codec raises: the caller's function must run all the same."""
        return FailingOpen(self, key, message)

    def survive(self, error: Exception, key: Key, message: str) -> None:
        """Make an error visible and go on; or raise it: with `on_error="raise"`, or what the program itself has wrong.

        That is a SettingsError, as of an option that boto3 does not know.
        """
        if self.on_error == "raise" or isinstance(error, SettingsError):
            raise error
        self.recorder.trouble(error, message, key=str(key))


class FailingOpen:
    """The block of `Terms.fail_open`."""

    __slots__ = ("_key", "_message", "_terms")

    def __init__(self, terms: Terms, key: Key, message: str) -> None:
        self._terms = terms
        self._key = key
        self._message = message

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._terms.survive(error, self._key, self._message)  # a store of somebody else's may raise anything
        return True
