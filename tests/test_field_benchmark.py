"""The comparison with the field: every side returns what is right, and all is written. No speed is asked for.

All contests with `--hypothesis-profile=deep`, else one of each kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import settings

from tests.test_examples import PROJECT

ONE_OF_EACH_KIND = ("memory_hit", "embedded_hit", "store_hit_small", "miss", "requests")
MANY = 1000


def test_every_contest_runs_and_is_written(tmp_path: Path) -> None:
    chosen = [] if settings.default.max_examples > MANY else [f"--only={name}" for name in ONE_OF_EACH_KIND]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("S3MEMO", "AWS"))}
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.field", "--quick", "--server=moto", f"--out={tmp_path}", *chosen],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    table = (tmp_path / "table.md").read_text()
    contests = {each["name"]: each for each in found["contests"]}
    for name, contest in contests.items():
        assert f"### {contest['title']}" in table
        assert (tmp_path / f"{name}.svg").stat().st_size > 1_000
        assert len({len(readings) for readings in contest["readings"].values()}) == 1
    assert {target["met"] for contest in contests.values() for target in contest["targets"]} <= {True, False}
    assert {"python", "processor", "versions", "method"} <= found.keys()
    assert contests["requests"]["lacks"] == {
        "s3memo: miss": "1 LIST, 1 PUT",
        "s3memo: hit, name not known": "1 GET, 1 LIST",
        "s3memo: hit, name known": "1 GET",
        "s3memo: refresh": "1 DELETE, 1 LIST, 1 PUT",
        "cachier S3: miss": "2 GET, 3 PUT",
        "cachier S3: hit": "1 GET",
        "cachier S3: refresh": "2 GET, 3 PUT",
    }
