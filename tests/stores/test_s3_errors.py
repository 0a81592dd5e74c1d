"""What goes wrong on S3, by server and by message: what happened, to which object, what to do."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from s3memo.errors import (
    AlreadyExistsError,
    NotFoundError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.events import Recorder
from s3memo.stores.s3 import S3Store
from tests.servers.recording import Exchange
from tests.servers.scripted import ScriptedServer, answer, hang_up, page, refusal, script
from tests.servers.server import S3Server
from tests.stores.conftest import BODY
from tests.stores.contract import keys


def store_at(endpoint: str, *, bucket: str = "bucket", **options: Any) -> S3Store:
    return S3Store(bucket, "root", client_options=S3Server("any", endpoint).client_options, **options)


MEANINGS: list[tuple[int, str, type[StoreError], str]] = [
    (301, "", StoreAccessError, "name the bucket's region"),
    (301, "PermanentRedirect", StoreAccessError, "name the bucket's region"),
    (400, "AuthorizationHeaderMalformed", StoreAccessError, "name the bucket's region"),
    (400, "ExpiredToken", StoreAccessError, "renew the credentials"),
    (400, "InvalidRequest", StoreAccessError, "correct client_options, put_options"),
    (401, "", StoreAccessError, "grant these credentials s3:ListBucket on the bucket"),
    (403, "AccessDenied", StoreAccessError, "grant these credentials s3:ListBucket on the bucket"),
    (403, "AccountProblem", StoreAccessError, "grant these credentials"),
    (403, "InvalidAccessKeyId", StoreAccessError, "set up or correct the AWS credentials"),
    (403, "SignatureDoesNotMatch", StoreAccessError, "set up or correct the AWS credentials"),
    (403, "RequestTimeTooSkewed", StoreAccessError, "set this machine's clock"),
    (403, "InvalidObjectState", StoreAccessError, "archived"),
    (404, "NoSuchBucket", StoreAccessError, "create the bucket, or correct its name"),
    (404, "", StoreAccessError, "create the bucket, or correct its name"),
    (405, "MethodNotAllowed", StoreNotSupportedError, "use another"),
    (501, "NotImplemented", StoreNotSupportedError, "use another"),
    (501, "", StoreNotSupportedError, "use another"),
]
TRANSIENT = [
    (500, "InternalError"),
    (502, ""),
    (503, "SlowDown"),
    (503, ""),
    (429, ""),
    (400, "RequestTimeout"),
    (409, "OperationAborted"),
]


@pytest.mark.parametrize(("status", "code", "error", "advice"), MEANINGS)
def test_an_answer_that_means_no(  # noqa: PLR0917  a table's columns
    scripted: ScriptedServer, store: S3Store, status: int, code: str, error: type[StoreError], advice: str
) -> None:
    scripted.behave = refusal(status, code, "said so")
    with pytest.raises(error) as caught:
        list(store.list("job/"))

    message = str(caught.value)
    assert message.startswith(f"cannot list s3://bucket/root/job/ at {scripted.endpoint}: the server answered {status}")
    assert advice in message
    assert ("said so" in message) == bool(code)
    assert caught.value.__cause__ is not None
    assert scripted.counts() == {"LIST": 1}


def test_a_bucket_elsewhere_is_followed(scripted: ScriptedServer, store: S3Store) -> None:
    region = {"x-amz-bucket-region": "eu-west-1"}
    scripted.behave = script(answer(301, headers=region), page("root/a"))

    assert keys(store.list("")) == ["a"]
    assert "/us-east-1/s3/" in scripted.requests[0].headers["Authorization"]
    assert "/eu-west-1/s3/" in scripted.requests[1].headers["Authorization"]


@pytest.mark.parametrize(("status", "code"), TRANSIENT)
def test_an_answer_that_means_later(scripted: ScriptedServer, store: S3Store, status: int, code: str) -> None:
    scripted.behave = refusal(status, code)
    recorder = Recorder("counted")
    with (
        recorder.counting_requests(),
        pytest.raises(StoreUnavailableError, match=r"in 3 attempts: .*; try again later"),
    ):
        store.get("a")

    assert scripted.counts() == {"GET": 3}
    assert recorder.info(maxsize=0, currsize=0).requests == {"GET": 3}

    scripted.behave = script(refusal(status, code), hang_up, answer(200, "found"))
    assert store.get("a") == b"found"


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (404, "")])
def test_a_missing_object(scripted: ScriptedServer, store: S3Store, status: int, code: str) -> None:
    scripted.behave = refusal(status, code)
    with pytest.raises(NotFoundError, match=r"cannot read s3://bucket/root/job/a at http://127\.0\.0\.1"):
        store.get("job/a")
    assert scripted.counts() == {"GET": 1}


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (412, "")])
def test_an_object_in_the_way_of_a_create(scripted: ScriptedServer, store: S3Store, status: int, code: str) -> None:
    scripted.behave = refusal(status, code)
    with pytest.raises(AlreadyExistsError, match=r"cannot write s3://bucket/root/state/1 at"):
        store.put("state/1", b"x", mode="create")
    assert [request.headers["If-None-Match"] for request in scripted.requests] == ["*"]


def test_a_conflict_of_creates_is_the_same_put_again(scripted: ScriptedServer, store: S3Store) -> None:
    bodies = []

    def conflict_once(exchange: Exchange) -> None:
        bodies.append(exchange.body.read())
        (refusal(409, "ConditionalRequestConflict") if len(bodies) == 1 else answer(200))(exchange)

    scripted.behave = conflict_once
    store.put("state/1", BODY, mode="create")

    assert bodies == [BODY, BODY]
    assert [request.headers["If-None-Match"] for request in scripted.requests] == ["*", "*"]


@pytest.mark.parametrize("body", ["", "<html><p>Welcome</p></html>"])
def test_what_does_not_speak_s3_is_no_empty_listing(scripted: ScriptedServer, store: S3Store, body: str) -> None:
    scripted.behave = answer(200, body)
    with pytest.raises(StoreNotSupportedError, match="correct the endpoint"):
        list(store.list(""))


def test_an_answer_that_is_no_xml(scripted: ScriptedServer, store: S3Store) -> None:
    scripted.behave = answer(200, "<!DOCTYPE html><p>Welcome")
    with pytest.raises(StoreUnavailableError, match="cannot list"):
        list(store.list(""))


def test_a_body_cut_short_is_asked_for_again(scripted: ScriptedServer, store: S3Store) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": "10"})
        exchange.write(b"01234")
        exchange.hang_up()

    scripted.behave = script(cut, answer(200, "0123456789"))
    assert store.get("a") == b"0123456789"
    assert scripted.counts() == {"GET": 2}


def test_credentials_that_are_missing() -> None:
    with pytest.raises(StoreAccessError, match=r"NoCredentialsError: .* set up or correct the AWS credentials"):
        S3Store("bucket", client_options={"endpoint_url": "http://127.0.0.1:9"}).get("a")


def test_a_profile_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    store = S3Store("bucket")
    with pytest.raises(StoreAccessError, match=r"cannot list s3://bucket/: ProfileNotFound: .*nobody.* AWS settings"):
        list(store.list(""))
    store.close()


def test_a_name_that_boto3_refuses() -> None:
    with pytest.raises(StoreAccessError, match="Invalid bucket name"):
        store_at("http://127.0.0.1:9", bucket="arn:nothing").get("a")


def test_options_that_are_none() -> None:
    with pytest.raises(SettingsError, match=r"client_options are not those of boto3\.client: .*endpoint"):
        S3Store("bucket", client_options={"endpoint": "http://127.0.0.1:9"}).get("a")
    with pytest.raises(StoreAccessError, match="Invalid endpoint"):
        S3Store("bucket", client_options={"endpoint_url": "127.0.0.1"}).get("a")
    with pytest.raises(StoreAccessError, match=r"Unknown parameter .*Colour"):
        store_at("http://127.0.0.1:9", put_options={"Colour": "blue"}).put("a", b"")


def test_a_bucket_that_does_not_exist(s3_server: S3Server) -> None:
    store = S3Store("nowhere", "root", client=s3_server.client)
    for operation in (lambda: list(store.list("")), lambda: store.put("a", b"x"), lambda: store.delete(["a"])):
        with pytest.raises(StoreAccessError, match=r"s3://nowhere/root.* create the bucket, or correct its name"):
            operation()


@pytest.mark.parametrize("server", ["rclone_s3", "ceph_s3"])
def test_a_wrong_secret(server: str, request: pytest.FixtureRequest) -> None:
    real: S3Server = request.getfixturevalue(server)
    options = real.client_options | {"aws_secret_access_key": "wrong"}
    with pytest.raises(StoreAccessError, match=r"403 .*set up or correct the AWS credentials"):
        S3Store(real.make_bucket(), client_options=options).get("a")


def test_no_permission_to_list(ceph_s3: S3Server) -> None:
    nobody = {"endpoint_url": ceph_s3.endpoint, "config": Config(signature_version=UNSIGNED)}
    store = S3Store(ceph_s3.make_bucket(), "root", client_options=nobody)
    with pytest.raises(StoreAccessError, match=r"403 AccessDenied.* grant these credentials s3:ListBucket"):
        list(store.list(""))
