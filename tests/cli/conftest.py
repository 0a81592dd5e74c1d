"""An embedded store, and an environment that names it; and a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3memo import LocalStore
from tests.browser.chromium import HOW_TO_GET_IT, Browser, chromium, has_chromium
from tests.cli.console import environment, made

REQUIRE_CHROMIUM = os.environ.get("S3MEMO_REQUIRE_CHROMIUM") == "1"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return made(tmp_path / "store")


@pytest.fixture
def env(store: LocalStore) -> dict[str, str]:
    return environment(S3MEMO_URL=store.url)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not has_chromium() and not REQUIRE_CHROMIUM:
        pytest.skip(HOW_TO_GET_IT)
    assert has_chromium(), HOW_TO_GET_IT
    with chromium() as running:
        yield running
