"""The examples as their user meets them: scripts, run whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("S3MEMO", "AWS"))}
    finished = subprocess.run(
        [sys.executable, PROJECT / "examples" / script, *arguments],
        env=environment | {"PYTHONPATH": str(PROJECT)},
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
