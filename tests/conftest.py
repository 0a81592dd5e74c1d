"""The servers and the surroundings that all tests share."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from s3memo import Lease, batch
from tests.servers import ceph, rclone
from tests.servers.moto import moto_server
from tests.servers.scripted import ScriptedServer
from tests.servers.server import S3Server
from tests.troubled import Clock, TroubledStore

# Chosen with --hypothesis-profile=deep; the fast one finds the same each time.
settings.register_profile("fast", max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)
settings.register_profile("deep", max_examples=3000, deadline=None)
settings.load_profile("fast")

REQUIRE_CEPH = os.environ.get("S3MEMO_REQUIRE_CEPH") == "1"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test see the settings, credentials or cache of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AWS_", "S3MEMO_")):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(home / "no-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-credentials"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        yield


@pytest.fixture(autouse=True)
def _no_heart_beats_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no lease that a test leaves held be renewed in the midst of others."""
    begun: list[Lease] = []
    start = Lease._start

    def watch(lease: Lease, tenure: Any) -> None:
        begun.append(lease)
        start(lease, tenure)

    monkeypatch.setattr(Lease, "_start", watch)
    yield
    for lease in begun:
        lease._stop.set()


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[rclone.RcloneServer]:
    with rclone.rclone_server() as server:
        yield server


@pytest.fixture(scope="session")
def ceph_s3() -> Iterator[S3Server]:
    if not ceph.has_ceph() and not REQUIRE_CEPH:
        pytest.skip(ceph.HOW_TO_GET_IT)
    assert ceph.has_ceph(), ceph.HOW_TO_GET_IT
    with ceph.ceph_server() as server:
        yield server


@pytest.fixture(scope="module")
def _scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def scripted(_scripted: ScriptedServer) -> ScriptedServer:
    """A server that does as its `behave` says, and has received nothing yet."""
    _scripted.reset()
    return _scripted


@pytest.fixture(params=["moto", "rclone_s3", "ceph_s3"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the servers in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, S3Server)
    return server


@pytest.fixture
def whole_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no busy machine cut a batch's window of inputs short, so that listings can be counted."""
    monkeypatch.setattr(batch, "_WINDOW_SECONDS", 3600.0)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture
def store(clock: Clock) -> TroubledStore:
    """A store in memory that a test can let fail."""
    return TroubledStore(clock)
