"""What a cache needs to know of a function, and how it survives trouble on the function's behalf."""

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
    """How old a function's results may be, which of them are kept, and how trouble is reported.

    `keep` versions stay of each result that `cache_if` accepts (None: all). `exceptions` maps the exception classes
    that are stored to the seconds they are kept for. Instances of `classes` may be stored and rebuilt. With `fleet`, a
    lease time in seconds, one machine computes what all miss. With `copy`, no two callers share a mutable result.
    `arguments` describes the arguments of the current call, if they are to be recorded.
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
        """Return the freshness of a result of this age, or of an exception of class `raised`."""
        if raised is None:
            return judge(age, self.policy)
        return judge(age, Policy(self.exceptions.get(raised, 0.0)))

    def may_be_exception(self, ttl: int | None, age: float) -> bool:
        """Whether a version may be an exception still to be raised, judging by its writer's `ttl` in its name."""
        return any(age < kept and ttl == whole_seconds(kept) for kept in self.exceptions.values())

    def longest(self, raised: type | None) -> float:
        """Return the age, in seconds, from which a result, or an exception of class `raised`, is never served."""
        return self.policy.longest if raised is None else self.exceptions.get(raised, 0.0)

    def fail_open(self, key: Key, message: str) -> FailingOpen:
        """Survive and report what a store or codec raises in the block: the caller's function must run all the same."""
        return FailingOpen(self, key, message)

    def survive(self, error: Exception, key: Key, message: str) -> None:
        """Report an error and go on; or raise it, with `on_error="raise"` or if it is a SettingsError.

        A SettingsError is a fault of the program itself, such as an option that boto3 does not know.
        """
        if self.on_error == "raise" or isinstance(error, SettingsError):
            raise error
        self.recorder.trouble(error, message, key=str(key))


class FailingOpen:
    """The context manager of `Terms.fail_open`."""

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
        self._terms.survive(error, self._key, self._message)  # a third-party store may raise anything
        return True
