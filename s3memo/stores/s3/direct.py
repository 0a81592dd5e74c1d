"""GETs and LISTs sent as boto3's client sent the first one, without the work it would repeat: over half of its time.

Validating options, finding the endpoint and serializing give the same for all requests of a store, except for the name.
So the client itself sends the first, and the hook `needs-retry` shows what it sent. The following ones are signed by the
client's hooks, offered to whoever answers instead of the server (`before-send`: moto), sent over the client's
connections, and reported to whoever observes calls (`after-call`: Sentry). After a refusal the client sends the next one
itself again, since requests may have to look different now; it follows redirects at once. Calls that others have wrapped are left to the
client. The checksum that S3 sends with an object is not compared: envelopes have their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from types import MethodType
from typing import Any, Final, NamedTuple, TypeAlias, cast
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from botocore.client import BaseClient
from botocore.exceptions import ClientError, HTTPClientError
from botocore.parsers import create_parser
from botocore.response import StreamingBody
from botocore.utils import parse_timestamp

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
    {"Bucket", "ExpectedBucketOwner", "RequestPayer", "SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5"}
)
_EXPECTED: Final = frozenset({HTTPStatus.OK, HTTPStatus.NOT_FOUND})
_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_OF_ONE_CALL: Final = "x-amzn-trace-id"
"""A header that identifies one invocation of a Lambda, so it must not be repeated."""


class _Operation(NamedTuple):
    """A kind of request: its name in S3 and in boto3, and the options that vary from one to the next.

    `strip` takes those out of a request that was seen, or returns None if they are not found; `fill` puts others in.
    `read` parses a successful answer as boto3 does; it returns None for an error sent with a success status.
    """

    name: str
    method: str
    varying: frozenset[str]
    strip: Callable[[Content, Options], Content | None]
    fill: Callable[[Content, Options], Content]
    read: Callable[[Any], Answer | None]


class _Request(NamedTuple):
    """A request as the client made it."""

    endpoint: Any
    model: Any
    content: Content


def read_directly(engine: Any) -> None:
    """Make the clients of a botocore session read directly."""
    reads = _DirectReads()
    engine.register("creating-client-class.s3", reads.take_over)
    for operation in (_GET, _LIST):
        engine.register(f"needs-retry.s3.{operation.name}", reads.see)


class _DirectReads:
    """The requests seen so far, by operation and by the options that do not vary."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], _Request] = {}
        self._seen = threading.local()

    def take_over(self, class_attributes: dict[str, Any], **_: Any) -> None:
        """Replace methods of a client class that is being created."""
        for operation in (_GET, _LIST):
            class_attributes[operation.method] = self._shorten(operation, class_attributes[operation.method])

    def see(self, endpoint: Any, operation: Any, request_dict: Content, **_: Any) -> None:
        """Note the request that was answered in this thread."""
        headers = {name: value for name, value in request_dict["headers"].items() if name.lower() != _OF_ONE_CALL}
        self._seen.request = _Request(endpoint, operation, {**request_dict, "headers": headers})

    def _shorten(self, operation: _Operation, own: Callable[..., Answer]) -> Callable[..., Answer]:
        def read(client: Any, **options: Any) -> Answer:
            steady = sorted((name, value) for name, value in options.items() if name not in operation.varying)
            kind = (operation.name, *steady)
            is_usual = _is_usual(steady, options) and not _is_surrounded(client)
            if is_usual and (known := self._known.get(kind)):
                status, answer = _ask(client, operation, known, options)
                if status not in _EXPECTED:
                    self._known.pop(kind, None)
                if "Error" not in answer:
                    return answer
                if not _is_elsewhere(status, answer["Error"]):
                    raise ClientError(cast("Any", answer), operation.name)
            answer, seen = self._watch(own, client, options)
            if is_usual and seen and (content := operation.strip(seen.content, options)):
                self._known[kind] = seen._replace(content=content)
            return answer

        return read

    def _watch(self, own: Callable[..., Answer], client: Any, options: Options) -> tuple[Answer, _Request | None]:
        """Return the client's own answer and the request; None for that if a signal handler has sent one meanwhile."""
        try:
            return own(client, **options), vars(self._seen).get("request")
        finally:
            vars(self._seen).pop("request", None)


def _is_usual(steady: list[tuple[str, Any]], options: Options) -> bool:
    """Return whether a request can be sent directly; not one for an empty name, which S3 takes for a listing."""
    is_steady = all(name in _STEADY and isinstance(value, str | bytes) for name, value in steady)
    return is_steady and options.get("Key") != ""


def _is_surrounded(client: Any) -> bool:
    """Return whether tracers or tests have wrapped the client's calls, since they would miss direct ones."""
    call = client._make_api_call  # noqa: SLF001  it is what OpenTelemetry, X-Ray and many tests patch
    return type(call) is not MethodType or call.__module__ != BaseClient.__module__


def _is_elsewhere(status: int, error: Mapping[str, str]) -> bool:
    """Return whether boto3's client answers this refusal by looking up the bucket's region and asking there."""
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST or error.get("Code") in _ELSEWHERE


def _ask(client: Any, operation: _Operation, known: _Request, options: Options) -> tuple[int, Answer]:
    context = {name: value for name, value in known.content["context"].items() if name != "retries"}
    content = {**known.content, **operation.fill(known.content, options), "context": context}
    try:
        response = _send(client, operation, known, content)
        answer = _receive(operation, known, response)
    except Exception as error:
        client.meta.events.emit(f"after-call-error.s3.{operation.name}", exception=error, context=context)
        raise
    report = {"http_response": response, "parsed": answer, "model": known.model, "context": context}
    client.meta.events.emit(f"after-call.s3.{operation.name}", **report)
    return response.status_code, answer


def _send(client: Any, operation: _Operation, known: _Request, content: Content) -> Any:
    request = known.endpoint.create_request(content, known.model)
    answers = client.meta.events.emit(f"before-send.s3.{operation.name}", request=request)
    stand_ins = (answer for _, answer in answers if answer is not None)
    return next(stand_ins, None) or known.endpoint.http_session.send(request)


def _receive(operation: _Operation, known: _Request, response: Any) -> Answer:
    status = response.status_code
    if status < HTTPStatus.MULTIPLE_CHOICES:
        answer = operation.read(response)
        if answer is not None:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return answer | {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}}
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    refusal = {"headers": response.headers, "status_code": status, "body": response.content}
    parsed: Answer = create_parser("rest-xml").parse(refusal, known.model.output_shape)
    return parsed


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


def _read_page(response: Any) -> Answer | None:
    """Return a page as boto3 does, without what no store uses; boto3's hook at `after-call` decodes the names."""
    if not response.content:
        return {}
    try:
        root = ET.fromstring(response.content)  # noqa: S314  as boto3 does; expat bounds what entities may grow to
        if _name(root.tag) == "Error":
            return None
        page: Answer = {_name(element.tag): element.text or "" for element in root} | {
            "Contents": [_read_entry(element) for element in root if _name(element.tag) == "Contents"]
        }
    except (ET.ParseError, KeyError, ValueError) as error:
        raise HTTPClientError(error=f"the page of a listing is cut or garbled: {error!r}") from error
    answer: Answer = {
        name: page[name] for name in ("Contents", "EncodingType", "NextContinuationToken") if name in page
    }
    return answer if "IsTruncated" not in page else answer | {"IsTruncated": page["IsTruncated"] == "true"}


def _read_entry(entry: ET.Element) -> Answer:
    texts = {_name(element.tag): element.text or "" for element in entry}
    return {"Key": texts["Key"], "Size": int(texts["Size"]), "LastModified": read_time(texts["LastModified"])}


@lru_cache(maxsize=64)
def _name(tag: str) -> str:
    """Return an element's name without its namespace, which differs between servers."""
    return tag.rpartition("}")[2]


def read_time(value: Any) -> datetime:
    """Parse a time in a listing (…Z) or a header (…GMT).

    botocore's own parser would take two thirds of the time for a page of a listing.
    """
    read = {"Z": datetime.fromisoformat, "T": parsedate_to_datetime}.get(value[-1:]) if isinstance(value, str) else None
    if read is not None:
        try:
            return read(value)
        except ValueError:
            pass
    moment: datetime = parse_timestamp(value)
    return moment


_GET: Final = _Operation("GetObject", "get_object", frozenset({"Key"}), _strip_key, _fill_key, _read_object)
_LIST: Final = _Operation("ListObjectsV2", "list_objects_v2", frozenset(_QUERY), _strip_query, _fill_query, _read_page)
