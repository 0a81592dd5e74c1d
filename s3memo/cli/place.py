"""Which store a command works on, and finding names in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from s3memo.cache import Cache
from s3memo.errors import NotFoundError, SettingsError, StoreAccessError
from s3memo.settings import Location, default_location, parse_url
from s3memo.stores import open_store
from s3memo.stores.base import Store
from s3memo.stores.local import FILE_NAME
from s3memo.versions import MAP_ROOT, MEMO_ROOT, escape, is_result_prefix, original, unescape

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The store: s3://bucket/prefix, file:///directory, gs://…, az://…. "
        "Default: S3MEMO_URL, else your cache directory.",
    ),
]
UrlArgument = Annotated[
    str | None,
    typer.Argument(
        help="The store: s3://bucket/prefix, file:///directory, … Default: S3MEMO_URL, else your cache directory."
    ),
]
_SHOWN = 20


def location_of(url: str | None) -> Location:
    """Return the location a URL names, by default the one caches use. Raises SettingsError."""
    return parse_url(url) if url else default_location()


def open_cache(url: str | None) -> Cache:
    """Return a cache on the store. Raises SettingsError, and StoreAccessError for a directory without a store."""
    location = location_of(url)
    if location.scheme == "file" and not Path(location.root, FILE_NAME).exists():  # opening would create it
        raise StoreAccessError(f"there is no store in {location}: name another with --url or S3MEMO_URL")
    return Cache(open_store(location), memory=None)


def check_name(name: str) -> None:
    """Raise SettingsError if the name of a function, key or state is a URL, which is easily given in its place."""
    if re.match(r"[a-z0-9+]+://", name):
        raise SettingsError(f"{name!r} is a store: give it as --url {name}, or as S3MEMO_URL")


def names_below(store: Store, root: str, beginning: str = "") -> Iterator[str]:
    """Yield the names directly below a root that start with `beginning`; each costs one LIST."""
    start_after = ""
    while name := _next_folder(store, root, beginning, start_after):
        yield unescape(name)
        start_after = f"{root}{name}0"  # "0" follows "/"


def _next_folder(store: Store, root: str, beginning: str, start_after: str) -> str:
    """Return the name of the next folder, or ""; objects that are in no folder are skipped."""
    for info in store.list(root + beginning, start_after=start_after):
        name, slash, _ = info.key.removeprefix(root).partition("/")
        if slash and name:
            return name
    return ""


def part_of(store: Store, root: str, name: str) -> str | None:
    """Return a name as object keys below a root have it, or None if none does; it may be given escaped, as shown."""
    parts = (escape(name), name)
    return next((part for part in parts if next(store.list(f"{root}{part}/", limit=1), None) is not None), None)


def name_of(store: Store, root: str, name: str) -> str:
    """Return the name that is meant: what was given may be its escaped form, as shown."""
    unescaped = original(name)
    if unescaped is None or unescaped == name:
        return name
    return unescaped if part_of(store, root, name) == name else name


def find_call(store: Store, text: str) -> str:
    """Return the prefix of a call's object keys; the beginning of its digest suffices.

    Raises SettingsError, and NotFoundError if there is no such call or several.
    """
    *names, beginning = text.split("/")
    if not all(names) or not names or not beginning:
        raise SettingsError(
            f"{text!r} is no key: give function/tag/digest or mapping/digest, as `s3memo ls FUNCTION` lists them and "
            "str(f.cache_key(…)) is; of the digest its beginning suffices"
        )
    for folder in dict.fromkeys(_folders(names)):
        names_found = names_below(store, folder, beginning)
        digests = list(islice((each for each in names_found if is_result_prefix(f"{folder}{each}/")), _SHOWN + 1))
        if len(digests) == 1:
            return f"{folder}{digests[0]}/"
        if digests:
            listed = ", ".join(digests[:_SHOWN]) + (", …" if len(digests) > _SHOWN else "")
            raise NotFoundError(f"{text!r} is the beginning of several keys: give more of one of {listed}")
    raise NotFoundError(
        f"{store.url} holds no key {text!r}: it was never stored, or collected since; `s3memo ls FUNCTION` lists those "
        "that are there, and a function whose code was changed has another tag"
    )


def _folders(names: list[str]) -> Iterator[str]:
    """Yield the folders a call may be in: names may contain slashes, and may be given escaped."""
    for written in (escape, str):
        for place in range(len(names) - 1, 0, -1):
            yield f"{MEMO_ROOT}{written('/'.join(names[:place]))}/{written('/'.join(names[place:]))}/"
        yield f"{MAP_ROOT}{written('/'.join(names))}/"


def nothing_in(store: Store) -> str:
    """Return a message for a store without objects of s3memo's: whether others are there."""
    has_others = next(store.list("", limit=1), None) is not None
    hint = "but other objects are there: is the URL right?" if has_others else "nor is anything else there"
    return f"Nothing of s3memo's is in {store.url}, {hint}"


def no_such(kind: str, name: str, store: Store, root: str) -> NotFoundError:
    """Return the error for an unknown name; it lists the known ones."""
    names = list(islice(names_below(store, root), _SHOWN + 1))
    if not names:
        return NotFoundError(f"{store.url} holds no {kind} {name!r}, and no other {kind} either: is the URL right?")
    closest = difflib.get_close_matches(name, names, n=1)
    suggestion = f" Did you mean {closest[0]!r}?" if closest else ""
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return NotFoundError(f"{store.url} holds no {kind} {name!r}.{suggestion} There are: {listed}")
