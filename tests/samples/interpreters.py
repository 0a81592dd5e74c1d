"""Other Python processes: with another hash seed, other flags, or of another version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, python: str = sys.executable, cwd: Path = ROOT, seed: int = 0) -> str:
    """Return what a Python process prints."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def other_versions() -> list[str]:
    """Return the interpreters of other Python versions on the path that can import s3memo."""
    names = [f"python3.{minor}" for minor in range(11, 20) if minor != sys.version_info.minor]
    return [python for name in names if (python := shutil.which(name)) and _imports_s3memo(python)]


def _imports_s3memo(python: str) -> bool:
    check = subprocess.run(
        [python, "-c", "import s3memo.fingerprint"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    return check.returncode == 0
