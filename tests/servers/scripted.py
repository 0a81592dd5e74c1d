"""A server that a test tells what to answer, and answers as S3 might give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from xml.sax.saxutils import escape

from tests.servers.recording import Behaviour, Exchange, RecordingServer
from tests.servers.server import S3Server

_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class ScriptedServer(RecordingServer):
    """Does as its `behave` says, and fails until a test sets that."""

    def __init__(self) -> None:
        super().__init__(answer(500))

    @cached_property
    def server(self) -> S3Server:
        return S3Server("scripted", self.endpoint)


def script(*steps: Behaviour) -> Behaviour:
    """Take the next step at each request, and the last one again and again."""
    remaining = list(steps)

    def behave(exchange: Exchange) -> None:
        step = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        step(exchange)

    return behave


def answer(status: int = 200, body: str = "", headers: Mapping[str, str] | None = None) -> Behaviour:
    return lambda exchange: exchange.answer(status, body.encode(), headers)


def refusal(status: int, code: str = "", message: str = "") -> Behaviour:
    """An error; without a code it has no body that S3 would send."""
    if not code:
        return answer(status)
    return answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>")


def hang_up(exchange: Exchange) -> None:
    exchange.hang_up()


def page(*keys: str, then: str | None = None, headers: Mapping[str, str] | None = None) -> Behaviour:
    """A page of a listing; `then` is the token of the page after it."""
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>1</Size><LastModified>2026-11-23T06:30:00.000Z</LastModified></Contents>"
        for key in keys
    )
    token = f"<NextContinuationToken>{then}</NextContinuationToken>" if then else ""
    truncated = f"<IsTruncated>{str(then is not None).lower()}</IsTruncated>"
    return answer(200, f"<ListBucketResult {_XMLNS}>{truncated}{token}{contents}</ListBucketResult>", headers)


def deleted(errors: Iterable[tuple[str, str]] = ()) -> Behaviour:
    """The answer to a DeleteObjects, with errors by key and code."""
    failures = "".join(f"<Error><Key>{escape(key)}</Key><Code>{code}</Code></Error>" for key, code in errors)
    return answer(200, f"<DeleteResult {_XMLNS}>{failures}</DeleteResult>")
