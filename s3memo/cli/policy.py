"""`s3memo policy`: the IAM policy that grants use of one store and nothing else."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from s3memo.cli.place import location_of
from s3memo.errors import SettingsError
from s3memo.settings import Location
from s3memo.stores.s3 import DIRECTORY_BUCKET, folder_of

_READ = ["s3:GetObject"]
_WRITE = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]

BucketUrl = Annotated[str | None, typer.Argument(help="The store: s3://bucket/prefix. Default: S3MEMO_URL.")]


def policy(
    *,
    url: BucketUrl = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Allow reading results, but not storing them.")
    ] = False,
    kms_key: Annotated[
        str | None, typer.Option(metavar="ARN", help="The KMS key that the bucket's objects are encrypted with.")
    ] = None,
) -> None:
    """Print the least-privilege IAM policy for a user or role that runs s3memo.

    Example: s3memo policy s3://bucket/prefix

    aws iam put-role-policy --role-name batch --policy-name s3memo --policy-document "$(s3memo policy s3://bucket/prefix)"
    """
    document = make_policy(bucket_location(url), read_only=read_only, kms_key=kms_key)
    typer.echo(json.dumps(document, indent=2))
    if kms_key:
        typer.echo("The key's own policy must allow the account's IAM policies, or name the role, too.", err=True)


def bucket_location(url: str | None) -> Location:
    """Return the bucket and prefix that a URL, or S3MEMO_URL, names. Raises SettingsError if it is not in S3."""
    location = location_of(url)
    if location.scheme not in {"s3", "s3+obstore"}:
        raise SettingsError(f"'{location}' is not in S3: policies and lifecycle rules are for s3://bucket/prefix")
    return location


def make_policy(location: Location, *, read_only: bool = False, kms_key: str | None = None) -> dict[str, Any]:
    """Return the policy document for one store. Raises SettingsError for directory buckets."""
    if location.root.endswith(DIRECTORY_BUCKET):
        raise SettingsError(
            f"{location} is a directory bucket, which knows no permission by prefix: "
            "allow s3express:CreateSession on the bucket"
        )
    bucket = f"arn:aws:s3:::{location.root}"
    root = _literal(folder_of(location.prefix))
    statements = [
        {
            "Sid": "ListNames",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [bucket],
            # The root alone is listed to learn the server's time.
            "Condition": {"StringLike": {"s3:prefix": [root, f"{root}v1/*"]}},
        },
        {
            "Sid": "ReadObjects" if read_only else "ReadAndWriteObjects",
            "Effect": "Allow",
            "Action": _READ if read_only else _READ + _WRITE,
            "Resource": [f"{bucket}/{root}v1/*"],
        },
    ]
    if kms_key:
        statements.append(
            {
                "Sid": "UseKey",
                "Effect": "Allow",
                "Action": ["kms:Decrypt"] if read_only else ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": [kms_key],
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def _literal(text: str) -> str:
    """Escape the characters that are wildcards, or begin a variable, in a policy."""
    return re.sub(r"[*?$]", r"${\g<0>}", text)
