"""`S3TTLCache`: a dict in a store whose items expire; it also serves as the cache of cachetools' decorators."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

from cachetools.keys import hashkey

from s3memo import codec, threads
from s3memo.annotations import check_types, listed_classes
from s3memo.cache import Cache
from s3memo.calls import Call
from s3memo.entry import Entry
from s3memo.errors import CodecError, DecodeError, EncodeError, NotStoredError, SettingsError, StoreError
from s3memo.events import Recorder
from s3memo.freshness import Duration, Policy, judge, seconds
from s3memo.keys import digest_of
from s3memo.locks import process_lock
from s3memo.settings import check_count
from s3memo.sharing import Place, cache_at, check_place
from s3memo.stores.base import PAGE_SIZE
from s3memo.terms import Terms
from s3memo.versions import MICROSECONDS, ItemKey, Listing, clearing, map_prefix, parse_object_key

_SEPARATOR: Any = hashkey(_=0)[0]  # what cachetools' keys have between positional and keyword arguments
_NO_DEFAULT: Any = object()


class S3TTLCache(MutableMapping[Any, Any]):
    """A mapping in a store, shared by all machines, with up to `maxsize` of its items in this process's memory too.

    Memory is set up by the Cache. All mappings of one name on one Cache share it; the first one's `maxsize` counts. Keys
    may be of all types that a cached function's arguments may have, and are typed: `1` and `1.0` differ. Values may be of
    all types that it may return; list your own classes in `types`. An item is valid for `ttl` (a duration; None: for ever)
    after it was set. Safe to share between threads, and usable as `cache=` of `cachetools.cached` and `cachedmethod`.

    `[]`, `get` and `in` answer from memory, else with a LIST and a GET; a store error is reported and counts as a missing
    item. Setting costs a LIST, a PUT, and a DELETE if something was there; it raises NotStoredError, which cachetools
    ignores. `del` and `pop` look in the store first, which is one LIST more than an invalidation. `len` costs a LIST per
    thousand objects, and iteration also a LIST and a GET for each item not in memory. These, and `del`, `pop`, `clear` and
    `expire`, raise StoreError.
    """

    def __init__(
        self,
        url_or_cache: Place = None,
        *,
        name: str,
        ttl: Duration | None = None,
        maxsize: int = 1024,
        types: Iterable[type] = (),
    ) -> None:
        if not isinstance(name, str) or not name:
            raise SettingsError(f"S3TTLCache(name={name!r}): give the mapping a name, a string that is not empty")
        check_place(url_or_cache)
        check_count("maxsize", maxsize, of="items", least=0)
        self._policy = Policy(seconds(ttl, name="ttl"))
        self._place = url_or_cache
        self._classes = listed_classes(check_types(types))
        self._bound: tuple[Cache, Terms] | None = None
        self.name = name
        self.maxsize = maxsize

    def __repr__(self) -> str:
        return f"S3TTLCache(name={self.name!r}, ttl={self.ttl!r}, maxsize={self.maxsize})"

    @property
    def ttl(self) -> float | None:
        """For how many seconds an item is valid; None for ever."""
        return self._policy.ttl

    @property
    def currsize(self) -> int:
        """The number of items in memory."""
        cache, terms = self._bind()
        return cache.info(lambda _: True, terms.recorder).currsize

    def __getitem__(self, key: Any) -> Any:
        cache, terms = self._bind()
        entry = cache.get(self._item_key(key), terms)
        if entry is None:
            raise KeyError(key)
        return _item(entry)[1]

    def __setitem__(self, key: Any, value: Any) -> None:
        cache, terms = self._bind()
        item_key = self._item_key(key)
        try:
            cache.set(item_key, terms, (self._storable(key), value))
        except (StoreError, CodecError) as error:
            terms.recorder.trouble(error, "an item was not stored", key=str(item_key))
            raise NotStoredError(f"{key!r} was not stored in {self!r}: {error}") from error

    def __delitem__(self, key: Any) -> None:
        cache, terms = self._bind()
        item_key = self._item_key(key)
        self._check_living(key, item_key)
        cache.invalidate(item_key, terms)

    def __iter__(self) -> Iterator[Any]:
        for entry in self._entries():
            yield _restored(_item(entry)[0])

    def __len__(self) -> int:
        return sum(self._is_living(listing) for _, listing in self._listed())

    __eq__ = object.__eq__  # Mapping's would fetch all items
    __hash__ = object.__hash__

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the item's value, or set it to `default` and return that; a store error is only reported."""
        cache, terms = self._bind()
        call = Call(
            cache, self._item_key(key), terms, lambda: (self._storable(key), default), lambda: self._item_key(key)
        )
        return threads.fetch(call)[1]

    def pop(self, key: Any, default: Any = _NO_DEFAULT) -> Any:
        """Remove the item and return its value; if the store has none return `default`, or raise KeyError without one."""
        cache, terms = self._bind()
        item_key = self._item_key(key)
        try:
            self._check_living(key, item_key)
            value = self[key]
        except KeyError:
            if default is _NO_DEFAULT:
                raise
            return default
        cache.invalidate(item_key, terms)
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return any item, as a pair of key and value. Raises KeyError if there is none."""
        for entry in self._entries():
            parts, value = _item(entry)
            key = _restored(parts)
            cache, terms = self._bind()
            cache.invalidate(entry.key, terms)
            return key, value
        raise KeyError(f"{self!r} is empty")

    def clear(self) -> None:
        """Delete all items."""
        cache, terms = self._bind()
        cache.clear(map_prefix(self.name), lambda _: True, terms)

    def expire(self) -> int:
        """Delete the items that have expired, for a LIST per thousand objects; return the number of objects deleted."""
        cache, _ = self._bind()
        cache.check_writable("expire")
        expired = (
            prefix + version.name
            for prefix, listing in self._listed()
            if not self._is_living(listing)
            for version in listing.versions
        )
        deleted = 0
        for batch in clearing(expired, latest=cache.store.time().latest, batch=PAGE_SIZE):
            cache.store.delete(batch)
            deleted += len(batch)
        return deleted

    def _bind(self) -> tuple[Cache, Terms]:
        """Return the cache and the terms, made on first use: `configure` may name the store until then."""
        with process_lock:
            if self._bound is None:
                base = cache_at(self._place)
                recorder = Recorder(f"mapping {self.name!r}", base.hooks)
                terms = Terms(recorder, self._policy, keep=1, on_error=base.on_error, classes=self._classes)
                self._bound = base.part(self.name, max_entries=self.maxsize), terms
            return self._bound

    def _item_key(self, key: Any) -> ItemKey:
        return ItemKey(self.name, "", digest_of(_taken_apart(key)))

    def _storable(self, key: Any) -> tuple[Any, ...]:
        """Return what is stored of a key: its parts, or nothing if they cannot be stored, as a class cannot."""
        parts = _taken_apart(key)
        try:
            codec.encode(parts, self._classes)
        except EncodeError:
            return ()
        return parts

    def _check_living(self, key: Any, item_key: ItemKey) -> None:
        """Raise KeyError unless the store has the item; drop it from memory if not."""
        cache, terms = self._bind()
        if not self._is_living(cache.look(item_key, terms)):
            cache.drop(item_key)
            raise KeyError(key)

    def _is_living(self, listing: Listing) -> bool:
        """Whether a listing's newest version is an item that has not expired."""
        if listing.newest is None:
            return False
        age = self._bind()[0].store.time().latest - listing.newest.created / MICROSECONDS
        return judge(age, self._policy) == "fresh"

    def _listed(self) -> Iterator[tuple[str, Listing]]:
        """Yield the prefix of each digest, and its versions."""
        store = self._bind()[0].store
        latest = store.time().latest
        found = filter(None, (parse_object_key(info.key) for info in store.list(map_prefix(self.name))))
        ours = ((prefix, version) for prefix, version in found if not version.is_foreign(latest))
        for prefix, group in itertools.groupby(ours, key=itemgetter(0)):
            yield prefix, Listing(tuple(version for _, version in group))

    def _entries(self) -> Iterator[Entry[Any]]:
        """Yield the items that have not expired, except those deleted meanwhile. Raises StoreError and CodecError."""
        cache, terms = self._bind()
        for prefix, listing in self._listed():
            if self._is_living(listing):
                item_key = ItemKey(self.name, "", prefix.split("/")[-2])
                cache.notice(item_key, listing)
                entry = cache.get(item_key, replace(terms, on_error="raise"))
                if entry is not None:
                    yield entry


def _taken_apart(key: Any) -> tuple[Any, ...]:
    """Return a key's parts: the key alone, or for a call with keywords by cachetools, its positional and keyword parts."""
    if isinstance(key, _SEPARATOR):
        key = tuple(key)
    if type(key) is tuple and any(part is _SEPARATOR for part in key):
        place = next(place for place, part in enumerate(key) if part is _SEPARATOR)
        return key[:place], key[place + 1 :]
    return (key,)


def _restored(parts: tuple[Any, ...]) -> Any:
    """Return the key, given its parts. Raises DecodeError."""
    match parts:
        case (key,):
            return key
        case (positional, keywords):
            return (*positional, _SEPARATOR, *keywords)
    raise DecodeError("an item's key holds what cannot be stored, such as a class, so it cannot be told")


def _item(entry: Entry[Any]) -> tuple[tuple[Any, ...], Any]:
    """Return the parts of an item's key, and its value. Raises DecodeError."""
    match entry.value:
        case (tuple() as parts, value):
            return parts, value
    raise DecodeError(f"{entry.key} is not what an S3TTLCache wrote")
