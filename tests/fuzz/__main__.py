"""Search for inputs that break a parser's promises: `python -m tests.fuzz --cases 1000000`.

Each target is searched in a process of its own, from its seeds on. What is found stays in fuzz-findings/, and ends the
run with status 1. It needs atheris, which the extra `fuzz` brings.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS, Target

_LIMITS = ("-max_len=4096", "-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1", "-verbosity=1")


def main() -> int:
    """Search all targets, or those named; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Search the parsers for broken promises.")
    parser.add_argument("--cases", type=int, default=100_000, help="inputs to try on each target (default: 100000)")
    parser.add_argument("--target", action="append", choices=[target.name for target in TARGETS], help="default: all")
    given = parser.parse_args()
    chosen = [target for target in TARGETS if given.target is None or target.name in given.target]
    findings = Path("fuzz-findings")
    findings.mkdir(exist_ok=True)
    return max([_search(target, given.cases, findings) for target in chosen])


def _search(target: Target, cases: int, findings: Path) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            Path(corpus, str(number)).write_bytes(seed)
        child = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "tests.fuzz.search", target.name, corpus),
                *(*_LIMITS, f"-runs={cases}", f"-artifact_prefix={findings}/{target.name}-"),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    tried = re.search(r"stat::number_of_executed_units:\s*(\d+)", child.stderr)
    peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", child.stderr)
    found = child.returncode != 0 or tried is None or int(tried[1]) < cases
    sys.stdout.write(
        f"{target.name}: {tried[1] if tried else 'no'} cases in {time.monotonic() - started:.0f} s, "
        f"{peak[1] if peak else '?'} MiB at most: {'broken' if found else 'all promises kept'}\n"
    )
    if found:
        sys.stdout.write(child.stdout[-4000:] + child.stderr[-4000:] + "\n")
    sys.stdout.flush()
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
