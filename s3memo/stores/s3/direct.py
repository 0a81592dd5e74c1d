"""GETs and LISTs sent as boto3's client sent its first, less what it would do again for each: over half of its time.

Validating the options, finding the endpoint and serializing come out the same for all requests of a store but for the
name they are about. So the first is the client's own, and its hook `needs-retry` tells how it looked. Those that follow
are signed by the client's hooks, offered to whoever answers in the server's stead (`before-send`, where moto stands)
and sent over the client's connections. After a refusal the client goes its own way again, which may have changed. The
checksum that S3 sends with an object is not compared: envelopes have their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree as ET

from botocore.exceptions import ClientError, HTTPClientError
from botocore.parsers import create_parser
from botocore.response import StreamingBody

Options: TypeAlias = Mapping[str, Any]
Content: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = dict[str, Any]

_QUERY: Final = {
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "ContinuationToken": "continuation-token",
    "MaxKeys": "max-keys",
}
_STEADY: Final = frozenset(
    {
        "Bucket",
        "ExpectedBucketOwner",
        "RequestPayer",
        "SSECustomerAlgorithm",
        "SSECustomerKey",
        "SSECustomerKeyMD5",
    }
)
_EXPECTED: Final = frozenset({HTTPStatus.OK, HTTPStatus.NOT_FOUND})


class _Operation(NamedTuple):
    """What S3 calls it and boto3 calls it, which options differ from request to request, and how they shape one.

    `strip` takes them out of a request that was seen, or returns None where they are not found; `fill` puts others in.
    """

    name: str
    method: str
    varying: frozenset[str]
    strip: Callable[[Content, Options], Content | None]
    fill: Callable[[Content, Options], Content]
    read: Callable[[Any], Answer]


class _Request(NamedTuple):
    """How the client made a request: with which endpoint and model, and of what."""

    endpoint: Any
    model: Any
    content: Content


def read_directly(engine: Any) -> None:
    """Make the clients of a botocore session read so."""
    reads = _DirectReads()
    engine.register("creating-client-class.s3", reads.take_over)
    for operation in (_GET, _LIST):
        engine.register(f"needs-retry.s3.{operation.name}", reads.see)


class _DirectReads:
    """The requests that were seen, by operation and by the options that do not vary."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], _Request] = {}
        self._seen = threading.local()

    def take_over(self, class_attributes: dict[str, Any], **_: Any) -> None:
        """Replace the methods of a client's class that is being made."""
        for operation in (_GET, _LIST):
            class_attributes[operation.method] = self._shorten(operation, class_attributes[operation.method])

    def see(self, endpoint: Any, operation: Any, request_dict: Content, **_: Any) -> None:
        """Take note of the request that was answered in this thread."""
        self._seen.request = _Request(endpoint, operation, request_dict)

    def _shorten(self, operation: _Operation, own: Callable[..., Answer]) -> Callable[..., Answer]:
        def read(client: Any, **options: Any) -> Answer:
            steady = sorted((name, value) for name, value in options.items() if name not in operation.varying)
            if not all(name in _STEADY for name, _ in steady):
                return own(client, **options)
            kind = (operation.name, *steady)
            if known := self._known.get(kind):
                response = _send(client, operation, known, options)
                if response.status_code not in _EXPECTED:
                    self._known.pop(kind, None)
                return _receive(operation, known, response)
            answer = own(client, **options)
            self._learn(kind, operation, options)
            return answer

        return read

    def _learn(self, kind: tuple[Any, ...], operation: _Operation, options: Options) -> None:
        seen: _Request | None = vars(self._seen).pop("request", None)
        content = operation.strip(seen.content, options) if seen else None
        if seen and content:
            self._known[kind] = seen._replace(content=content)


def _send(client: Any, operation: _Operation, known: _Request, options: Options) -> Any:
    context = {name: value for name, value in known.content["context"].items() if name != "retries"}
    content = {**known.content, **operation.fill(known.content, options), "context": context}
    request = known.endpoint.create_request(content, known.model)
    answers = client.meta.events.emit(f"before-send.s3.{operation.name}", request=request)
    stand_ins = (answer for _, answer in answers if answer is not None)
    return next(stand_ins, None) or known.endpoint.http_session.send(request)


def _receive(operation: _Operation, known: _Request, response: Any) -> Answer:
    if response.status_code < HTTPStatus.MULTIPLE_CHOICES:
        headers = {name.lower(): value for name, value in response.headers.items()}
        metadata = {"HTTPStatusCode": response.status_code, "HTTPHeaders": headers}
        return operation.read(response) | {"ResponseMetadata": metadata}
    refusal = {"headers": response.headers, "status_code": response.status_code, "body": response.content}
    raise ClientError(create_parser("rest-xml").parse(refusal, known.model.output_shape), operation.name)


def _strip_key(content: Content, options: Options) -> Content | None:
    name = "/" + _quoted(options["Key"])
    places = {part: content.get(part) or "" for part in ("url", "auth_path")}
    if not all(place.endswith(name) for place in places.values()):
        return None
    return {**content, **{part: place[: 1 - len(name)] for part, place in places.items()}}


def _fill_key(content: Content, options: Options) -> Content:
    name = _quoted(options["Key"])
    return {"url": content["url"] + name, "auth_path": content["auth_path"] + name}


def _quoted(object_key: str) -> str:
    return quote(object_key, safe="/~")


def _read_object(response: Any) -> Answer:
    length = response.headers.get("content-length")
    answer = {"Body": StreamingBody(response.raw, length), "ETag": response.headers.get("etag")}
    return answer if length is None else answer | {"ContentLength": int(length)}


def _strip_query(content: Content, _: Options) -> Content:
    url, _, query = content["url"].partition("?")
    steady = [part for part in query.split("&") if part.partition("=")[0] not in _QUERY.values()]
    return {**content, "url": f"{url}?{'&'.join(steady)}"}


def _fill_query(content: Content, options: Options) -> Content:
    varying = {_QUERY[option]: value for option, value in options.items() if option in _QUERY}
    query = urlencode(varying, quote_via=quote, safe="")
    return {"url": f"{content['url']}&{query}" if query else content["url"]}


def _read_page(response: Any) -> Answer:
    """Return what boto3 makes of a page, less what no store asks about."""
    if not response.content:
        return {}
    try:
        root = ET.fromstring(response.content)  # noqa: S314  as boto3 does; expat bounds what entities may grow to
        space = root.tag.removesuffix("ListBucketResult")
        told = {element.tag.removeprefix(space): element.text or "" for element in root}
        is_quoted = told.get("EncodingType") == "url"
        entries = root.iterfind(f"{space}Contents")
        page: Answer = {"Contents": [_read_entry(entry, space, is_quoted=is_quoted) for entry in entries]}
    except (ET.ParseError, KeyError, ValueError) as error:
        raise HTTPClientError(error=f"the page of a listing is cut or garbled: {error!r}") from error
    if "IsTruncated" in told:
        page["IsTruncated"] = told["IsTruncated"] == "true"
    if "NextContinuationToken" in told:
        page["NextContinuationToken"] = told["NextContinuationToken"]
    return page


def _read_entry(entry: ET.Element, space: str, *, is_quoted: bool) -> Answer:
    told = {element.tag: element.text or "" for element in entry}
    key = told[f"{space}Key"]
    return {
        "Key": unquote_plus(key) if is_quoted else key,
        "Size": int(told[f"{space}Size"]),
        "LastModified": datetime.fromisoformat(told[f"{space}LastModified"]),
    }


_GET: Final = _Operation("GetObject", "get_object", frozenset({"Key"}), _strip_key, _fill_key, _read_object)
_LIST: Final = _Operation("ListObjectsV2", "list_objects_v2", frozenset(_QUERY), _strip_query, _fill_query, _read_page)
