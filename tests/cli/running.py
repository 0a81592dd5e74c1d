"""The command line as its user meets it: a process, its output and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.servers.server import S3Server

MAIN = "from s3memo.cli.app import main; main()"
PROJECT = Path(__file__).parents[2]


class Run(NamedTuple):
    code: int
    out: str
    err: str


def environment(server: S3Server | None = None, *, columns: int = 100) -> dict[str, str]:
    """Return what a process is told of the server, by AWS's own variables, and of its terminal."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("S3MEMO")}
    ours = {"PYTHONPATH": str(PROJECT), "COLUMNS": str(columns)}
    if server is not None:
        ours |= {
            "AWS_ENDPOINT_URL_S3": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_DEFAULT_REGION": server.region,
        }
    return inherited | ours


def start(*arguments: str, env: dict[str, str], code: str = MAIN) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> Run:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return Run(process.returncode, out, err)


def s3memo(*arguments: str, server: S3Server | None = None, columns: int = 100) -> Run:
    return finish(start(*arguments, env=environment(server, columns=columns)))
