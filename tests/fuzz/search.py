"""Let atheris search one target: `python -m tests.fuzz.search TARGET [libFuzzer's options and directories]`.

It ends the process itself, and leaves what breaks a promise in a file that libFuzzer names.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["s3memo"]):
    from tests.fuzz.targets import TARGETS, warm_up

from tests.fuzz.watch import nothing_happens

_ADDRESS_SPACE = 2 << 30
"""Bytes beside what is there already. No input is longer than some KiB, so whoever asks for more has believed a length that it read."""


def main() -> None:
    """Search the target that the command line names."""
    name, *options = sys.argv[1:]
    target = next(target for target in TARGETS if target.name == name)
    warm_up(target)
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def check(data: bytes) -> None:
        with nothing_happens():
            target.check(data)

    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
