"""Results of hundreds of MiB, end to end on a real server: what they take of memory, of requests, and that they come back.

A result of 1 GiB on both servers with --hypothesis-profile=deep, else of 256 MiB on one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from s3memo import Cache, S3Store
from s3memo.stores.parts import MIB, PART
from tests.servers.server import S3Server

IS_DEEP = settings.get_current_profile_name() == "deep"
SIZE = 1024 * MIB if IS_DEEP else 256 * MIB
ROOM = 64 * MIB
"""What all else may take: connections, threads, blocks on their way."""


def noise(size: int) -> np.ndarray[Any, Any]:
    """Numbers that do not compress, and the same each time; made in place."""
    return np.random.default_rng(7).integers(0, 2**63, size // 8)


def peak() -> int:
    """Return the most memory that this process has had, in bytes; that of getrusage begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def call(given: dict[str, Any]) -> dict[str, Any]:
    """Call the function in this process, and tell what that took."""
    store = S3Store(given["bucket"], client_options=given["client_options"])
    function = Cache(store, on_error="raise").cached(name="jobs.noise", version=1)(noise)
    store.time()
    noise(8 * MIB)
    before = peak()
    result = function(given["size"])
    took = peak() - before
    info = function.cache_info()
    return {
        "took": took,
        "is_equal": bool((result == noise(given["size"])).all()),
        "is_writable": result.flags.writeable,
        "requests": info.requests,
        "hits": info.hits,
        "errors": info.errors,
        "held": info.currsize,
    }


def in_a_process(server: S3Server, bucket: str) -> dict[str, Any]:
    given = {"bucket": bucket, "client_options": server.client_options, "size": SIZE}
    run = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(given)], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    return told


@pytest.mark.parametrize("server", ["ceph_s3", "rclone_s3"] if IS_DEEP else ["ceph_s3"])
def test_there_and_back(request: pytest.FixtureRequest, server: str) -> None:
    at = request.getfixturevalue(server)
    bucket = at.make_bucket()
    missed, hit = in_a_process(at, bucket), in_a_process(at, bucket)

    parts = SIZE // PART + 1
    sent_again = server == "rclone_s3" and "DELETE" in missed["requests"]  # it may lose parts that come side by side
    assert sent_again or missed["requests"] == {"LIST": 1, "PUT": parts + 2}
    assert 1.9 * SIZE < missed["took"] < 2 * SIZE + ROOM, "the function's own result, and its object once"
    assert hit["requests"]["LIST"] == 1
    assert 1 <= hit["requests"]["GET"] <= parts + 1
    assert hit["hits"] == 1
    assert 0.9 * SIZE < hit["took"] < SIZE + ROOM, "the object once, and the result lies over it"
    for told in (missed, hit):
        assert told["is_equal"]
        assert told["is_writable"]
        assert told["errors"] == 0
        assert told["held"] == 0, "it is larger than the memory tier"


if __name__ == "__main__":
    json.dump(call(json.loads(sys.argv[1])), sys.stdout)
