"""The printed rules are taken by real servers, and mean what they say."""

from __future__ import annotations

import json

import pytest

from s3memo.cli.lifecycle import make_rules
from s3memo.settings import parse_url
from tests.cli.console import at, s3memo
from tests.servers.server import S3Server


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
@pytest.mark.parametrize("arguments", [(), ("--expire-after", "30")])
def test_a_server_takes_them(s3_server: S3Server, arguments: tuple[str, ...]) -> None:
    bucket = s3_server.make_bucket()
    run = s3memo("lifecycle", f"s3://{bucket}/team/cache", *arguments, env=at())
    assert run.code == 0
    rules = json.loads(run.out)
    s3_server.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    taken = s3_server.client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert sorted(taken, key=lambda rule: rule["ID"]) == sorted(rules["Rules"], key=lambda rule: rule["ID"])
    assert "replaces all rules that the bucket has" in run.err


def test_nothing_live_expires_unless_one_asks() -> None:
    rules = make_rules(parse_url("s3://bucket/p"))["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"p/v1/"}
    assert not any("Days" in rule.get("Expiration", {}) for rule in rules)


def test_results_expire_when_asked_and_states_never() -> None:
    run = s3memo("lifecycle", "s3://bucket", "--expire-after", "30", env=at())
    expiring = {
        rule["Filter"]["Prefix"]: rule["Expiration"]["Days"]
        for rule in json.loads(run.out)["Rules"]
        if "Days" in rule.get("Expiration", {})
    }
    assert expiring == {"v1/memo/": 30, "v1/map/": 30}
    assert "each result goes 30 days after it was written, used or not" in run.err


def test_days_are_days() -> None:
    assert s3memo("lifecycle", "s3://bucket", "--expire-after", "0", env=at()).code == 2
