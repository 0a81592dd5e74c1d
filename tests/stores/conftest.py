"""What the tests of S3Store share."""

from __future__ import annotations

import pytest

from s3memo.stores.s3 import S3Store
from tests.servers.scripted import ScriptedServer

BODY = b"x" * 1_000_000
"""More than goes in one block."""


def no_pause(seconds: float) -> None:
    """Do not sleep."""


@pytest.fixture
def store(scripted: ScriptedServer) -> S3Store:
    """A store on the scripted server, that knows no pauses."""
    return S3Store("bucket", "root", client=scripted.server.client, sleep=no_pause)
