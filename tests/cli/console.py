"""The command line as its user meets it: whole processes; and what the tests lay into stores for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from s3memo import LocalStore
from s3memo.codec import NO_CLASSES
from s3memo.packing import Packing
from s3memo.signing import SigningKeys
from s3memo.stores.base import Store
from s3memo.versions import MICROSECONDS, Key, Version, tombstone
from tests.servers.server import S3Server

MAIN = "from s3memo.cli.app import main; main()"
PROJECT = Path(__file__).parents[2]
HOUR = 3600.0
DAY = 86_400.0


class Run(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Each line's JSON document."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def shown(self) -> str:
        """What is on stdout, without the blanks that a table ends its lines with."""
        return "\n".join(line.rstrip() for line in self.out.splitlines())


def start(*arguments: object, env: Mapping[str, str], code: str = MAIN) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own, without a terminal."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def s3memo(*arguments: object, env: Mapping[str, str], code: str = MAIN) -> Run:
    return finish(start(*arguments, env=env, code=code))


def finish(process: subprocess.Popen[str]) -> Run:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return Run(process.returncode, out, err)


def environment(**settings: str) -> dict[str, str]:
    """Return an environment that has nothing of whoever runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("S3MEMO", "AWS", "COLUMNS"))}
    return inherited | {"PYTHONPATH": str(PROJECT)} | settings


def s3_environment(server: S3Server, url: str = "") -> dict[str, str]:
    """Return an environment that names a server, and a store on it."""
    return environment(
        S3MEMO_URL=url,
        AWS_ENDPOINT_URL_S3=server.endpoint,
        AWS_ACCESS_KEY_ID=server.access_key,
        AWS_SECRET_ACCESS_KEY=server.secret_key,
        AWS_REGION=server.region,
        AWS_EC2_METADATA_DISABLED="true",
    )


def at(server: S3Server | None = None, *, columns: int = 100) -> dict[str, str]:
    """Return an environment that names a server, if any, no store, and a terminal's width."""
    return (environment() if server is None else s3_environment(server)) | {"COLUMNS": str(columns)}


def result(ago: float, *, ttl: int | None = None, elapsed: float = 0.0, nonce: int = 0) -> Version:
    """Return a version created so many seconds ago, that took `elapsed` seconds."""
    at = int((time.time() - ago) * MICROSECONDS)
    return Version(at, at, ttl, int(elapsed * 1000), f"{nonce:08x}")


def grave(ago: float) -> Version:
    return tombstone((time.time() - ago) * MICROSECONDS, nonce="00000000")


def made(directory: Path, **options: Any) -> LocalStore:
    """Return an embedded store that is there, and empty."""
    store = LocalStore(directory, **options)
    assert not list(store.list("", limit=1))
    return store


def lay(store: Store, key: Key, version: Version, *, size: int = 100) -> str:
    """Put an object of so many bytes, which only its name makes one of ours; return its object key."""
    store.put(key.prefix + version.name, bytes(0 if version.dead else size))
    return key.prefix + version.name


def remember(
    store: Store, key: Key, version: Version, value: Any, *, keys: tuple[str, ...] = (), **arguments: str
) -> None:
    """Store a real result."""
    packing = Packing("msgpack", "auto", SigningKeys(keys))
    store.put(key.prefix + version.name, packing.pack(key, version, value, NO_CLASSES, arguments).data)


def digest(number: int) -> str:
    return f"{number:032d}"
