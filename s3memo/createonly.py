"""Whether a store enforces create-only: of several writers of one name, one wins and the others are told so.

AWS does, and the stores that s3memo keeps on this machine do. Elsewhere it is tried once, with writers that race, and a
marker in the store says for all later processes that it held. Servers exist that take the condition and ignore it, such
on which it holds only while nobody else writes, and such on which it holds until the bucket keeps versions (Ceph 16): so
each state of the bucket's versioning has a marker of its own, as far as one may ask for it.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from weakref import WeakValueDictionary

from s3memo.bridge import aside
from s3memo.errors import AlreadyExistsError, NotFoundError, StoreError, StoreNotSupportedError, StoreUnavailableError
from s3memo.locks import process_lock
from s3memo.stores.base import Store
from s3memo.trials import PROBE_ROOT, race_key
from s3memo.versions import base32

ROUNDS = 5
WRITERS = 6
"""How many race in each round; each has a connection of its own, since all ask at once."""

_PATIENCE = 60.0
"""Seconds that a writer waits for the others to start."""

_checked: WeakValueDictionary[int, Store] = WeakValueDictionary()
_refused: WeakValueDictionary[int, Store] = WeakValueDictionary()


def check_create_only(store: Store) -> None:
    """Return if the store enforces create-only, else raise StoreNotSupportedError, or the StoreError of a failed trial.

    A store may say so itself, by an attribute `enforces_create_only` that is true, name its server in `endpoint`, and tell
    what its bucket does with old versions in `versioning`, where an error or "" means that nothing is known. In each
    process another store's marker is read once, and a store that was refused stays so.
    """
    with process_lock:
        if _checked.get(id(store)) is store:
            return
        is_refused = _refused.get(id(store)) is store
    if is_refused:
        raise _refusal(store, "this process has tried it")
    if not getattr(store, "enforces_create_only", False):
        try:
            _check_by_trial(store, marker_of(store, _versioning(store)))
        except StoreNotSupportedError:
            with process_lock:
                _refused[id(store)] = store
            raise
    with process_lock:
        _checked[id(store)] = store


def markers_of(store: Store) -> set[str]:
    """Return the object keys of all markers that any process may go by now: not each may ask for the versioning."""
    return {marker_of(store), marker_of(store, _versioning(store))}


def marker_of(store: Store, versioning: str = "") -> str:
    """Return the object key of the marker that says that the store's server was tried, and passed."""
    endpoint: str = getattr(store, "endpoint", store.url)
    tried = f"{endpoint}\n{versioning}" if versioning else endpoint
    return PROBE_ROOT + base32(hashlib.blake2b(tried.encode(), digest_size=20).digest())


def probe(store: Store) -> None:
    """Let writers race for new names; StoreNotSupportedError if more than one is told that it won, or wrote."""
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="s3memo-probe") as racers:
        for _ in range(ROUNDS):
            object_key = race_key()
            start = threading.Barrier(WRITERS, timeout=_PATIENCE)
            bids = [b"%d" % number for number in range(WRITERS)]
            try:
                races = [racers.submit(_race, store, object_key, bid, start) for bid in bids]
            except BaseException:  # such as that the system has no thread left, for which the others would wait
                start.abort()
                raise
            winners = [bid for bid, race in zip(bids, races, strict=True) if race.result()]
            try:
                found = bytes(store.get(object_key))
                store.delete([object_key])
            except NotFoundError:
                found = b""
            if len(winners) > 1 or (winners and winners != [found]):
                raise _refusal(store, f"of {WRITERS} writers of one object {len(winners)} were told that they made it")


def _versioning(store: Store) -> str:
    try:
        return str(getattr(store, "versioning", ""))
    except StoreError:  # it is optional to allow the question
        return ""


def _check_by_trial(store: Store, marker: str) -> None:
    try:
        store.get(marker)
    except NotFoundError:
        aside(partial(probe, store))
        store.put(marker, b"create-only held")


def _refusal(store: Store, reason: str) -> StoreNotSupportedError:
    return StoreNotSupportedError(
        f"{store!r} does not enforce create-only: {reason}. ServiceState, Lease and fleet= would lose updates there; keep "
        "them in a store that honours If-None-Match, such as AWS S3, Ceph or MinIO, or in file:///directory on one machine"
    )


def _race(store: Store, object_key: str, bid: bytes, start: threading.Barrier) -> bool:
    start.wait()
    try:
        store.put(object_key, bid, mode="create")
    except (AlreadyExistsError, StoreUnavailableError):
        return False
    return True
