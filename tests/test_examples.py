"""The examples as their user meets them: scripts, run whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.server import free_port

PROJECT = Path(__file__).parents[1]


def run(script: str, *arguments: str, **settings: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("S3MEMO", "AWS"))}
    finished = subprocess.run(
        [sys.executable, PROJECT / "examples" / script, *arguments],
        env=environment | {"PYTHONPATH": str(PROJECT)} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_of_nearly_equal_files_only_those_that_changed_are_looked_at_again() -> None:
    out = run("near_duplicates.py", "--files", "40")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\| .*\|$", out, re.MULTILINE)]
    runs = {name: (int(files), int(computed), int(stored)) for name, files, computed, stored, *_ in rows[1:]}
    assert runs == {"cold": (40, 40, 0), "warm": (40, 0, 40), "a tenth changed": (40, 4, 36)}
    assert "The most alike:" in out


def test_a_dask_cluster_computes_what_is_missing(tmp_path: Path) -> None:
    results = []
    for expected in ("0 from the store, 40 computed", "40 from the store, 0 computed"):
        result, counts = run("dask_cluster.py", S3MEMO_URL=f"file://{tmp_path}").splitlines()
        assert counts == expected
        results.append(result)
    assert results[0] == results[1]


def test_tasks_of_ray_call_the_cached_function(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray has no wheel for this Python")
    for _ in range(2):
        assert run("ray_tasks.py", S3MEMO_URL=f"file://{tmp_path}").splitlines()[-1] == "40 results are stored"


def test_prometheus_finds_what_a_cache_does() -> None:
    out = run("prometheus.py", "--port", str(free_port()))
    values = dict(re.findall(r"^(s3memo_\w+?)(?:\{.*\})? (\S+)$", out, re.MULTILINE))
    assert (values["s3memo_cache_hits_total"], values["s3memo_cache_misses_total"]) == ("2.0", "3.0")
    assert values["s3memo_compute_duration_seconds_count"] == "3.0"
    assert 's3memo_tier="memory"' in out
    assert 's3memo_request_kind="PUT"' in out
