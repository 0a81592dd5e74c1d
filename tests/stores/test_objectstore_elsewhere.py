"""What ObjectStore asks of Azure and Google, and how it takes answers of theirs, as far as a server with a script shows."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import obstore.store
import pytest

from s3memo import ObjectStore
from s3memo.bridge import bridged
from s3memo.errors import AlreadyExistsError, NotFoundError, StoreAccessError
from tests.servers.recording import Behaviour
from tests.servers.scripted import ScriptedServer, answer, page, script
from tests.stores.contract import keys

HEADERS = {"Last-Modified": "Mon, 23 Nov 2026 06:30:00 GMT", "ETag": '"1"'}


@pytest.fixture
def azure(scripted: ScriptedServer) -> ObjectStore:
    engine = obstore.store.AzureStore(
        "container",
        account_name="account",
        account_key="a2V5",
        endpoint=f"{scripted.endpoint}/account",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    return ObjectStore(engine, "root")


@pytest.fixture
def google(scripted: ScriptedServer) -> ObjectStore:
    key = {"gcs_base_url": scripted.endpoint, "disable_oauth": True}
    key |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    engine = obstore.store.GCSStore(
        "bucket",
        service_account_key=json.dumps(key),
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    return ObjectStore(engine, "root")


@pytest.fixture(params=["azure", "google"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, ObjectStore)
    return found


def refusal(status: int, code: str) -> Behaviour:
    return answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")


def batch_answer(*statuses: str) -> Behaviour:
    """What Azure answers to a batch of deletes."""
    parts = "".join(
        f"--b\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\nx-ms-request-id: 1\r\n\r\n"
        for number, status in enumerate(statuses)
    )
    return answer(202, f"{parts}--b--\r\n", {"Content-Type": "multipart/mixed; boundary=b"})


def sent(scripted: ScriptedServer, number: int = 0) -> tuple[str, str, dict[str, str]]:
    request = scripted.requests[number]
    return request.method, request.target, {name.lower(): value for name, value in request.headers.items()}


def test_a_create_asks_that_there_be_no_object(scripted: ScriptedServer, azure: ObjectStore) -> None:
    scripted.behave = answer(201, headers=HEADERS)
    azure.put("job/a", b"x", mode="create")
    azure.put("job/a", b"x")

    method, target, headers = sent(scripted)
    assert (method, target) == ("PUT", "/account/container/root/job/a")
    assert (headers["if-none-match"], headers["x-ms-blob-type"]) == ("*", "BlockBlob")
    assert headers["authorization"].startswith("SharedKey account:")
    assert "if-none-match" not in sent(scripted, 1)[2]


def test_a_create_on_google_asks_for_no_generation(scripted: ScriptedServer, google: ObjectStore) -> None:
    scripted.behave = answer(200, headers=HEADERS)
    google.put("job/a", b"x", mode="create")
    google.put("job/a", b"x")

    method, target, headers = sent(scripted)
    assert (method, target) == ("PUT", "/bucket/root%2Fjob%2Fa")
    assert headers["x-goog-if-generation-match"] == "0"
    assert "x-goog-if-generation-match" not in sent(scripted, 1)[2]


@pytest.mark.parametrize(("status", "code"), [(409, "BlobAlreadyExists"), (412, "PreconditionFailed")])
@pytest.mark.parametrize("across", [True, False])
def test_an_object_that_is_there(
    scripted: ScriptedServer, azure: ObjectStore, status: int, code: str, across: bool
) -> None:
    scripted.behave = refusal(status, code)
    create = partial(azure.put, "a", b"x", mode="create")
    with pytest.raises(AlreadyExistsError):
        asyncio.run(bridged(create)) if across else create()


def test_reading(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = script(answer(200, "abc", HEADERS), refusal(404, "BlobNotFound"))
    assert store.get("job/a") == b"abc"
    with pytest.raises(NotFoundError):
        store.get("job/a")


def test_azure_deletes_each_by_a_batch_of_one(scripted: ScriptedServer, azure: ObjectStore) -> None:
    scripted.behave = script(batch_answer("202 Accepted"), batch_answer("404 The specified blob does not exist."))
    azure.delete(["job/a", "job/b"])

    assert [sent(scripted, number)[:2] for number in range(2)] == [
        ("POST", "/account/container?restype=container&comp=batch")
    ] * 2
    assert len(scripted.requests) == 2


def test_what_azure_keeps_is_named(scripted: ScriptedServer, azure: ObjectStore) -> None:
    scripted.behave = script(batch_answer("403 This request is not authorized"), batch_answer("202 Accepted"))
    with pytest.raises(StoreAccessError, match=r"kept 'job/a' .* 403") as caught:
        azure.delete(["job/a", "job/b"])

    assert "job/b" not in str(caught.value)
    assert len(scripted.requests) == 2, "what is forbidden is not asked for again"


def test_google_deletes_one_by_one(scripted: ScriptedServer, google: ObjectStore) -> None:
    scripted.behave = script(answer(204), refusal(404, "NoSuchKey"), refusal(403, "AccessDenied"))
    google.delete(["job/a", "job/b"])
    assert [sent(scripted, number)[:2] for number in range(2)] == [
        ("DELETE", "/bucket/root%2Fjob%2Fa"),
        ("DELETE", "/bucket/root%2Fjob%2Fb"),
    ]
    with pytest.raises(StoreAccessError, match=r"kept 'job/c'"):
        google.delete(["job/c"])


def test_listings_of_azure_are_sorted(scripted: ScriptedServer, azure: ObjectStore) -> None:
    def blobs(*names: str, then: str = "") -> Behaviour:
        listed = "".join(
            f"<Blob><Name>root/{name}</Name><Properties><Last-Modified>{HEADERS['Last-Modified']}</Last-Modified>"
            "<Content-Length>1</Content-Length><Content-Type>x</Content-Type><Etag>1</Etag></Properties></Blob>"
            for name in names
        )
        return answer(
            200, f"<EnumerationResults><Blobs>{listed}</Blobs><NextMarker>{then}</NextMarker></EnumerationResults>"
        )

    scripted.behave = script(blobs("job/c", "job/b", then="t"), blobs("job/a"))
    assert keys(azure.list("job/", start_after="job/a")) == ["job/b", "job/c"]
    assert "prefix=root%2Fjob%2F" in sent(scripted)[1]


def test_listings_of_google_begin_where_they_are_told(scripted: ScriptedServer, google: ObjectStore) -> None:
    scripted.behave = page("root/job/b", "root/job/c")
    assert keys(google.list("job/", start_after="job/a")) == ["job/b", "job/c"]
    assert sent(scripted)[1] == "/bucket?list-type=2&prefix=root%2Fjob%2F&start-after=root%2Fjob%2Fa"
