"""An embedded store, and an environment that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3memo import LocalStore
from tests.cli.console import environment, made


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return made(tmp_path / "store")


@pytest.fixture
def env(store: LocalStore) -> dict[str, str]:
    return environment(S3MEMO_URL=store.url)
