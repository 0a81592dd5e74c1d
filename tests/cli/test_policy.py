"""The printed policy is applied, and then everything that s3memo does works and nothing else does."""

from __future__ import annotations

import dataclasses
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from s3memo import Cache, S3Store, ServiceState
from s3memo.cli.policy import make_policy
from s3memo.errors import AlreadyExistsError, NotFoundError, SettingsError, StoreAccessError
from s3memo.settings import parse_url
from tests.cli.console import PROJECT, at, s3memo
from tests.servers.ceph import as_guest
from tests.servers.server import S3Server

Grant = Callable[[str, dict[str, Any]], S3Server]
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234"


def policy(*arguments: str) -> dict[str, Any]:
    run = s3memo("policy", *arguments, env=at())
    assert run.code == 0, run
    document: dict[str, Any] = json.loads(run.out)
    return document


def everything_works(store: S3Store) -> None:
    assert store.time()
    store.put("v1/memo/one", b"1")
    store.put("v1/probe/two", b"2", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("v1/probe/two", b"3", mode="create")
    assert [info.key for info in store.list("v1/")] == ["v1/memo/one", "v1/probe/two"]
    assert store.get("v1/memo/one") == b"1"
    store.delete(["v1/memo/one", "v1/probe/two"])
    with pytest.raises(NotFoundError):
        store.get("v1/memo/one")
    with Cache(store, on_error="raise") as cache:
        double = cache.cached(name="double", version="1")(lambda number: 2 * number)
        assert (double(21), double.cache_refresh(21)) == (42, 42)
        double.cache_invalidate(21)
        double(21)
        assert double.cache_clear()
    assert ServiceState("job", store).update(lambda value: value + 1, default=0) == 1


def large_objects_work(client: Any, bucket: str, key: str) -> None:
    """Show that an upload in parts can be completed, and that one can be given up."""
    name = {"Bucket": bucket, "Key": key}
    for complete in (True, False):
        upload = {**name, "UploadId": client.create_multipart_upload(**name)["UploadId"]}
        part = client.upload_part(**upload, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        if complete:
            client.complete_multipart_upload(**upload, MultipartUpload=parts)
        else:
            client.abort_multipart_upload(**upload)
    client.delete_object(**name)


def nothing_else_works(store: S3Store, others: S3Store) -> None:
    """Show that what stands beside the prefix, even with a name that begins like it, is neither read nor written."""
    for key in ("v2/x", "x"):
        with pytest.raises(StoreAccessError):
            store.put(key, b"")
        with pytest.raises(StoreAccessError):
            store.get(key)
    with pytest.raises(StoreAccessError):
        others.put("v1/memo/x", b"")
    with pytest.raises(StoreAccessError):
        others.get("v1/memo/x")


@pytest.fixture
def moto_user(moto: S3Server) -> Iterator[Grant]:
    """Let moto ask who may do what, from the moment that a user has a policy until the end of the test."""

    def enforce(after: float) -> None:
        address, plain = f"{moto.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(address, str(after).encode(), plain)).close()

    def grant(bucket: str, document: dict[str, Any]) -> S3Server:
        iam = boto3.client("iam", **moto.client_options)
        iam.create_user(UserName=bucket)
        iam.put_user_policy(UserName=bucket, PolicyName="s3memo", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=bucket)["AccessKey"]
        enforce(0)
        return dataclasses.replace(moto, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])

    yield grant
    enforce(float("inf"))


@pytest.fixture
def ceph_user(ceph_s3: S3Server) -> Grant:
    """Grant a policy to Ceph's second user, as a policy of the bucket."""

    def grant(bucket: str, document: dict[str, Any]) -> S3Server:
        for statement in document["Statement"]:
            statement["Principal"] = {"AWS": ["arn:aws:iam:::user/guest"]}
        ceph_s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
        return as_guest(ceph_s3)

    return grant


def with_bucket(document: dict[str, Any], bucket: str) -> dict[str, Any]:
    """Return a policy with which both servers take a DELETE of many: unlike AWS they ask for it on the bucket too."""
    _, objects = document["Statement"]
    bucket_too = {**objects, "Sid": "Many", "Action": ["s3:DeleteObject"], "Resource": [f"arn:aws:s3:::{bucket}"]}
    return {**document, "Statement": [*document["Statement"], bucket_too]}


def with_absences(document: dict[str, Any]) -> dict[str, Any]:
    """Return a policy with which Ceph 16 says of an object that it is absent: it takes that for listing no prefix."""
    listing, *others = document["Statement"]
    condition = {"StringLikeIfExists": listing["Condition"]["StringLike"]}
    return {**document, "Statement": [{**listing, "Condition": condition}, *others]}


def test_moto_under_the_policy(moto: S3Server, moto_user: Grant) -> None:
    bucket = moto.make_bucket()
    user = moto_user(bucket, with_bucket(policy(f"s3://{bucket}/team/cache"), bucket))
    store = S3Store(bucket, "team/cache", client_options=user.client_options)
    everything_works(store)
    large_objects_work(user.client, bucket, "team/cache/v1/memo/large")
    nothing_else_works(store, S3Store(bucket, "team/cache2", client_options=user.client_options))
    with pytest.raises(user.client.exceptions.ClientError, match="AccessDenied"):
        user.client.get_bucket_versioning(Bucket=bucket)


def test_moto_under_the_policy_for_reading(moto: S3Server, moto_user: Grant) -> None:
    bucket = moto.make_bucket()
    writer = S3Store(bucket, "p", client_options=moto.client_options)
    writer.put("v1/memo/one", b"1")
    user = moto_user(bucket, policy(f"s3://{bucket}/p", "--read-only"))
    reader = S3Store(bucket, "p", client_options=user.client_options)
    assert reader.get("v1/memo/one") == b"1"
    assert [info.key for info in reader.list("v1/")] == ["v1/memo/one"]
    with pytest.raises(StoreAccessError):
        reader.put("v1/memo/one", b"")
    with pytest.raises(StoreAccessError):
        reader.delete(["v1/memo/one"])


def test_ceph_under_the_policy(ceph_s3: S3Server, ceph_user: Grant) -> None:
    bucket = ceph_s3.make_bucket()
    user = ceph_user(bucket, with_absences(with_bucket(policy(f"s3://{bucket}/team/cache"), bucket)))
    store = S3Store(bucket, "team/cache", client_options=user.client_options)
    others = S3Store(bucket, "team/cache2", client_options=user.client_options)
    everything_works(store)
    large_objects_work(user.client, bucket, "team/cache/v1/memo/large")
    with pytest.raises(StoreAccessError):
        next(others.list("v1/"), None)
    with pytest.raises(StoreAccessError):
        next(store.list("v2/"), None)
    S3Store(bucket, "team/cache2", client_options=ceph_s3.client_options).put("v1/memo/x", b"kept")
    with pytest.raises(StoreAccessError):
        others.get("v1/memo/x")
    with pytest.raises(StoreAccessError):
        others.put("v1/memo/x", b"")
    with pytest.raises(StoreAccessError):
        others.delete(["v1/memo/x"])
    with pytest.raises(user.client.exceptions.ClientError, match="AccessDenied"):
        user.client.get_bucket_versioning(Bucket=bucket)


def test_ceph_under_the_policy_for_reading(ceph_s3: S3Server, ceph_user: Grant) -> None:
    bucket = ceph_s3.make_bucket()
    with Cache(S3Store(bucket, "p", client_options=ceph_s3.client_options)) as cache:
        cache.cached(name="double", version="1")(lambda number: 2 * number)(21)
    user = ceph_user(bucket, policy(f"s3://{bucket}/p", "--read-only"))
    store = S3Store(bucket, "p", client_options=user.client_options)
    with Cache(store, read_only=True, on_error="raise") as cache:
        double = cache.cached(name="double", version="1")(lambda number: 2 * number)
        assert (double(21), double(22)) == (42, 44)
        assert (double.cache_info().store_hits, double.cache_info().misses) == (1, 1)
    with pytest.raises(StoreAccessError):
        store.put("v1/memo/one", b"")
    with pytest.raises(StoreAccessError):
        store.delete(["v1/memo/one"])


def test_a_listing_is_granted_by_prefix_alone_as_printed(ceph_s3: S3Server, ceph_user: Grant) -> None:
    bucket = ceph_s3.make_bucket()
    user = ceph_user(bucket, policy(f"s3://{bucket}/p"))
    user.client.list_objects_v2(Bucket=bucket, Prefix="p/v1/memo/")
    for prefix in ({}, {"Prefix": ""}, {"Prefix": "p"}, {"Prefix": "p/v2/"}):
        with pytest.raises(user.client.exceptions.ClientError, match="AccessDenied"):
            user.client.list_objects_v2(Bucket=bucket, **prefix)


def test_the_documented_policy_is_the_printed_one() -> None:
    documented = (PROJECT / "docs" / "operating.md").read_text()
    assert s3memo("policy", "s3://results/jobs", env=at()).out in documented


@pytest.mark.parametrize("command", ["policy", "lifecycle"])
def test_the_store_is_the_one_that_jobs_use_unless_one_is_named(command: str) -> None:
    run = s3memo(command, env=at() | {"S3MEMO_URL": "s3://theirs/p"})
    assert run.out == s3memo(command, "s3://theirs/p", env=at()).out


def test_a_bucket_without_a_prefix_lists_its_root() -> None:
    listing, objects = make_policy(parse_url("s3://bucket"))["Statement"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["", "v1/*"]}}
    assert objects["Resource"] == ["arn:aws:s3:::bucket/v1/*"]


def test_wildcards_in_a_prefix_mean_themselves() -> None:
    listing, objects = make_policy(parse_url("s3://bucket/a*b$c"))["Statement"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["a${*}b${$}c/", "a${*}b${$}c/v1/*"]}}
    assert objects["Resource"] == ["arn:aws:s3:::bucket/a${*}b${$}c/v1/*"]


@pytest.mark.parametrize(
    ("arguments", "actions"), [((), ["kms:Decrypt", "kms:GenerateDataKey"]), (("--read-only",), ["kms:Decrypt"])]
)
def test_a_key_is_granted_for_what_is_needed(arguments: tuple[str, ...], actions: list[str]) -> None:
    run = s3memo("policy", "s3://bucket/p", "--kms-key", KEY, *arguments, env=at())
    assert json.loads(run.out)["Statement"][2] == {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": actions,
        "Resource": [KEY],
    }
    assert run.err.startswith("The key's own policy must allow")


def test_a_directory_bucket_is_granted_otherwise() -> None:
    with pytest.raises(SettingsError, match="s3express:CreateSession"):
        make_policy(parse_url("s3://bucket--usw2-az1--x-s3/p"))


@pytest.mark.parametrize("command", ["policy", "lifecycle"])
@pytest.mark.parametrize("url", ["file:///x", "gs://bucket", "bucket"])
def test_what_is_not_in_s3_is_refused(command: str, url: str) -> None:
    run = s3memo(command, url, env=at())
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"s3memo: {url!r} ")
