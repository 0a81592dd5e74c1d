"""S3's multipart upload: parts are sent in parallel and retried one by one; the object appears at the end."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from s3memo.errors import StoreError, StoreNotSupportedError, StoreUnavailableError
from s3memo.stores.base import Buffer
from s3memo.stores.parts import HELPERS, PART, cut, share
from s3memo.stores.transfer import as_body, flat, whole

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from s3memo.stores.s3.client import Answer, Connection

_MARK = "s3memo-put"
"""The metadata by which an upload recognizes its own object."""


def put_in_parts(connection: Connection, url: str, options: Mapping[str, Any], data: Buffer) -> None:
    """Write an object: a request to begin, one for each part, and one to end. Raises StoreError.

    `options` are those of PutObject without the body; each request gets those it takes. A failed upload is aborted, which
    is free, unless the server is out of reach. Some servers (rclone's) lose parts that are sent in parallel; then all are
    sent again, one after the other.
    """
    view = flat(data)
    try:
        _upload(_Upload(connection, url, options, view), helpers=HELPERS)
    except StoreError as error:
        if not _is_lost_part(error):
            raise
        _upload(_Upload(connection, url, options, view), helpers=0)


def _upload(upload: _Upload, *, helpers: int) -> None:
    upload.begin()
    try:
        upload.send(helpers)
        upload.end()
    except BaseException:
        upload.give_up()
        raise


def _is_lost_part(error: StoreError) -> bool:
    """Whether the server no longer knows a part that it acknowledged."""
    answer: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
    return bool(answer.get("Error", {}).get("Code") == "InvalidPart")


class _Upload:
    def __init__(self, connection: Connection, url: str, options: Mapping[str, Any], data: memoryview) -> None:
        self._connection = connection
        self._url = url
        self._mark = os.urandom(8).hex()
        self._options = {**options, "Metadata": {**options.get("Metadata", {}), _MARK: self._mark}}
        self._data = data
        self._parts: dict[int, Answer] = {}
        self._to_do = deque(enumerate(cut(len(data)), 1))
        self._is_out_of_reach = False

    def begin(self) -> None:
        """Open the upload."""

        def send(client: S3Client, _: object) -> Answer:
            # boto3 adds a checksum to each part, which S3 accepts only if it was announced here.
            if getattr(client.meta.config, "request_checksum_calculation", "") == "when_supported":
                self._options.setdefault("ChecksumAlgorithm", "CRC32")
            return client.create_multipart_upload(**self._taken(client, "CreateMultipartUpload"))

        answer = self._connection.ask("PUT", self._url, send, whole)
        if "UploadId" not in answer:
            raise StoreNotSupportedError(
                f"the server of {self._url} begins no multipart upload, which objects from 8 MiB up take: "
                "use another, or keep results below that by max_entry_bytes"
            )
        self._options["UploadId"] = answer["UploadId"]
        self._progress = self._connection.progress(PART)

    def send(self, helpers: int) -> None:
        """Send all parts, with at most so many helpers."""
        share(self._send_next, min(helpers, len(self._to_do) - 1), self._progress.cancel)

    def _send_next(self) -> bool:
        try:
            number, part = self._to_do.popleft()
        except IndexError:
            return False

        def send(client: S3Client, _: object) -> Answer:
            body = as_body(self._data[part], self._progress)
            return client.upload_part(Body=body, **self._taken(client, "UploadPart", PartNumber=number))

        self._parts[number] = self._connection.ask("PUT", self._url, send, whole, deadline=self._progress)
        return True

    def end(self) -> None:
        """Complete the upload.

        After a lost answer a retry may find the upload unknown, because the object is there already.
        """

        def send(client: S3Client, _: object) -> Answer:
            taken = _members(client, "CompleteMultipartUpload")["MultipartUpload"].members["Parts"].member.members
            parts = [
                {name: answer[name] for name in taken if name in answer} | {"PartNumber": number}
                for number, answer in sorted(self._parts.items())
            ]
            return client.complete_multipart_upload(
                **self._taken(client, "CompleteMultipartUpload", MultipartUpload={"Parts": parts})
            )

        try:
            self._connection.ask("PUT", self._url, send, whole)
        except StoreError:
            if not self._is_there():
                raise

    def _is_there(self) -> bool:
        def send(client: S3Client, _: object) -> Answer:
            return client.head_object(**self._taken(client, "HeadObject"))

        try:
            found = self._connection.ask("GET", self._url, send, whole).get("Metadata", {})
        except StoreError as error:
            self._is_out_of_reach = isinstance(error, StoreUnavailableError)
            return False
        return {name.lower(): value for name, value in found.items()}.get(_MARK) == self._mark

    def give_up(self) -> None:
        """Abort the upload if the server can be reached."""

        def send(client: S3Client, _: object) -> Answer:
            return client.abort_multipart_upload(**self._taken(client, "AbortMultipartUpload"))

        if not self._is_out_of_reach:
            with contextlib.suppress(StoreError):
                self._connection.ask("DELETE", self._url, send, whole)

    def _taken(self, client: S3Client, operation: str, **more: Any) -> dict[str, Any]:
        """Return those of our options that an operation takes, and `more`."""
        members = _members(client, operation)
        return {name: value for name, value in self._options.items() if name in members} | more


def _members(client: S3Client, operation: str) -> Mapping[str, Any]:
    shape: Any = client.meta.service_model.operation_model(operation).input_shape
    members: Mapping[str, Any] = shape.members
    return members
