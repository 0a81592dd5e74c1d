"""The options of `s3_cached`, and their checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, get_args

from s3memo import fingerprint
from s3memo.annotations import check_types
from s3memo.errors import SettingsError
from s3memo.fingerprint import Code
from s3memo.freshness import LEASE_SECONDS, Duration, Policy, lease_seconds, seconds
from s3memo.settings import check_choice, check_count
from s3memo.terms import OnError


class TermOptions(TypedDict, total=False):
    """The options that do not change keys: functions that differ in them share their results."""

    ttl: Duration | None
    stale_while_revalidate: Duration
    stale_if_error: Duration
    types: Iterable[type]
    cache_if: Callable[[Any], object] | None
    cache_exceptions: Mapping[type[Exception], Duration | None] | None
    keep: int
    copy: bool
    fleet: bool | Duration
    on_error: OnError | None


class Options(TermOptions, total=False):
    """All options."""

    name: str | None
    version: str | int | None
    code: Code
    depends: Iterable[Any]
    key: Callable[..., Any] | None
    ignore: Iterable[str]


def checked(options: Options) -> Options:
    """Return the options, all of which must be given, in the form `cache_parameters` returns. Raises SettingsError."""
    keep, copy, on_error, cache_if = options["keep"], options["copy"], options["on_error"], options["cache_if"]
    check_count("keep", keep, of="versions", least=1)
    if not isinstance(copy, bool):
        raise SettingsError(f"copy={copy!r} must be True or False")
    if on_error is not None:
        check_choice("on_error", on_error, get_args(OnError))
    if cache_if is not None and not callable(cache_if):
        raise SettingsError(f"cache_if={cache_if!r} is not callable: give a function of the result")
    fingerprint.check_code(version=options["version"], code=options["code"], depends=options["depends"])
    given = options.copy()
    ttl = given["ttl"] = seconds(options["ttl"], name="ttl")
    given["stale_while_revalidate"] = _window(options["stale_while_revalidate"], ttl, "stale_while_revalidate")
    given["stale_if_error"] = _window(options["stale_if_error"], ttl, "stale_if_error")
    given["types"] = check_types(options["types"])
    given["depends"] = tuple(options["depends"])
    given["fleet"] = _fleet(options["fleet"])
    given["cache_exceptions"] = _exceptions(options["cache_exceptions"])
    return given


def policy_of(options: Options) -> Policy:
    """Return the freshness policy in checked options."""
    ttl, revalidate, if_error = options["ttl"], options["stale_while_revalidate"], options["stale_if_error"]
    return Policy(ttl, revalidate, if_error)  # type: ignore[arg-type]  # `checked` converted them to seconds


def _fleet(given: bool | Duration) -> bool | float:  # noqa: FBT001  the option may be a bool
    """Return the ttl of the function's leases in seconds, or False."""
    if given is False:
        return False
    return lease_seconds(LEASE_SECONDS if given is True else given, name="fleet")


def _window(duration: Duration | None, ttl: Duration | None, name: str) -> float:
    window = seconds(duration, name=name)
    if window is None:
        raise SettingsError(f"{name}=None says nothing: give a duration, 0 for none")
    if window and ttl is None:
        raise SettingsError(f"{name}={duration!r} means nothing without a ttl=, for results then never expire")
    return window


def _exceptions(given: Mapping[type[Exception], Duration | None] | None) -> dict[type[Exception], float]:
    """Return the exception classes that are stored, and for how many seconds."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SettingsError(f'cache_exceptions={given!r} must say for how long: cache_exceptions={{KeyError: "60s"}}')
    kinds = check_types(given, name="cache_exceptions")
    for kind in kinds:
        if not issubclass(kind, Exception):
            raise SettingsError(f"cache_exceptions: {kind!r} is no class of exceptions")
    durations = {kind: seconds(kept, name=f"cache_exceptions[{kind.__name__}]") for kind, kept in given.items()}
    return {kind: float("inf") if kept is None else kept for kind, kept in durations.items()}
