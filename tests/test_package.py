"""The package as it is imported: its names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import s3memo

PUBLIC_NAMES = {
    *(
        "AlreadyExistsError",
        "ByContent",
        "Cache",
        "CacheInfo",
        "CodecError",
        "DecodeError",
        "EncodeError",
        "Entry",
        "Event",
    ),
    *("Hook", "IntegrityError", "Key", "KeyDerivationError", "LocalStore", "MemoryStore", "MemoryTier"),
    *("NotFoundError", "ObjectInfo", "ObjectStore", "PRICES", "S3MemoError", "S3Store", "SettingsError", "Store"),
    *("StoreAccessError", "StoreError", "StoreNotSupportedError", "StoreUnavailableError", "TimeBounds", "Version"),
    *("Collected", "Lease", "LeaseTimeout", "NotStoredError", "S3TTLCache", "ServiceState", "StateConflictError"),
    *("StateVersion", "TieredStore", "gc"),
    *("__version__", "configure", "disabled", "log_event", "register_key", "s3_cached"),
}


def test_the_public_names_are_these() -> None:
    assert set(s3memo.__all__) == PUBLIC_NAMES
    assert all(getattr(s3memo, name) is not None for name in s3memo.__all__)
    assert set(dir(s3memo)) >= PUBLIC_NAMES
    with pytest.raises(AttributeError, match="s3_cache'"):
        s3memo.s3_cache  # noqa: B018


def modules_after(code: str) -> set[str]:
    show = f"{code}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True).stdout.split())


def test_importing_loads_no_library_that_is_not_needed_yet() -> None:
    assert len(modules_after("import s3memo") - modules_after("import typing, importlib")) < 10
    used = """
from s3memo import Cache, S3Store

@Cache(S3Store("bucket")).cached
def f(x): return x
f.cache_key(1)
"""
    loaded = modules_after(used) - modules_after("pass")  # whatever measures the tests loads some of its own
    assert "s3memo.cache" in loaded
    assert not loaded & {"boto3", "botocore", "typer", "rich", "platformdirs", "sqlite3", "asyncio"}
