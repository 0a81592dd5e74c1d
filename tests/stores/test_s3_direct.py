"""Reads that are sent directly: the same requests as boto3's own, and the same answers."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from xml.sax.saxutils import escape

import boto3.session
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from s3memo.errors import NotFoundError, StoreAccessError, StoreUnavailableError
from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3 import S3Store
from s3memo.stores.s3.client import make_client
from tests.servers.scripted import ScriptedServer, answer, page, refusal, script
from tests.servers.server import S3Server

KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret"}
UNEQUAL_BY_NATURE = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}

CLIENTS = {
    "a region": ("bucket", {"region_name": "eu-west-1"}),
    "the first region": ("bucket", {"region_name": "us-east-1"}),
    "a name with dots": ("my.dotted.bucket", {"region_name": "eu-west-1"}),
    "a session": ("bucket", {"region_name": "eu-west-1", "aws_session_token": "token"}),
    "two stacks": ("bucket", {"region_name": "eu-west-1", "config": Config(s3={"use_dualstack_endpoint": True})}),
    "accelerated": ("bucket", {"region_name": "eu-west-1", "config": Config(s3={"use_accelerate_endpoint": True})}),
    "anonymous": ("bucket", {"region_name": "eu-west-1", "config": Config(signature_version=UNSIGNED)}),
    "the old signature": ("bucket", {"region_name": "eu-west-1", "config": Config(signature_version="s3")}),
    "elsewhere": ("bucket", {"region_name": "any", "endpoint_url": "http://127.0.0.1:9"}),
    "behind a path": ("bucket", {"region_name": "any", "endpoint_url": "https://example.com/s3/"}),
    "an access point": ("arn:aws:s3:eu-west-1:123456789012:accesspoint/point", {"region_name": "eu-west-1"}),
}


class StandIn:
    """Answers a client's requests in the server's stead, and keeps them; `built` counts those it built itself."""

    def __init__(self, client: Any) -> None:
        self.client, self.requests, self.built = client, [], 0
        self.status, self.headers, self.body = 200, {"Date": "Thu, 26 Nov 2026 12:00:00 GMT"}, b"<ListBucketResult/>"
        self.behave: Callable[[AWSPreparedRequest], int] = lambda _: self.status
        client.meta.events.register("before-send.s3", self._answer)
        client.meta.events.register("before-parameter-build.s3", self._count)

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.requests.append(request)
        return AWSResponse(request.url, self.behave(request), self.headers, _Body(self.body))

    def _count(self, **_: object) -> None:
        self.built += 1


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content

    def read(self, _amount: int | None = None) -> bytes:
        content, self._content = self._content, b""
        return content


def ours(options: dict[str, Any]) -> StandIn:
    return StandIn(make_client({**KEYS, **options}, RetryPolicy()))


def theirs(options: dict[str, Any]) -> StandIn:
    checksums = {} if "endpoint_url" not in options else dict.fromkeys(
        ("request_checksum_calculation", "response_checksum_validation"), "when_required"
    )  # fmt: skip
    config = Config(**checksums).merge(options.get("config") or Config())
    return StandIn(boto3.session.Session().client("s3", **{**KEYS, **options, "config": config}))


def shown(request: AWSPreparedRequest) -> tuple[Any, ...]:
    """What must be equal of two requests; the query's order is of no account."""
    url = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() not in UNEQUAL_BY_NATURE}
    return request.method, url[:3], sorted(parse_qsl(url.query, keep_blank_values=True)), headers


@pytest.fixture
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures of the same second."""
    moment = datetime(2026, 11, 26, 12, tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment)
    monkeypatch.setattr("botocore.auth.formatdate", lambda *_, **__: "Thu, 26 Nov 2026 12:00:00 GMT")


# the requests


@pytest.mark.usefixtures("_frozen")
@pytest.mark.parametrize(("bucket", "options"), CLIENTS.values(), ids=CLIENTS)
def test_requests_are_those_of_boto3(bucket: str, options: dict[str, Any]) -> None:
    direct, plain = ours(options), theirs(options)
    for side in (direct, plain):
        for name in ("first", "root/second", "a b+c&d=e%2F", "a//b/../c", "äöü~日本\U0001f600"):
            side.client.get_object(Bucket=bucket, Key=name)
        for query in (
            {},
            {"Prefix": "", "MaxKeys": 1},
            {"Prefix": "root/ä b", "MaxKeys": 1000},
            {"Prefix": "p", "MaxKeys": 1000, "StartAfter": "p+q/=&"},
            {"Prefix": "p", "MaxKeys": 1000, "ContinuationToken": "to/ken=="},
        ):
            side.client.list_objects_v2(Bucket=bucket, **query)

    assert [shown(request) for request in direct.requests] == [shown(request) for request in plain.requests]
    assert (direct.built, plain.built) == (2, 10)


@pytest.mark.usefixtures("_frozen")
def test_steady_options_go_along_and_are_kept_apart() -> None:
    kinds: list[dict[str, str]] = [
        {"ExpectedBucketOwner": "123456789012"},
        {"ExpectedBucketOwner": "210987654321", "RequestPayer": "requester"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
    ]
    direct, plain = ours({"region_name": "eu-west-1"}), theirs({"region_name": "eu-west-1"})
    for side in (direct, plain):
        for name in ("a", "b"):
            for kind in kinds:
                side.client.get_object(Bucket="bucket", Key=name, **kind)

    assert [shown(request) for request in direct.requests] == [shown(request) for request in plain.requests]
    assert direct.built == len(kinds)


def test_a_range_is_asked_for_as_boto3_does() -> None:
    direct = ours({"region_name": "eu-west-1"})
    for _ in range(2):
        direct.client.get_object(Bucket="bucket", Key="a", Range="bytes=0-1")
    assert direct.built == 2
    assert direct.requests[1].headers["Range"] == b"bytes=0-1"


def test_each_thread_learns_from_its_own_request() -> None:
    direct, together = ours({"region_name": "eu-west-1"}), threading.Barrier(8)

    def read(name: str) -> None:
        together.wait()
        for _ in range(5):
            direct.client.get_object(Bucket="bucket", Key=name)

    names = [f"k{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, names))

    read_names = sorted(urlsplit(request.url).path.lstrip("/") for request in direct.requests)
    assert read_names == sorted(names * 5)


# the answers

entries = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), min_size=1),
        st.integers(0, 2**50),
        st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    ),
    max_size=5,
)


@given(found=entries, is_quoted=st.booleans(), space=st.sampled_from(["", "http://s3.amazonaws.com/doc/2006-03-01/"]),
       more=st.sampled_from([None, True, False]))  # fmt: skip
def test_a_page_is_read_as_boto3_reads_it(
    found: list[tuple[str, int, str]], space: str, more: bool | None, *, is_quoted: bool
) -> None:
    told = "".join(
        f"<Contents><Key>{quote(key) if is_quoted else escape(key)}</Key><Size>{size}</Size><ETag>&quot;e&quot;</ETag>"
        f"<LastModified>{moment}</LastModified><Owner><ID>o</ID></Owner></Contents>"
        for key, size, moment in found
    )
    truncated = "" if more is None else f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    token = "<NextContinuationToken>to+ken%2F</NextContinuationToken>" if more else ""
    encoding = "<EncodingType>url</EncodingType>" if is_quoted else ""
    body = f'<ListBucketResult xmlns="{space}">{encoding}{truncated}{token}{told}</ListBucketResult>'.encode()
    direct, plain = CLIENTS_FOR_PAGES
    pages = []
    for side in (direct, plain):
        side.body = body
        side.client.list_objects_v2(Bucket="bucket")
        answered = side.client.list_objects_v2(Bucket="bucket")
        objects = [
            {name: entry[name] for name in ("Key", "Size", "LastModified")} for entry in answered.get("Contents", ())
        ]
        pages.append((objects, answered.get("IsTruncated"), answered.get("NextContinuationToken")))

    assert pages[0] == pages[1]


CLIENTS_FOR_PAGES = ours({"region_name": "eu-west-1"}), theirs({"region_name": "eu-west-1"})


def store_at(scripted: ScriptedServer) -> S3Store:
    return S3Store("bucket", "root", client_options=S3Server("any", scripted.endpoint).client_options, attempts=1)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(404, "NoSuchKey", NotFoundError), (403, "AccessDenied", StoreAccessError), (503, "", StoreUnavailableError)],
)
def test_refusals_mean_the_same(scripted: ScriptedServer, status: int, code: str, error: type[Exception]) -> None:
    store = store_at(scripted)
    refused = refusal(status, code) if code else answer(status)
    scripted.behave = script(refused, answer(200, "known"), refused)
    said = []
    for name in ("a", "b", "a"):
        try:
            store.get(name)
        except error as raised:
            said.append(str(raised))

    assert len(said) == 2
    assert said[0] == said[1]


def test_after_a_refusal_the_client_goes_its_own_way_again() -> None:
    direct = ours({"region_name": "eu-west-1"})
    for status in (200, 200, 404, 200, 403, 200, 200):
        direct.status = status
        if status == 200:
            direct.client.get_object(Bucket="bucket", Key="a")
        else:
            with pytest.raises(direct.client.exceptions.ClientError):
                direct.client.get_object(Bucket="bucket", Key="a")
    assert direct.built == 2


def test_a_page_cut_short_is_asked_for_again(scripted: ScriptedServer) -> None:
    store = S3Store("bucket", client_options=S3Server("any", scripted.endpoint).client_options, sleep=lambda _: None)
    scripted.behave = script(page("a"), answer(200, "<ListBucketResult><Contents>"), page("a", "b"))
    assert [info.key for info in store.list("")] == ["a"]
    assert [info.key for info in store.list("")] == ["a", "b"]


def test_moto_answers_in_the_servers_stead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        boto3.session.Session().client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
        store = S3Store("bucket", "root", client_options={"region_name": "us-east-1"})
        for number in range(3):
            store.put(f"k{number}", b"v")
            assert store.get(f"k{number}") == b"v"
        assert [info.key for info in store.list("")] == ["k0", "k1", "k2"]
        assert [info.key for info in store.list("k1")] == ["k1"]


# what comes between


def test_a_name_that_boto3_refuses_is_refused() -> None:
    direct = ours({"region_name": "eu-west-1"})
    direct.client.get_object(Bucket="bucket", Key="a")
    with pytest.raises(ParamValidationError):
        direct.client.get_object(Bucket="bucket", Key="")


def test_a_key_of_any_bytes_encrypts() -> None:
    direct, options = ours({"region_name": "eu-west-1"}), {"SSECustomerAlgorithm": "AES256"}
    for key in (bytearray(32), bytes(32), b"k" * 32, "k" * 32):
        for _ in range(2):
            direct.client.get_object(Bucket="bucket", Key="a", SSECustomerKey=key, **options)
    sent = [request.headers["x-amz-server-side-encryption-customer-key"] for request in direct.requests]
    assert sent == [b64encode(bytes(32))] * 4 + [b64encode(b"k" * 32)] * 4


@pytest.mark.parametrize("status", [301, 302, 307, 400])
def test_a_bucket_that_has_moved_is_followed(status: int) -> None:
    direct = ours({"region_name": "eu-west-1"})
    direct.client.get_object(Bucket="bucket", Key="a")
    direct.headers["x-amz-bucket-region"] = "eu-north-1"
    direct.body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></Error>"
    direct.behave = lambda request: 200 if "eu-north-1" in request.url else status
    for _ in range(3):
        direct.client.get_object(Bucket="bucket", Key="a")

    asked = [urlsplit(request.url).hostname.split(".")[2] for request in direct.requests]
    assert asked == ["eu-west-1"] * 3 + ["eu-north-1"] * 3
    assert direct.built == 2


def test_a_refusal_on_the_spot_is_not_asked_about_again() -> None:
    direct = ours({"region_name": "eu-west-1"})
    direct.client.get_object(Bucket="bucket", Key="a")
    direct.status, direct.body = 400, b"<Error><Code>ExpiredToken</Code></Error>"
    with pytest.raises(ClientError, match="ExpiredToken"):
        direct.client.get_object(Bucket="bucket", Key="a")
    assert len(direct.requests) == 2


def test_retries_of_ones_own_are_made(scripted: ScriptedServer) -> None:
    config = {"config": Config(retries={"total_max_attempts": 3, "mode": "standard"})}
    options = S3Server("any", scripted.endpoint).client_options
    store = S3Store("bucket", client_options=options | config, attempts=1)
    scripted.behave = script(answer(200, "1"), refusal(503, "SlowDown"), answer(200, "2"))
    assert [store.get("a"), store.get("a")] == [b"1", b"2"]


def test_one_call_of_a_lambda_does_not_pass_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "job")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1")
    direct = ours({"region_name": "eu-west-1"})
    for _ in range(2):
        direct.client.get_object(Bucket="bucket", Key="a")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=2")
    assert [request.headers.get("X-Amzn-Trace-Id") for request in direct.requests] == [b"Root=1", None]


@pytest.mark.parametrize("options", [{}, {"Range": "bytes=0-1"}])
def test_what_a_signal_handler_reads_is_not_taken_for_ones_own(options: dict[str, str]) -> None:
    direct = ours({"region_name": "eu-west-1"})

    def interrupt(**_: object) -> None:
        direct.client.meta.events.unregister("after-call.s3", interrupt)
        direct.status = 200 if options else 500
        with suppress(ClientError):
            direct.client.get_object(Bucket="bucket", Key="folder/a", **options)
        direct.status = 200

    direct.client.meta.events.register("after-call.s3", interrupt)
    for _ in range(3):
        direct.client.get_object(Bucket="bucket", Key="a")
    asked = [urlsplit(request.url).path for request in direct.requests]
    assert asked == ["/a", "/folder/a", "/a", "/a"]


@pytest.mark.parametrize("failure", [None, 404, 503, "unreachable"])
def test_who_is_told_of_a_request_is_told_of_its_end(failure: int | str | None) -> None:
    direct = ours({"region_name": "eu-west-1"})
    begun: list[Any] = []
    ended: list[Any] = []
    direct.client.meta.events.register("request-created.s3", lambda request, **_: begun.append(request.context))
    direct.client.meta.events.register("after-call.s3", lambda context, **_: ended.append(context))
    direct.client.meta.events.register("after-call-error.s3", lambda context, **_: ended.append(context))
    direct.client.get_object(Bucket="bucket", Key="a")
    if failure == "unreachable":
        direct.behave = _unreachable
    else:
        direct.status = failure or 200
    with suppress(ClientError, EndpointConnectionError):
        direct.client.get_object(Bucket="bucket", Key="a")
    assert direct.built == 1
    assert [id(context) for context in ended] == [id(context) for context in begun]


@pytest.mark.parametrize("wrap", [lambda patch: patch, partialmethod])
def test_who_stands_around_the_clients_calls_hears_of_all(
    wrap: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = ours({"region_name": "eu-west-1"})
    plain, heard = BaseClient._make_api_call, []

    def patch(client: Any, name: str, options: Any) -> Any:
        heard.append(name)
        return plain(client, name, options)

    for _ in range(2):
        direct.client.get_object(Bucket="bucket", Key="a")
    with monkeypatch.context() as patched:
        patched.setattr(BaseClient, "_make_api_call", wrap(patch))
        for _ in range(2):
            direct.client.get_object(Bucket="bucket", Key="a")
    direct.client.get_object(Bucket="bucket", Key="a")
    assert heard == ["GetObject"] * 2
    assert direct.built == 1 + len(heard)


def _unreachable(_: AWSPreparedRequest) -> int:
    raise EndpointConnectionError(endpoint_url="any")


# odd pages


ENTRY = "<Contents><Key>a</Key><Size>1</Size><LastModified>{}</LastModified></Contents>"


def listed(body: str) -> list[Any]:
    pages = []
    for side in CLIENTS_FOR_PAGES:
        side.body = b"<ListBucketResult/>"
        side.client.list_objects_v2(Bucket="bucket")
        side.body = body.encode()
        try:
            answered = side.client.list_objects_v2(Bucket="bucket")
        except ClientError as error:
            answered = {
                "Error": error.response["Error"],
                "Status": error.response["ResponseMetadata"]["HTTPStatusCode"],
            }
        pages.append({name: value for name, value in answered.items() if name != "ResponseMetadata"})
    return pages


@pytest.mark.parametrize(
    "moment",
    ["2026-11-26T12:00:00.000Z", "2026-11-26T12:00:00", "2026-11-26T12:00:00.5+02:00",
     "Thu, 26 Nov 2026 12:00:00 GMT", "1795694400"],
)  # fmt: skip
def test_times_are_read_as_boto3_reads_them(moment: str) -> None:
    direct, plain = listed(f"<ListBucketResult>{ENTRY.format(moment)}</ListBucketResult>")
    assert direct["Contents"] == plain["Contents"]


@pytest.mark.parametrize(
    "body",
    [
        f"<a:ListBucketResult xmlns:a='any'>{ENTRY}</a:ListBucketResult>",
        f"<ListBucketResult xmlns:a='any'><a:IsTruncated>true</a:IsTruncated>{ENTRY}</ListBucketResult>",
        f"<ListBucketResult xmlns='any'>{ENTRY.replace('<Contents>', '<Contents xmlns=~~>')}</ListBucketResult>",
        f"<ListObjectsV2Result xmlns='any'>{ENTRY}</ListObjectsV2Result>",
        f"<!DOCTYPE a [<!ENTITY b 'true'>]><L><!-- --><IsTruncated>&b;</IsTruncated>{ENTRY}</L>",
        f"<L>{ENTRY.replace('>a<', '><![CDATA[<]]><!-- -->b<')}</L>",
        f"<ListBucketResult><EncodingType>url</EncodingType>{ENTRY.replace('>a<', '>a+%2B%C3%A4<')}</ListBucketResult>",
        "<ListBucketResult><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>",
        "<Error><Code>InternalError</Code><Message>We are sorry</Message></Error>",
    ],
)
def test_an_odd_page_is_read_as_boto3_reads_it(body: str) -> None:
    direct, plain = listed(body.replace("~~", "''").replace("{}", "2026-11-26T12:00:00Z"))
    left_out = {"CommonPrefixes"}
    assert {"Contents": [], **direct} == {"Contents": [], **{name: plain[name] for name in plain.keys() - left_out}}
