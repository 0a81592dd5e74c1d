"""What the environment and `configure` say, and what a store's URL means."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlsplit

from s3memo.errors import SettingsError
from s3memo.locks import process_lock
from s3memo.signing import NO_KEYS, SigningKey, SigningKeys

Scheme: TypeAlias = Literal["s3", "s3+obstore", "gs", "az", "file", "memory"]

_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise SettingsError unless `value` is one of `choices`."""
    allowed = tuple(choices)
    if value not in allowed:
        raise SettingsError(f"{name}={value!r} must be {' or '.join(map(repr, allowed))}")


def check_count(name: str, value: object, *, of: str = "", least: int) -> None:
    """Raise SettingsError unless `value` is a whole number `of` what it counts, `least` or more."""
    if type(value) is not int or value < least:
        raise SettingsError(f"{name}={value!r} must be a whole number{of and f' of {of}'}, {least} or more")


@dataclass(frozen=True, slots=True)
class Location:
    """A store's URL, taken apart and normalised: equal locations are the same store.

    `root` is the bucket, the directory or the name; `prefix` is what stands before every object key in a bucket.
    """

    scheme: Scheme
    root: str
    prefix: str = ""

    def __str__(self) -> str:
        root = quote(os.fsencode(self.root)) if self.scheme == "file" else self.root
        return f"{self.scheme}://{root}" + (f"/{self.prefix}" if self.prefix else "")


def parse_url(url: str | os.PathLike[str]) -> Location:
    """Return the location that a URL or path names, or raise SettingsError."""
    if not isinstance(url, str | os.PathLike):
        raise SettingsError(f"{url!r} is neither a URL, nor a path, nor a Store")
    text = os.fspath(url)
    try:
        location = _location(text, is_path=isinstance(url, os.PathLike))
    except (ValueError, RuntimeError) as error:  # a bracket that nothing closes; a user whose home is not known
        raise SettingsError(f"{text!r} names no store: {error}") from error
    if location is None:
        raise SettingsError(
            f"{text!r} names no store: give s3://bucket/prefix, file:///directory, memory://, "
            "a directory that starts with /, ./ or ~, or with s3memo[obstore] s3+obstore://, gs:// or az://"
        )
    return location


def _location(text: str, *, is_path: bool) -> Location | None:
    if is_path or text.startswith(("/", "./", "~")):
        return _directory(text)
    parts = urlsplit(text)
    match parts.scheme:
        case "s3" | "s3+obstore" | "gs" | "az" as scheme if parts.netloc and not parts.query and not parts.fragment:
            return Location(scheme, parts.netloc, parts.path.strip("/"))
        case "file" if parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
            return _directory(os.fsdecode(unquote_to_bytes(parts.path)))
        case "memory" if not parts.path.strip("/"):
            return Location("memory", parts.netloc)
    return None


def _directory(text: str) -> Location:
    if "\0" in text:
        raise ValueError("no path holds a null character")
    return Location("file", os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  equal paths, with .. in them too


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the whole process unless an argument says otherwise."""

    url: str | None = None
    disabled: bool = False
    read_only: bool = False
    signing_keys: SigningKeys = NO_KEYS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read S3MEMO_URL, …_DISABLED, …_READ_ONLY and …_SIGNING_KEYS (commas separate them); raises SettingsError."""
        return cls(
            url=environment.get("S3MEMO_URL") or None,
            disabled=_flag(environment, "S3MEMO_DISABLED"),
            read_only=_flag(environment, "S3MEMO_READ_ONLY"),
            signing_keys=SigningKeys.from_text(environment.get("S3MEMO_SIGNING_KEYS", ""), name="S3MEMO_SIGNING_KEYS"),
        )


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "").strip().lower()
    if not text:
        return False
    if text not in _FLAGS:
        raise SettingsError(f"{name}={environment[name]!r} is neither yes nor no: set it to 1 or 0")
    return _FLAGS[text]


class _Process:
    """The settings of this process: open to `configure` until they are first used."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.is_used = False

    def use(self) -> Settings:
        with process_lock:
            self.is_used = True
            if self.settings is None:
                self.settings = Settings.from_environment(os.environ)
            return self.settings

    def configure(self, **changes: str | bool | SigningKeys) -> None:
        with process_lock:
            if self.is_used:
                raise SettingsError("configure() comes too late: a cached function was already called or asked")
            self.settings = replace(self.settings or Settings.from_environment(os.environ), **changes)  # type: ignore[arg-type]


_process = _Process()
_disabled_here: ContextVar[bool] = ContextVar("s3memo_disabled", default=False)


def current() -> Settings:
    """Return the settings of this process; from now on they stay as they are."""
    # No lock, for which all threads of a batch would wait in turn.
    if _process.is_used and _process.settings is not None:
        return _process.settings
    return _process.use()


def default_location() -> Location:
    """Return where results are kept if nobody says where: what `configure` or S3MEMO_URL names, else the user's cache.

    Raises SettingsError.
    """
    url = current().url
    if url is not None:
        return parse_url(url)
    import platformdirs  # noqa: PLC0415  most programs name a store and never need it

    return parse_url(platformdirs.user_cache_path("s3memo"))


def configure(
    *,
    url: str | os.PathLike[str] | None = None,
    disabled: bool | None = None,
    read_only: bool | None = None,
    signing_keys: Iterable[SigningKey] | None = None,
) -> None:
    """Set what S3MEMO_URL, …_DISABLED, …_READ_ONLY and …_SIGNING_KEYS would, before the first cached call.

    Raises SettingsError for a URL that names no store or a key that is too short, and when it comes too late.
    """
    given = {
        "url": None if url is None else str(parse_url(url)),
        "disabled": disabled,
        "read_only": read_only,
        "signing_keys": None if signing_keys is None else SigningKeys(signing_keys),
    }
    _process.configure(**{name: value for name, value in given.items() if value is not None})


class _QuickClock:
    """The clock of quick hits, in seconds: while anybody has disabled the caches, all calls take the long way."""

    def __init__(self) -> None:
        self.now = time.monotonic
        self._stops = 0

    def stop(self, by: int) -> None:
        with process_lock:
            self._stops += by
            self.now = _end_of_time if self._stops else time.monotonic


def _end_of_time() -> float:
    return math.inf


quick_clock = _QuickClock()


@contextmanager
def disabled() -> Iterator[None]:
    """Let cached functions run as if they were not decorated, in this thread or task, for a while."""
    token = _disabled_here.set(True)
    quick_clock.stop(+1)
    try:
        yield
    finally:
        quick_clock.stop(-1)
        _disabled_here.reset(token)


def is_disabled() -> bool:
    """Return whether cached functions are to run as if they were not decorated."""
    return _disabled_here.get() or current().disabled
