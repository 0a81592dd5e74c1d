"""A store on obstore, an engine written in Rust: S3, Google Cloud Storage and Azure."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from s3memo import bridge
from s3memo.errors import NotFoundError, SettingsError, StoreAccessError, StoreError, StoreNotSupportedError
from s3memo.events import RequestKind
from s3memo.stores.base import PAGE_SIZE, Buffer, ObjectInfo, PutMode, TimeBounds
from s3memo.stores.clock import ServerClock, checked_bounds, local_clock
from s3memo.stores.objectstore.clock import AskedClock
from s3memo.stores.objectstore.names import is_refused
from s3memo.stores.paging import batches
from s3memo.stores.parts import PART
from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3 import DIRECTORY_BUCKET, S3Store, folder_of

try:
    from s3memo.stores.objectstore import large
    from s3memo.stores.objectstore.client import ObstoreConnection, check_put_options, endpoint_of, make_engine, runtime
    from s3memo.stores.objectstore.errors import deletion_error, is_kept, is_of_a_name
    from s3memo.stores.objectstore.listing import Lister
    from s3memo.stores.objectstore.places import described, taken_apart
    from s3memo.stores.objectstore.verbs import remove, write
    from s3memo.stores.s3.errors import Request
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "obstore":
        raise
    raise SettingsError("this store needs obstore: pip install 's3memo[obstore]'") from error

if TYPE_CHECKING:
    from s3memo.stores.objectstore.verbs import Engine

T = TypeVar("T")

_CREATE_ONLY = {
    "s3+obstore": (".amazonaws.com", ".amazonaws.com.cn"),
    "gs": ("storage.googleapis.com",),
    "az": (".blob.core.windows.net",),
}
"""Hosts that enforce create-only, by scheme."""


class ObjectStore:
    """Objects below a prefix of a bucket or container; see Store for the methods.

    `url_or_store` is `s3+obstore://bucket/prefix` (boto3 finds credentials, region and endpoint), `gs://…` or `az://…`
    (obstore finds them); or a store of obstore's own for one of these or in memory. `prefix` is appended. On S3
    `put_options` sets the encryption: ServerSideEncryption, SSEKMSKeyId and BucketKeyEnabled, as S3Store takes them.
    `attempts` and the time-outs (seconds) are those of RetryPolicy; those of obstore's own store apply too.

    obstore does not survive fork(): in a child forked after its first use `s3+obstore://` falls back to boto3, and all
    else raises StoreNotSupportedError.
    """

    def __init__(
        self,
        url_or_store: str | os.PathLike[str] | Engine,
        prefix: str = "",
        *,
        put_options: Mapping[str, Any] | None = None,
        attempts: int = 3,
        operation_timeout: float = 15.0,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        clock: Callable[[], float] = local_clock,
        sleep: Callable[[float], None] = bridge.sleep,
    ) -> None:
        self._given = None if isinstance(url_or_store, str | os.PathLike) else url_or_store
        if isinstance(url_or_store, str | os.PathLike):
            self._scheme, self._bucket, before = taken_apart(url_or_store)
        else:
            self._scheme, self._bucket, before = described(url_or_store)
            runtime.started = True  # it may have been used already
        self._put_options = dict(put_options or {})
        if self._put_options and (self._scheme != "s3+obstore" or self._given is not None):
            raise SettingsError(
                "put_options= is for s3+obstore://bucket: set up obstore's own store by its own options"
            )
        check_put_options(self._put_options)
        self._policy = RetryPolicy(attempts, operation_timeout, connect_timeout, read_timeout)
        self.clock = clock
        self._sleep = sleep
        whole = "/".join(filter(None, [before.strip("/"), prefix.strip("/")]))
        self._root = folder_of(whole if self._given is None else prefix)
        self._before = "" if self._given is None else folder_of(before)  # obstore adds it itself
        by_boto3 = None if self._scheme == "memory" else self._by_boto3(whole)
        # What takes over where obstore cannot, if boto3 finds the same place by the same settings.
        self._fallback = by_boto3 if self._scheme == "s3+obstore" and self._given is None else None
        self._forget()

    def _by_boto3(self, prefix: str) -> S3Store:
        """Return the same place by boto3, which checks its names, and is the fallback in a forked child."""
        if self._bucket.endswith(DIRECTORY_BUCKET):
            raise SettingsError(
                f"{self._bucket} is a directory bucket, which lists in no order: use s3://{self._bucket}"
            )
        settings = {"clock": self.clock, "sleep": self._sleep, **asdict(self._policy)}
        return S3Store(self._bucket, prefix, put_options=self._put_options, **settings)

    def _forget(self) -> None:
        self._server_clock = AskedClock(self._ask_time, self.clock)
        self._connections: dict[int, ObstoreConnection] = {}

    def __repr__(self) -> str:
        return f"<ObjectStore {self.url}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._given is not None:
            raise TypeError(f"cannot pickle {self!r}: it was given a store of obstore's; give a URL instead")
        left = {"_server_clock", "_connections"}
        return {name: value for name, value in vars(self).items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    @property
    def url(self) -> str:
        """`s3+obstore://bucket/prefix`, or `gs`, `az` or `memory`; the endpoint is not part of it."""
        return self._url().removesuffix("/") if self._root or self._bucket else self._url()

    @property
    def endpoint(self) -> str:
        """Where the server is."""
        instead = self._instead
        return instead.endpoint if instead else endpoint_of(self._connection.engine(Request("PUT", self.url)))

    @property
    def enforces_create_only(self) -> bool:
        """Whether create-only is known to be enforced, as on AWS, Google, Azure and in memory; else a trial must tell."""
        return self._scheme == "memory" or (urlsplit(self.endpoint).hostname or "").endswith(_CREATE_ONLY[self._scheme])

    @property
    def versioning(self) -> str:
        """See S3Store; obstore cannot ask, so boto3 does, and "" stands for what boto3 cannot reach."""
        return "" if self._fallback is None else self._fallback.versioning

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix, ascending; see Store. On Azure all are read and sorted before the first."""
        instead = self._instead
        if instead:
            return instead.list(prefix, start_after=start_after, limit=limit)
        lister = Lister(self._root, self._place, self._ask, self._policy.operation_timeout)
        if self._scheme == "az":
            return lister.sort(prefix, start_after, limit)
        found = lister.walk(prefix, start_after, limit)
        return found if self._fallback is None else self._whole(found, self._fallback, prefix, start_after, limit)

    @staticmethod
    def _whole(
        found: Iterator[ObjectInfo], by_boto3: S3Store, prefix: str, start_after: str, limit: int | None
    ) -> Iterator[ObjectInfo]:
        """Yield a listing; from a name that obstore does not support on, by boto3."""
        try:
            for info in found:
                yield info
                start_after, limit = info.key, None if limit is None else limit - 1
        except StoreNotSupportedError as error:
            if not is_of_a_name(error):
                raise
            rest = by_boto3.list(prefix, start_after=start_after, limit=limit)
            while page := bridge.aside(lambda: builtins.list(islice(rest, PAGE_SIZE))):
                yield from page

    def get(self, object_key: str) -> Buffer:
        """Return the object's bytes in a buffer that the caller owns, or raise NotFoundError."""
        instead = self._instead
        if instead:
            return instead.get(object_key)
        path = self._path(object_key)
        return large.read(self._ask, self._url(object_key), path)

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object, from 8 MiB up in parts; in mode "create" raise AlreadyExistsError if there is one.

        boto3 sends parts to S3, since it can retry single ones, unless a store of obstore's own was given. A create is one
        request, whatever the size; one that is retried after its answer was lost may meet its own object.
        """
        instead = self._instead
        if instead:
            instead.put(object_key, data, mode=mode)
            return
        is_large = mode == "overwrite" and memoryview(data).nbytes >= PART
        if is_large and self._fallback is not None:
            bridge.aside(partial(self._fallback.put, object_key, data))
            return
        path = self._path(object_key)
        # obstore keeps a reference to the data, which the caller may change.
        whole = data if isinstance(data, bytes) else bridge.aside(memoryview(data).tobytes)
        if is_large:
            bridge.aside(partial(large.put_in_parts, self._ask, self._url(object_key), path, whole))
        else:
            self._ask("PUT", self._url(object_key), lambda engine: write(engine, path, whole, mode))

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects in the order given: a thousand a request on S3, elsewhere one by one.

        If a server keeps any of a thousand, they are deleted one by one to learn each reason; then no more are sent, and
        the StoreError names what was left.
        """
        instead = self._instead
        if instead:
            instead.delete(object_keys)
            return
        for batch in batches(object_keys):
            if self._scheme in {"gs", "az"}:
                self._delete_singly(batch)
            else:
                self._delete_batch(batch)

    def time(self) -> TimeBounds:
        """Return bounds of the server's clock, asked for on first use and again every hour.

        It takes a request of its own, because obstore does not show the Date of answers. In memory it is this machine's.
        """
        instead = self._instead
        if instead:
            return instead.time()
        if self._scheme == "memory":
            now = time.time()
            return TimeBounds(now, now)
        return checked_bounds(self._server_clock.bounds(), self.url)

    @property
    def awaits(self) -> bool:
        """Whether it lets the event loop go on across a `bridge`, so that async functions need no threads."""
        return not runtime.lost

    def _ask_time(self, server_clock: ServerClock) -> None:
        self._connection.observe_date(self.url, server_clock)

    def _ask(self, kind: RequestKind, url: str, send: Callable[[Engine], T], *, counted: bool = True) -> T:
        self._server_clock.freshen()
        return self._connection.ask(kind, url, send, counted=counted)

    @property
    def _instead(self) -> S3Store | None:
        """The fallback in a process where obstore no longer works; None where it does. Raises StoreNotSupportedError."""
        if not runtime.lost:
            return None
        if self._fallback is not None:
            return self._fallback
        raise StoreNotSupportedError(
            f"{self.url} cannot be used in this process: it was forked from one that had used obstore, which does not "
            "survive that; start processes by spawn or forkserver, or use s3+obstore://bucket, which then takes boto3"
        )

    @property
    def _connection(self) -> ObstoreConnection:
        process = os.getpid()  # a parent's connection has a lock that a thread may have held
        if process not in self._connections:
            fresh = ObstoreConnection(self._engine, self._policy, self.clock, self._sleep)
            self._connections.setdefault(process, fresh)
        return self._connections[process]

    def _engine(self) -> Engine:
        return self._given or make_engine(self._scheme, self._bucket, self._policy, self._put_options)

    def _url(self, object_key: str = "") -> str:
        return self._place(self._root + object_key)

    def _place(self, path: str) -> str:
        return f"{self._scheme}://{self._bucket}{'/' if self._bucket else ''}{self._before}{path}"

    def _path(self, object_key: str) -> str:
        """Return the full path, or raise StoreNotSupportedError for a name that obstore would silently change."""
        path = self._root + object_key
        if any(is_refused(part) for part in path.split("/")):
            raise StoreNotSupportedError(
                f"{object_key!r} is no object key for obstore, which knows no empty parts, no . or .., and no control "
                "characters: use another, or s3:// for this bucket"
            )
        return path

    def _delete_batch(self, object_keys: builtins.list[str]) -> None:
        paths = [self._path(object_key) for object_key in object_keys]
        try:
            self._ask("DELETE", self.url, lambda engine: remove(engine, paths))
        except StoreError as error:
            if not is_kept(error):
                raise
            self._delete_singly(object_keys)

    def _delete_singly(self, object_keys: builtins.list[str]) -> None:
        begun, failures, tried = self.clock(), dict[str, StoreError](), 0
        for object_key in object_keys:
            if failures and self.clock() - begun > self._policy.operation_timeout:
                break
            tried += 1
            try:
                self._delete_one(object_key)
            except (StoreAccessError, NotFoundError) as error:
                failures[object_key] = error
            except StoreError as error:
                failures[object_key] = error
                break
        if failures:
            request = Request("DELETE", self.url, self.endpoint)
            raise deletion_error(failures, object_keys[tried:], request) from next(iter(failures.values()))

    def _delete_one(self, object_key: str) -> None:
        path = self._path(object_key)
        try:
            self._ask("DELETE", self._url(object_key), lambda engine: remove(engine, path))
        except NotFoundError:
            return
