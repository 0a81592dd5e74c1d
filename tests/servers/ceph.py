"""A Ceph RADOS Gateway: production-grade S3, from Debian's packages."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.servers.server import S3Server, free_port

_HERE = Path(__file__).parent
_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
GUEST = "guest"
HOW_TO_GET_IT = "Ceph is missing: bash tests/servers/ceph-install.sh (Debian or Ubuntu, as root) installs it"


def has_ceph() -> bool:
    """Whether all the programs are there."""
    return all(shutil.which(program) for program in _PROGRAMS)


def as_guest(server: S3Server) -> S3Server:
    """Return the server as a user sees it who may only do what the policy of a bucket grants."""
    return replace(server, access_key=GUEST, secret_key=f"{GUEST}secret")


@contextmanager
def ceph_server() -> Iterator[S3Server]:
    """Run a cluster of one monitor, one OSD in memory and one gateway in a temporary directory."""
    server = S3Server("ceph", f"http://127.0.0.1:{free_port()}", region="default")
    first = random.randrange(13_000, 32_000)  # below the ports that the system gives to outgoing connections
    with tempfile.TemporaryDirectory(prefix="ceph-") as directory:
        environment = os.environ | {
            "CEPH_DIR": directory,
            "RGW_PORT": server.endpoint.rpartition(":")[2],
            "MON_PORT": str(free_port(range(first, 32_700), count=2)),
            "AUTH_KEY": server.access_key,
            "AUTH_SECRET": server.secret_key,
            "GUEST_KEY": GUEST,
            "GUEST_SECRET": f"{GUEST}secret",
            "OWNER_PID": str(os.getpid()),
        }
        try:
            up = subprocess.run(
                ["bash", _HERE / "ceph-up.sh"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if up.returncode:
                raise RuntimeError(f"Ceph does not start:\n{up.stdout}{up.stderr}")
            yield server
        finally:
            subprocess.run(["bash", _HERE / "ceph-down.sh"], env=environment, timeout=60, check=True)
