"""One Cache per location in a process, so that all users of a location share its memory."""

from __future__ import annotations

import os
from typing import TypeAlias
from weakref import WeakValueDictionary

from s3memo.cache import Cache
from s3memo.errors import SettingsError
from s3memo.locks import process_lock
from s3memo.settings import Location, default_location, parse_url
from s3memo.stores import open_store
from s3memo.stores.base import Store

Place: TypeAlias = Cache | Store | str | os.PathLike[str] | None
"""Names a store: a Cache on it, the store itself, a URL or directory; None: the one in the settings."""

_by_location: dict[Location, Cache] = {}
_by_store: WeakValueDictionary[int, Cache] = WeakValueDictionary()


def shared_cache(location: Location | None = None) -> Cache:
    """Return this process's Cache for a location; None: for the default one."""
    where = location or default_location()
    with process_lock:
        if where not in _by_location:
            _by_location[where] = Cache(None if location is None else open_store(location))
        return _by_location[where]


def shared_cache_of(store: Store) -> Cache:
    """Return this process's Cache for a store instance; it lives as long as it is in use."""
    with process_lock:
        cache = _by_store.get(id(store))  # a Cache keeps its store alive, so no other store has that id
        if cache is None:
            cache = _by_store[id(store)] = Cache(store)
        return cache


def cache_at(place: Place) -> Cache:
    """Return the Cache given, or this process's Cache for the place. Raises SettingsError."""
    match place:
        case None:
            return shared_cache()
        case Cache():
            return place
        case str() | os.PathLike():
            return shared_cache(parse_url(place))
        case _:
            return shared_cache_of(place)


def check_place(place: Place) -> None:
    """Raise SettingsError unless `place` names a store; opens none."""
    if isinstance(place, str | os.PathLike):
        parse_url(place)
    elif not isinstance(place, Cache | Store | None):
        raise SettingsError(f"{place!r} names no store: give a Cache, a Store, a URL or a directory")
