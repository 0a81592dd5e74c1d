"""obstore's own store on a bucket of a server, as somebody makes it who gives it to ObjectStore, or measures it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obstore.store import S3Store


def engine_on(bucket: str, client_options: Mapping[str, Any], **more: Any) -> S3Store:
    """Return it, of a server's `client_options`; `more` is obstore's."""
    return S3Store(
        bucket,
        endpoint=client_options["endpoint_url"],
        access_key_id=client_options["aws_access_key_id"],
        secret_access_key=client_options["aws_secret_access_key"],
        region=client_options["region_name"],
        client_options={"allow_http": True},
        **more,
    )
