"""Find near-duplicate source files, in three runs: cold, warm, and with ten per cent of the files changed.

    python examples/near_duplicates.py [--files N]

The files are copies of the Python sources of this interpreter and its packages. Processes on all cores compute a MinHash
signature (Broder 1997) of each, which takes a while, so s3memo keeps the signatures. Each run is a new process that
knows nothing of the others except what they stored: in a temporary directory, or at S3MEMO_URL.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sysconfig
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, NamedTuple
from zlib import crc32

from s3memo import ByContent, s3_cached

HASHES = 128
ROWS = 4  # values that must be equal before two files are compared at all
WORDS = 5  # in a shingle
PRIME = 2**61 - 1
MULTIPLIERS = [pow(3, 2 * number + 1, PRIME) for number in range(HASHES)]
HEADER = (
    "| run | files | computed | from the store | seconds | requests | seconds saved |\n|---|--:|--:|--:|--:|---|--:|"
)


@s3_cached(depends=(HASHES, WORDS, PRIME, MULTIPLIERS))
def signature(file: Annotated[Path, ByContent]) -> list[int]:
    """Return numbers; the more word sequences two files share, the more of these numbers they share."""
    words = re.findall(rb"\w+", file.read_bytes())
    shingles = {crc32(b" ".join(words[at : at + WORDS])) for at in range(max(1, len(words) - WORDS + 1))}
    return [min(shingle * multiplier % PRIME for shingle in shingles) for multiplier in MULTIPLIERS]


class Report(NamedTuple):
    """What one run did."""

    files: int
    computed: int
    from_store: int
    requests: str
    saved: float
    pairs: list[tuple[float, str, str]]


def run(directory: Path) -> Report:
    """Do the whole job on the files of a directory."""
    files = sorted(directory.iterdir())
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as executor:
        signatures = list(signature.map(files, executor=executor, progress=True))
    info = signature.cache_info()
    requests = ", ".join(f"{number:,} {kind}" for kind, number in info.requests.items())
    pairs = most_alike(dict(zip((file.name for file in files), signatures, strict=True)))
    return Report(len(files), info.misses, info.store_hits, requests, info.seconds_saved, pairs)


def most_alike(signatures: dict[str, list[int]]) -> list[tuple[float, str, str]]:
    """Return pairs of similar but unequal files, the most similar first."""
    together = defaultdict(list)
    for name, values in signatures.items():
        for at in range(0, HASHES, ROWS):
            together[at, *values[at : at + ROWS]].append(name)
    pairs = {pair for names in together.values() for pair in combinations(names[:20], 2)}
    alike = [(likeness(signatures[one], signatures[other]), one, other) for one, other in pairs]
    return sorted((pair for pair in alike if pair[0] < 1), reverse=True)


def likeness(one: list[int], other: list[int]) -> float:
    """Return roughly the share of their shingles that two files have in common."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / HASHES


def copy_sources(directory: Path, limit: int) -> None:
    """Copy Python sources of this machine into a directory, each once, under names that show where they came from."""
    roots = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    contents = set[bytes]()
    for file in (file for root in roots for file in sorted(root.rglob("*.py")) if file.is_file()):
        content = file.read_bytes()
        if content not in contents:
            (directory / f"{len(contents):05}+{'+'.join(file.parts[-3:])}").write_bytes(content)
            contents.add(content)
        if len(contents) == limit:
            break


def change_a_tenth(directory: Path) -> None:
    """Append a line to every tenth file."""
    for file in sorted(directory.iterdir())[::10]:
        with file.open("ab") as end:
            end.write(b"\n# changed\n")


def main() -> None:
    """Run the job three times and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000, help="maximum number of files")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        os.environ.setdefault("S3MEMO_URL", f"file://{directory}/store")
        sources = Path(directory, "sources")
        sources.mkdir()
        copy_sources(sources, options.files)
        print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} processors\n\n{HEADER}")
        for name in ("cold", "warm", "a tenth changed"):
            if name == "a tenth changed":
                change_a_tenth(sources)
            started = time.perf_counter()
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as new_process:
                done = new_process.submit(run, sources).result()
            seconds = time.perf_counter() - started
            print(
                f"| {name} | {done.files:,} | {done.computed:,} | {done.from_store:,} | {seconds:.1f} "
                f"| {done.requests} | {done.saved:.1f} |",
                flush=True,
            )
    print("\nThe most alike:")
    for share, one, other in done.pairs[:5]:
        print(f"{share:4.0%}  {one.partition('+')[2]}  {other.partition('+')[2]}")


if __name__ == "__main__":
    main()
