"""A store in an S3 bucket, on AWS or any other server that speaks S3. boto3 is imported with the first request."""

from __future__ import annotations

import builtins
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from s3memo.errors import SettingsError, StoreNotSupportedError, StoreUnavailableError
from s3memo.stores.base import PAGE_SIZE, Buffer, ObjectInfo, PutMode, TimeBounds
from s3memo.stores.clock import ServerClock, checked_bounds, local_clock, posix_seconds
from s3memo.stores.paging import batches
from s3memo.stores.parts import PART
from s3memo.stores.retry import Deadline, RetryPolicy
from s3memo.stores.transfer import as_body, read_body, whole
from s3memo.versions import MAX_KEY_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from s3memo.stores.s3.client import Connection

_S3_KEY_BYTES = 1024
DIRECTORY_BUCKET = ("--x-s3", "--xa-s3")
_OURS = frozenset({"Bucket", "Key", "Body", "IfMatch", "IfNoneMatch"})
_EVERYWHERE = frozenset({"ExpectedBucketOwner", "RequestPayer"})
_ON_GET = _EVERYWHERE | {"SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5"}


class S3Store:
    """Objects below a prefix of a bucket; see Store for the methods.

    `client_options` are passed to `boto3.client`; by default boto3 finds credentials, region and endpoint. `put_options`
    are passed to PutObject (ServerSideEncryption, SSEKMSKeyId, StorageClass, …), and to other requests that know them,
    such as ExpectedBucketOwner. `attempts` and the time-outs (seconds) are those of RetryPolicy. A `client` of your own is
    used as it is: its own time-outs and retries apply too, it is not closed, a store with it cannot be pickled, and a
    forked child uses the same client.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        client: S3Client | None = None,
        client_options: Mapping[str, Any] | None = None,
        put_options: Mapping[str, Any] | None = None,
        attempts: int = 3,
        operation_timeout: float = 15.0,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        clock: Callable[[], float] = local_clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if client is not None and client_options is not None:
            raise SettingsError("give client= or client_options=, not both: the options are for making a client")
        self._bucket = _checked_bucket(bucket)
        self._root = _checked_root(prefix)
        self._given_client = client
        self._client_options = dict(client_options or {})
        self._put_options = _checked_put_options(put_options or {})
        self._policy = RetryPolicy(attempts, operation_timeout, connect_timeout, read_timeout)
        self.clock = clock
        self._sleep = sleep
        self._forget()

    def _forget(self) -> None:
        self._server_clock = ServerClock(self.clock)
        self._connections: dict[int, Connection] = {}

    def __repr__(self) -> str:
        return f"<S3Store {self.url}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._given_client is not None:
            raise TypeError(f"cannot pickle {self!r}: it was given a client=; give client_options= instead")
        return {name: value for name, value in vars(self).items() if name not in {"_server_clock", "_connections"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`; the endpoint is not part of it."""
        return self._url().rstrip("/")

    @property
    def endpoint(self) -> str:
        """Where the server is."""
        return self._connection.endpoint(self.url)

    @property
    def enforces_create_only(self) -> bool:
        """Whether create-only is known to be enforced, as on AWS; elsewhere a trial must tell."""
        return self._connection.is_aws(self.url)

    @property
    def versioning(self) -> str:
        """The bucket's versioning: "Enabled", "Suspended", or "" if it was never enabled.

        Each access sends a GetBucketVersioning, which needs s3:GetBucketVersioning.
        """
        return str(
            self.ask_bucket(lambda client, bucket: client.get_bucket_versioning(Bucket=bucket)).get("Status", "")
        )

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix, ascending; see Store. A directory bucket is read whole before the first."""
        if self._bucket.endswith(DIRECTORY_BUCKET):
            return islice(self._sort(prefix, start_after), limit)
        return self._walk(prefix, start_after, limit)

    def get(self, object_key: str) -> bytearray:
        """Return the object's bytes in a buffer that the caller owns, or raise NotFoundError."""
        from s3memo.stores.s3.download import Download  # noqa: PLC0415  as below

        options, url = self._options(_ON_GET, Key=self._root + object_key), self._url(object_key)
        connection = self._connection

        def receive(answer: Mapping[str, Any], deadline: Deadline) -> bytearray | Download:
            is_large = answer.get("ContentLength", 0) >= PART
            return Download(connection, url, options, answer) if is_large else read_body(answer, deadline)

        found = connection.ask("GET", url, lambda client, _: client.get_object(**options), receive)
        return found if isinstance(found, bytearray) else found.read()

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object, from 8 MiB up in parts; in mode "create" raise AlreadyExistsError if there is one.

        A create is one request, whatever the size: not every server supports a conditional end of a multipart upload. A
        create that is retried after its answer was lost may meet its own object.
        """
        options: dict[str, Any] = {"Bucket": self._bucket, "Key": self._root + object_key, **self._put_options}
        if mode == "create":
            options["IfNoneMatch"] = "*"
        elif memoryview(data).nbytes >= PART:
            from s3memo.stores.s3.multipart import put_in_parts  # noqa: PLC0415  as below

            put_in_parts(self._connection, self._url(object_key), options, data)
            return
        self._connection.ask(
            "PUT",
            self._url(object_key),
            lambda client, deadline: client.put_object(Body=as_body(data, deadline), **options),
            whole,
        )

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects in the order given, a thousand a request.

        After a request that left some of its objects no more are sent, so that nothing newer is deleted while something
        older stays; the StoreError names what was left and why.
        """
        for batch in batches(object_keys):
            self._delete_batch(batch)

    def time(self) -> TimeBounds:
        """Return bounds of the server's clock; sends a LIST for one name if no answer has shown the time yet."""
        bounds = self._server_clock.bounds()
        if bounds is None:
            self._list_page("", MaxKeys=1)
            bounds = self._server_clock.bounds()
        return checked_bounds(bounds, self.url)

    def ask_bucket(self, question: Callable[[S3Client, str], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the answer to a request about the bucket, which `question` sends by a client; for operators, not jobs.

        Raises NotFoundError if the bucket has no such setting.
        """
        return self._connection.ask(
            "GET", f"s3://{self._bucket}", lambda client, _: question(client, self._bucket), whole
        )

    def close(self) -> None:
        """Close this process's client unless it was given; the store can still be used, with a new one."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None and self._given_client is None:
            connection.close()

    @property
    def _connection(self) -> Connection:
        # By process: a forked child must neither use nor close its parent's sockets and locks.
        process = os.getpid()
        connection = self._connections.get(process)
        if connection is None:
            from s3memo.stores.s3.client import Connection, make_client  # noqa: PLC0415  boto3 takes long to load

            def make() -> S3Client:
                return self._given_client or make_client(self._client_options, self._policy)

            fresh = Connection(make, self._policy, self._server_clock, self.clock, self._sleep)
            connection = self._connections.setdefault(process, fresh)
        return connection

    def _url(self, object_key: str = "") -> str:
        return f"s3://{self._bucket}/{self._root}{object_key}"

    def _options(self, taken: frozenset[str], **options: Any) -> dict[str, Any]:
        """Return a request's options: the bucket, those given, and the `put_options` in `taken`."""
        shared = {name: value for name, value in self._put_options.items() if name in taken}
        return {"Bucket": self._bucket, **shared, **options}

    def _walk(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        """Yield a listing in the server's order, which is checked."""
        last = start_after
        for found in self._pages(prefix, start_after, limit):
            self._check_order([last, *(info.key for info in found)])
            yield from found
            last = found[-1].key if found else last

    def _sort(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """Yield a directory bucket's listing in order: its server lists whole folders, in no order."""
        listed = chain.from_iterable(self._pages(prefix[: prefix.rfind("/") + 1]))
        found = [info for info in listed if info.key.startswith(prefix) and info.key > start_after]
        yield from sorted(found, key=attrgetter("key"))

    def _pages(
        self, prefix: str, start_after: str = "", limit: int | None = None
    ) -> Iterator[builtins.list[ObjectInfo]]:
        """Yield the pages of a listing as the server sends them, up to `limit` objects."""
        position: dict[str, str] | None = {"StartAfter": self._root + start_after} if start_after else {}
        left = limit
        patience = Deadline(self.clock, self._policy)
        while position is not None and (left is None or left > 0):
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = self._list_page(prefix, MaxKeys=size, **position)
            found = self._objects(page)
            yield found
            position = self._next_position(page)
            patience = self._next_patience(patience, found)
            left = None if left is None else left - len(found)

    def _next_position(self, page: Mapping[str, Any]) -> dict[str, str] | None:
        """Return where the next page begins, or None after the last; an empty page need not be the last."""
        if page.get("IsTruncated") is False:
            return None
        if "NextContinuationToken" not in page:
            raise StoreNotSupportedError(
                f"the server of {self.url} answered a LIST without saying whether or where it goes on: "
                "correct the endpoint, or use a server that speaks ListObjectsV2"
            )
        return {"ContinuationToken": page["NextContinuationToken"]}

    def _next_patience(self, patience: Deadline, found: Sequence[object]) -> Deadline:
        """Return the deadline for the next page with objects, or raise StoreUnavailableError if it has passed."""
        if found:
            return Deadline(self.clock, self._policy)
        if patience.expired() is not None:
            raise StoreUnavailableError(
                f"the server of {self.url} goes on answering a LIST with pages that hold nothing: try again later"
            )
        return patience

    def _list_page(self, prefix: str, **options: Any) -> Mapping[str, Any]:
        options = self._options(_EVERYWHERE, Prefix=self._root + prefix, **options)
        return self._connection.ask(
            "LIST", self._url(prefix), lambda client, _: client.list_objects_v2(**options), whole
        )

    def _objects(self, page: Mapping[str, Any]) -> builtins.list[ObjectInfo]:
        """Return a page's objects, without the one that some tools create for the prefix itself."""
        return [
            ObjectInfo(entry["Key"].removeprefix(self._root), entry["Size"], posix_seconds(entry["LastModified"]))
            for entry in page.get("Contents", ())
            if entry["Key"] != self._root
        ]

    def _check_order(self, object_keys: builtins.list[str]) -> None:
        for previous, following in pairwise(object_keys):
            if following <= previous:  # str compares by code point, which is the order of its UTF-8 bytes
                raise StoreNotSupportedError(
                    f"the server of {self.url} lists {following!r} after {previous!r}: s3memo needs ascending UTF-8 order"
                )

    def _delete_batch(self, object_keys: builtins.list[str]) -> None:
        objects = [{"Key": self._root + object_key} for object_key in object_keys]
        options = self._options(_EVERYWHERE, Delete={"Objects": objects, "Quiet": True})
        answer = self._connection.ask("DELETE", self.url, lambda client, _: client.delete_objects(**options), whole)
        failures = {
            error.get("Key", "").removeprefix(self._root): error.get("Code", "")
            for error in answer.get("Errors", ())
            if error.get("Code") != "NoSuchKey"
        }
        if failures:
            raise self._connection.deletion_error(self.url, failures)


def _checked_bucket(bucket: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,255}|arn:.+", bucket):  # as boto3 checks, with a less helpful error
        raise SettingsError(
            f"bucket={bucket!r} is no bucket's name: give the name alone, and what follows it in a URL as prefix="
        )
    return bucket


def folder_of(prefix: str) -> str:
    """Return a prefix as a folder: empty, or ending in exactly one slash."""
    root = prefix.strip("/")
    return root + "/" if root else ""


def _checked_root(prefix: str) -> str:
    """Return a prefix as a folder. Raises SettingsError if object keys below it could be too long."""
    root = folder_of(prefix)
    most = _S3_KEY_BYTES - MAX_KEY_BYTES
    if len(root.encode()) > most:
        raise SettingsError(
            f"prefix={prefix!r} is too long: with a slash at its end it may take {most} bytes, "
            f"so that no object key exceeds S3's {_S3_KEY_BYTES}"
        )
    return root


def _checked_put_options(put_options: Mapping[str, Any]) -> dict[str, Any]:
    taken = _OURS.intersection(put_options)
    if taken:
        raise SettingsError(f"put_options cannot have {', '.join(sorted(taken))}: s3memo decides those itself")
    return dict(put_options)
