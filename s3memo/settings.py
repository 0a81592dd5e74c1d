"""Settings from the environment and `configure`, and the meaning of a store's URL."""

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
    """Raise SettingsError unless `value` is an int of at least `least`; `of` names what it counts."""
    if type(value) is not int or value < least:
        raise SettingsError(f"{name}={value!r} must be a whole number{of and f' of {of}'}, {least} or more")


@dataclass(frozen=True, slots=True)
class Location:
    """A store's URL, parsed and normalised: equal locations are the same store.

    `root` is the bucket, the directory or the name; `prefix` precedes all object keys in a bucket.
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
    except (ValueError, RuntimeError) as error:  # an unclosed bracket; a user with an unknown home
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
    return Location("file", os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  it also normalises ..


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults for the whole process, which arguments override."""

    url: str | None = None
    disabled: bool = False
    read_only: bool = False
    signing_keys: SigningKeys = NO_KEYS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read S3MEMO_URL, …_DISABLED, …_READ_ONLY and …_SIGNING_KEYS (comma-separated). Raises SettingsError."""
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
    """The settings of this process, which `configure` may change until they are first used."""

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
    """Return the settings of this process, which are fixed from now on."""
    # Without the lock, which all threads of a batch would contend for.
    if _process.is_used and _process.settings is not None:
        return _process.settings
    return _process.use()


def default_location() -> Location:
    """Return the default location: what `configure` or S3MEMO_URL names, else the user's cache. Raises SettingsError."""
    url = current().url
    if url is not None:
        return parse_url(url)
    import platformdirs  # noqa: PLC0415  most programs name a store and do not need it

    return parse_url(platformdirs.user_cache_path("s3memo"))


def configure(
    *,
    url: str | os.PathLike[str] | None = None,
    disabled: bool | None = None,
    read_only: bool | None = None,
    signing_keys: Iterable[SigningKey] | None = None,
) -> None:
    """Set, before the first cached call, what S3MEMO_URL, …_DISABLED, …_READ_ONLY and …_SIGNING_KEYS would.

    Raises SettingsError for a URL that names no store, for a key that is too short, and after the first call.
    """
    given = {
        "url": None if url is None else str(parse_url(url)),
        "disabled": disabled,
        "read_only": read_only,
        "signing_keys": None if signing_keys is None else SigningKeys(signing_keys),
    }
    _process.configure(**{name: value for name, value in given.items() if value is not None})


class _QuickClock:
    """The clock of quick hits, in seconds; while caches are disabled anywhere, it makes all calls take the long way."""

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
    """Run cached functions as if not decorated, in this thread or task, within the block."""
    token = _disabled_here.set(True)
    quick_clock.stop(+1)
    try:
        yield
    finally:
        quick_clock.stop(-1)
        _disabled_here.reset(token)


def is_disabled() -> bool:
    """Return whether cached functions run as if not decorated."""
    return _disabled_here.get() or current().disabled
