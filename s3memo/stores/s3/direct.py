"""GETs and LISTs sent as boto3's client sent its first, less what it would do again for each: over half of its time.

Validating the options, finding the endpoint and serializing come out the same for all requests of a store but for the
name they are about. So the first is the client's own, and its hook `needs-retry` tells how it looked. Those that follow
are signed by the client's hooks, offered to whoever answers in the server's stead (`before-send`, where moto stands)
and sent over the client's connections; who was told of them is told how they end (`after-call`, where Sentry stands).
After a refusal the client goes its own way again, which may have changed; a redirect it follows at once. Calls that
others have put themselves around stay its own. The checksum that S3 sends with an object is not compared: envelopes
have their own.
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
_ELSEWHERE: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_OF_ONE_CALL: Final = "x-amzn-trace-id"
"""The header by which Lambda knows one invocation from another, so that it must not be sent again."""


class _Operation(NamedTuple):
    """What S3 calls it and boto3 calls it, which options differ from request to request, and how they shape one.

    `strip` takes them out of a request that was seen, or returns None where they are not found; `fill` puts others in.
    `read` makes of a successful answer what boto3 does, or None of an error that came as one.
    """

    name: str
    method: str
    varying: frozenset[str]
    strip: Callable[[Content, Options], Content | None]
    fill: Callable[[Content, Options], Content]
    read: Callable[[Any], Answer | None]


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
        """Return the client's own answer, and to which request; None if a signal handler has read since."""
        try:
            return own(client, **options), vars(self._seen).get("request")
        finally:
            vars(self._seen).pop("request", None)


def _is_usual(steady: list[tuple[str, Any]], options: Options) -> bool:
    """Return whether a request may look like another's; an empty name must not, for which S3 would send a listing."""
    is_steady = all(name in _STEADY and isinstance(value, str | bytes) for name, value in steady)
    return is_steady and options.get("Key") != ""


def _is_surrounded(client: Any) -> bool:
    """Return whether others stand around the client's calls: tracers and tests, which would not hear of direct ones."""
    call = client._make_api_call  # noqa: SLF001  it is what OpenTelemetry, X-Ray and the tests of many a project patch
    return type(call) is not MethodType or call.__module__ != BaseClient.__module__


def _is_elsewhere(status: int, error: Mapping[str, str]) -> bool:
    """Return whether a refusal is one after which boto3's client finds out where the bucket is, and asks there."""
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
    told = {"http_response": response, "parsed": answer, "model": known.model, "context": context}
    client.meta.events.emit(f"after-call.s3.{operation.name}", **told)
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
    """Return what boto3 makes of a page, less what no store asks about; its own hook at `after-call` decodes the names."""
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
    told: Answer = {name: page[name] for name in ("Contents", "EncodingType", "NextContinuationToken") if name in page}
    return told if "IsTruncated" not in page else told | {"IsTruncated": page["IsTruncated"] == "true"}


def _read_entry(entry: ET.Element) -> Answer:
    told = {_name(element.tag): element.text or "" for element in entry}
    return {"Key": told["Key"], "Size": int(told["Size"]), "LastModified": read_time(told["LastModified"])}


@lru_cache(maxsize=64)
def _name(tag: str) -> str:
    """Return an element's name without its namespace, which servers are free with."""
    return tag.rpartition("}")[2]


def read_time(value: Any) -> datetime:
    """Return the time that an answer tells, in a listing (…Z) or a header (…GMT).

    botocore's own way takes two thirds of the time that a page of a listing takes.
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
