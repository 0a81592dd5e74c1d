"""What names a place for obstore: a URL, or a store of obstore's own."""

from __future__ import annotations

import os
from typing import Any

from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from s3memo.errors import SettingsError
from s3memo.settings import parse_url
from s3memo.stores.objectstore.verbs import Engine

SCHEMES = {S3Store: "s3+obstore", GCSStore: "gs", AzureStore: "az", MemoryStore: "memory"}


def taken_apart(url: str | os.PathLike[str]) -> tuple[str, str, str]:
    """Return scheme, bucket and prefix of a URL. Raises SettingsError."""
    location = parse_url(url)
    if location.scheme not in SCHEMES.values() or location.scheme == "memory":
        raise SettingsError(
            f"{location} is none of s3+obstore://bucket/prefix, gs://bucket/prefix, az://container/prefix"
        )
    return location.scheme, location.root, location.prefix


def described(store: Engine) -> tuple[str, str, str]:
    """Return scheme, bucket and prefix of a store of obstore's own. Raises SettingsError."""
    scheme = next((scheme for kind, scheme in SCHEMES.items() if isinstance(store, kind)), None)
    if scheme is None:
        raise SettingsError(
            f"a {type(store).__qualname__} is neither a URL nor a store of obstore's for S3, Google, Azure or in memory"
        )
    if isinstance(store, MemoryStore):
        return scheme, "", ""
    config: dict[str, Any] = dict(store.config)
    bucket = next(
        (config[name] for name in ("bucket", "container_name", "container", "google_bucket") if name in config), ""
    )
    return scheme, str(bucket), store.prefix or ""
