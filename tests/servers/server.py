"""What a test needs to know of a server, and how to start one as a process."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3.client import make_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_numbers = itertools.count(1)


@dataclass(frozen=True)
class S3Server:
    """A running server and who may use it."""

    name: str
    endpoint: str
    access_key: str = "s3memo"
    secret_key: str = "s3memosecret"
    region: str = "us-east-1"

    @property
    def client_options(self) -> dict[str, Any]:
        return {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": self.region,
        }

    def set_environment(self, patch: pytest.MonkeyPatch) -> None:
        """Let the environment name this server and who may use it, as boto3 reads it."""
        patch.setenv("AWS_ENDPOINT_URL_S3", self.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)
        patch.setenv("AWS_REGION", self.region)
        patch.setenv("AWS_DEFAULT_REGION", self.region)

    @cached_property
    def client(self) -> S3Client:
        """A client as S3Store makes it, for tests to share: making one takes a tenth of a second."""
        return make_client(self.client_options, RetryPolicy())

    def make_bucket(self) -> str:
        bucket = f"bucket-{next(_numbers)}"
        self.client.create_bucket(Bucket=bucket)
        return bucket


def free_port(ports: Iterable[int] = (0,), *, count: int = 1) -> int:
    """Return the first of `count` successive ports that nobody listens on; by default, wherever the system likes."""
    for port in ports:
        sockets = [socket.socket() for _ in range(count)]
        try:
            sockets[0].bind(("127.0.0.1", port))
            for following, other in enumerate(sockets[1:], port + 1):
                other.bind(("127.0.0.1", following))
        except OSError:
            continue
        else:
            return int(sockets[0].getsockname()[1])
        finally:
            for each in sockets:
                each.close()
    raise RuntimeError(f"no {count} free ports in {ports}")


@contextmanager
def process(
    command: Sequence[str | Path], *, endpoint: str, log: Path, patience: float = 30, cwd: Path | None = None
) -> Iterator[None]:
    """Run a server until the end of the block; it is ready when its endpoint accepts connections."""
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd)
    try:
        _await_listening(child, endpoint, log, patience)
        yield
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _await_listening(child: subprocess.Popen[bytes], endpoint: str, log: Path, patience: float) -> None:
    address = urlsplit(endpoint)
    give_up = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((address.hostname, address.port), timeout=1).close()
        except OSError:
            if child.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(
                    f"{child.args!r} does not listen on {endpoint}:\n{log.read_text()[-2000:]}"
                ) from None
            time.sleep(0.02)
        else:
            return
