"""`s3memo lifecycle`: lifecycle rules by which the bucket removes what no reader can see."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from s3memo.cli.policy import BucketUrl, bucket_location
from s3memo.settings import Location
from s3memo.stores.s3 import folder_of
from s3memo.versions import RESULT_ROOTS

_UPLOAD_DAYS = 3
_NONCURRENT_DAYS = 7
"""How long a deleted object can be restored in a versioned bucket."""


def lifecycle(
    *,
    url: BucketUrl = None,
    expire_after: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="DAYS", help="Delete results this many days after they were written, live ones too."
        ),
    ] = None,
) -> None:
    """Print the lifecycle rules that back gc up.

    Example: s3memo lifecycle s3://bucket/prefix > rules.json

    aws s3api put-bucket-lifecycle-configuration --bucket bucket --lifecycle-configuration file://rules.json
    """
    typer.echo(json.dumps(make_rules(bucket_location(url), expire_after=expire_after), indent=2))
    typer.echo("To apply these replaces all rules that the bucket has: add those you want to keep.", err=True)
    if expire_after is not None:
        typer.echo(
            f"S3 knows no ttl: each result goes {expire_after} days after it was written, used or not, and is computed "
            "again. States of jobs have no such rule, nor should they.",
            err=True,
        )


def make_rules(location: Location, *, expire_after: int | None = None) -> dict[str, Any]:
    """Return the rules for one store, as `put_bucket_lifecycle_configuration` takes them."""
    root = folder_of(location.prefix)
    rules = [
        _rule(
            "s3memo-incomplete-uploads",
            f"{root}v1/",
            AbortIncompleteMultipartUpload={"DaysAfterInitiation": _UPLOAD_DAYS},
        ),
        _rule(
            "s3memo-noncurrent-versions", f"{root}v1/", NoncurrentVersionExpiration={"NoncurrentDays": _NONCURRENT_DAYS}
        ),
        _rule("s3memo-delete-markers", f"{root}v1/", Expiration={"ExpiredObjectDeleteMarker": True}),
    ]
    if expire_after is not None:
        rules += [
            _rule(f"s3memo-expire-{folder.split('/')[1]}", root + folder, Expiration={"Days": expire_after})
            for folder in RESULT_ROOTS
        ]
    return {"Rules": rules}


def _rule(name: str, prefix: str, **action: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **action}
