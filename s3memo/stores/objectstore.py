"""A store on obstore, whose engine is written in Rust: S3, Google Cloud Storage and Azure."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from s3memo import bridge
from s3memo.errors import NotFoundError, SettingsError, StoreAccessError, StoreError, StoreNotSupportedError
from s3memo.events import RequestKind, count_request
from s3memo.settings import parse_url
from s3memo.stores.base import PAGE_SIZE, Buffer, ObjectInfo, PutMode, TimeBounds
from s3memo.stores.clock import ServerClock, local_clock
from s3memo.stores.obsclock import AskedClock
from s3memo.stores.obsnames import folder, is_refused, offset
from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3 import DIRECTORY_BUCKET, S3Store

try:
    import obstore
    from obstore.store import AzureStore, GCSStore, MemoryStore
    from obstore.store import S3Store as S3Engine

    from s3memo.stores.obsclient import ObstoreConnection, endpoint_of, make_engine, runtime
    from s3memo.stores.obserrors import deletion_error, is_kept
    from s3memo.stores.obsverbs import collect, next_chunk, read, remove, write
    from s3memo.stores.s3errors import Request
except ModuleNotFoundError as error:
    if error.name != "obstore":
        raise
    raise SettingsError("this store needs obstore: pip install 's3memo[obstore]'") from error

if TYPE_CHECKING:
    from obstore import ListStream, ObjectMeta

    from s3memo.stores.obsverbs import Engine

T = TypeVar("T")

_SCHEMES = {S3Engine: "s3+obstore", GCSStore: "gs", AzureStore: "az", MemoryStore: "memory"}

_CREATE_ONLY = {
    "s3+obstore": (".amazonaws.com", ".amazonaws.com.cn"),
    "gs": ("storage.googleapis.com",),
    "az": (".blob.core.windows.net",),
}
"""Hosts that enforce create-only, by scheme."""


class ObjectStore:
    """Objects below a prefix of a bucket or container; see Store for the methods.

    `url_or_store` is `s3+obstore://bucket/prefix` (credentials, region and endpoint as boto3 finds them), `gs://…` or
    `az://…` (as obstore finds them), to which `prefix` is added; or a store of obstore's own for one of these or in
    memory. `attempts` and the time-outs (seconds) are those of RetryPolicy; a store of your own has its own as well.

    obstore does not survive fork(): in a child forked after its first use `s3+obstore://` goes on with boto3, and what
    else there is raises StoreNotSupportedError.
    """

    def __init__(
        self,
        url_or_store: str | os.PathLike[str] | Engine,
        prefix: str = "",
        *,
        attempts: int = 3,
        operation_timeout: float = 15.0,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        clock: Callable[[], float] = local_clock,
        sleep: Callable[[float], None] = bridge.sleep,
    ) -> None:
        self._given = None if isinstance(url_or_store, str | os.PathLike) else url_or_store
        if isinstance(url_or_store, str | os.PathLike):
            self._scheme, self._bucket, before = _taken_apart(url_or_store)
        else:
            self._scheme, self._bucket, before = _described(url_or_store)
            runtime.started = True  # for whoever made it may have used it
        self._policy = RetryPolicy(attempts, operation_timeout, connect_timeout, read_timeout)
        self.clock = clock
        self._sleep = sleep
        whole = "/".join(filter(None, [before.strip("/"), prefix.strip("/")]))
        self._root = _root(whole if self._given is None else prefix)
        self._before = "" if self._given is None else _root(before)  # which obstore adds by itself
        self._boto3 = None if self._scheme == "memory" else self._by_boto3(whole)
        self._forget()

    def _by_boto3(self, prefix: str) -> S3Store:
        """Return the same place by boto3, which checks what names it, and takes over in a forked child."""
        if self._bucket.endswith(DIRECTORY_BUCKET):
            raise SettingsError(
                f"{self._bucket} is a directory bucket, which lists in no order: use s3://{self._bucket}"
            )
        policy = self._policy
        return S3Store(
            self._bucket,
            prefix,
            attempts=policy.attempts,
            operation_timeout=policy.operation_timeout,
            connect_timeout=policy.connect_timeout,
            read_timeout=policy.read_timeout,
            clock=self.clock,
            sleep=self._sleep,
        )

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
        """Whether that is known without a trial: AWS, Google and Azure do, and so does obstore's memory."""
        return self._scheme == "memory" or (urlsplit(self.endpoint).hostname or "").endswith(_CREATE_ONLY[self._scheme])

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix, ascending; see Store. On Azure all are read, and sorted, before the first."""
        instead = self._instead
        if instead:
            return instead.list(prefix, start_after=start_after, limit=limit)
        if self._scheme == "az":
            return islice(self._in_order(self._sort(prefix, start_after), None), limit)
        return self._in_order(self._walk(prefix, start_after, limit), limit)

    def get(self, object_key: str) -> Buffer:
        """Return the object's bytes in a buffer that is the caller's own, or raise NotFoundError."""
        instead = self._instead
        if instead:
            return instead.get(object_key)
        path = self._path(object_key)
        return self._ask("GET", self._url(object_key), lambda engine: read(engine, path))

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object; in mode "create" raise AlreadyExistsError if there is one.

        A create that is sent again after its answer was lost may meet its own object.
        """
        instead = self._instead
        if instead:
            instead.put(object_key, data, mode=mode)
            return
        path = self._path(object_key)
        # obstore keeps hold of what it is given.
        whole = data if isinstance(data, bytes) else memoryview(data).tobytes()
        self._ask("PUT", self._url(object_key), lambda engine: write(engine, path, whole, mode))

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects in the order given: a thousand in a request on S3, elsewhere one by one.

        What a server keeps of a thousand is asked for again, one by one, to learn the reason of each; then no more are
        sent, and the StoreError names what was left.
        """
        instead = self._instead
        if instead:
            instead.delete(object_keys)
            return
        remaining = iter(object_keys)
        while batch := builtins.list(islice(remaining, PAGE_SIZE)):
            if self._scheme in {"gs", "az"}:
                self._delete_singly(batch)
            else:
                self._delete_batch(batch)

    def time(self) -> TimeBounds:
        """Return bounds of the server's clock; asks for them at first, and again after each hour.

        obstore shows no answer's Date, so they are those of a request of its own. obstore's memory has this machine's.
        """
        instead = self._instead
        if instead:
            return instead.time()
        if self._scheme == "memory":
            now = time.time()
            return TimeBounds(now, now)
        bounds = self._server_clock.bounds()
        if bounds is None:
            raise StoreNotSupportedError(
                f"the server of {self.url} answers without a Date header, so nothing tells its time: "
                "use a server, or a proxy before it, that sends one"
            )
        return bounds

    @property
    def awaits(self) -> bool:
        """Whether across a `bridge` it lets the loop go on, so that async functions need no threads."""
        return not runtime.lost

    def _ask_time(self, server_clock: ServerClock) -> None:
        self._connection.observe_date(self.url, server_clock)

    def _ask(self, kind: RequestKind, url: str, send: Callable[[Engine], T], *, counted: bool = True) -> T:
        self._server_clock.freshen()
        return self._connection.ask(kind, url, send, counted=counted)

    @property
    def _instead(self) -> S3Store | None:
        """What takes over where obstore cannot work any more, if anything does; None where it can."""
        if not runtime.lost:
            return None
        if self._scheme == "s3+obstore" and self._given is None:
            return self._boto3
        raise StoreNotSupportedError(
            f"{self.url} cannot be used in this process: it was forked from one that had used obstore, which does not "
            "survive that; start processes by spawn or forkserver, or use s3+obstore://bucket, which then takes boto3"
        )

    @property
    def _connection(self) -> ObstoreConnection:
        process = os.getpid()  # a parent's connection has a lock that a thread may have held
        connection = self._connections.get(process)
        if connection is None:
            fresh = ObstoreConnection(self._engine, self._policy, self.clock, self._sleep)
            connection = self._connections.setdefault(process, fresh)
        return connection

    def _engine(self) -> Engine:
        return self._given or make_engine(self._scheme, self._bucket, self._policy)

    def _url(self, object_key: str = "") -> str:
        return self._place(self._root + object_key)

    def _place(self, path: str) -> str:
        return f"{self._scheme}://{self._bucket}{'/' if self._bucket else ''}{self._before}{path}"

    def _path(self, object_key: str) -> str:
        """Return a whole name, or raise StoreNotSupportedError for one that obstore would change without a word."""
        path = self._root + object_key
        if any(is_refused(part) for part in path.split("/")):
            raise StoreNotSupportedError(
                f"{object_key!r} is no object key for obstore, which knows no empty parts, no . or .., and no control "
                "characters: use another, or s3:// for this bucket"
            )
        return path

    def _walk(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        """Yield a listing as the server orders it."""
        whole, after = self._root + prefix, self._root + start_after if start_after else ""
        for chunk in self._chunks(whole, after, PAGE_SIZE if limit is None else min(limit, PAGE_SIZE)):
            yield from (self._info(meta) for meta in chunk if meta["path"].startswith(whole))
            if chunk and chunk[-1]["path"] > whole and not chunk[-1]["path"].startswith(whole):
                return  # what is behind the prefix goes on, within its folder

    def _chunks(self, whole: str, after: str, size: int) -> Iterator[builtins.list[ObjectMeta]]:
        """Yield what lies in the folder of a prefix, and count the pages of a thousand that a server sends for it."""
        stream: ListStream[Sequence[ObjectMeta]] | None = None
        seen = sent = 0
        floor = after

        def read(engine: Engine) -> Sequence[ObjectMeta] | None:
            nonlocal stream, seen, sent
            if stream is None:
                begin = offset(whole, after)
                stream = obstore.list(engine, folder(whole), offset=begin or None, chunk_size=size)
                seen, sent = 0, 1
                count_request("LIST")
            try:
                chunk = next_chunk(stream)
            except Exception:
                stream = None  # the next attempt begins after what is known
                if seen:
                    count_request("LIST")
                raise
            if chunk is None:
                return None
            seen += len(chunk)
            while sent * PAGE_SIZE < seen:
                sent += 1
                count_request("LIST")
            return chunk

        while size:
            begun = stream
            chunk = self._ask("LIST", self._place(whole), read, counted=False)
            if chunk is None:
                return
            floor = floor if stream is begun else after
            yield [meta for meta in chunk if meta["path"] > floor]
            after = max(after, chunk[-1]["path"])

    def _sort(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """Yield Azure's listing in order: that of a hierarchical account is another."""
        whole, after = self._root + prefix, self._root + start_after if start_after else ""

        def read(engine: Engine) -> Sequence[ObjectMeta]:
            return collect(obstore.list(engine, folder(whole)))

        metas = self._ask("LIST", self._place(whole), read)
        found = [self._info(meta) for meta in metas if meta["path"].startswith(whole) and meta["path"] > after]
        yield from sorted(found, key=attrgetter("key"))

    def _info(self, meta: ObjectMeta) -> ObjectInfo:
        return ObjectInfo(meta["path"].removeprefix(self._root), meta["size"], meta["last_modified"].timestamp())

    def _in_order(self, found: Iterator[ObjectInfo], limit: int | None) -> Iterator[ObjectInfo]:
        """Yield a listing whose order is checked, without the folders that obstore shows less their slash."""
        last, left = "", limit
        while left is None or left > 0:
            info = next(found, None)
            if info is None:
                return
            if info.key <= last:  # text compares by code point, which is the order of its UTF-8 bytes
                if last < info.key + "/":
                    continue
                raise StoreNotSupportedError(
                    f"the server of {self.url} lists {info.key!r} after {last!r}: s3memo needs ascending UTF-8 order"
                )
            yield info
            last = info.key
            left = None if left is None else left - 1

    def _delete_batch(self, object_keys: builtins.list[str]) -> None:
        paths = [self._path(key) for key in object_keys]
        try:
            self._ask("DELETE", self.url, lambda engine: remove(engine, paths))
        except StoreError as error:
            if not is_kept(error):
                raise
            self._delete_singly(object_keys)

    def _delete_singly(self, object_keys: builtins.list[str]) -> None:
        begun, failures, tried = self.clock(), dict[str, StoreError](), 0
        for key in object_keys:
            if failures and self.clock() - begun > self._policy.operation_timeout:
                break
            tried += 1
            try:
                self._delete_one(key)
            except (StoreAccessError, NotFoundError) as error:
                failures[key] = error
            except StoreError as error:
                failures[key] = error
                break
        if failures:
            request = Request("DELETE", self.url, self.endpoint)
            raise deletion_error(failures, len(object_keys) - tried, request) from next(iter(failures.values()))

    def _delete_one(self, object_key: str) -> None:
        path = self._path(object_key)
        try:
            self._ask("DELETE", self._url(object_key), lambda engine: remove(engine, path))
        except NotFoundError:
            return


def _taken_apart(url: str | os.PathLike[str]) -> tuple[str, str, str]:
    location = parse_url(url)
    if location.scheme not in _SCHEMES.values() or location.scheme == "memory":
        raise SettingsError(
            f"{location} is none of s3+obstore://bucket/prefix, gs://bucket/prefix, az://container/prefix"
        )
    return location.scheme, location.root, location.prefix


def _described(store: Engine) -> tuple[str, str, str]:
    """Return scheme, bucket and prefix of a store of obstore's own."""
    scheme = next((scheme for kind, scheme in _SCHEMES.items() if isinstance(store, kind)), None)
    if scheme is None:
        raise SettingsError(
            f"a {type(store).__qualname__} is neither a URL nor a store of obstore's for S3, Google, Azure or in memory"
        )
    if isinstance(store, MemoryStore):
        return scheme, "", ""
    config: dict[str, Any] = dict(store.config)
    bucket = next(
        (config[name] for name in ("bucket", "container_name", "container", "google_bucket") if name in config), ""
    )
    return scheme, str(bucket), store.prefix or ""


def _root(prefix: str) -> str:
    root = prefix.strip("/")
    return root + "/" if root else ""
