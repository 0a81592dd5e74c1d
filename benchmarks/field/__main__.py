"""s3memo compared with its peers.

    pip install '.[bench,dev]' && python -m benchmarks.field [--only NAME] [--quick] [--out DIRECTORY]

Needs Ceph (`bash tests/servers/ceph-install.sh`); `--server moto` does without, for trials. A whole run writes
docs/benchmarks and the tables in docs/performance.md and README.md; with --only, --quick, --server moto or --out it
leaves the documents alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.field import local, remote, report
from benchmarks.field.contest import Field, Outcome
from benchmarks.rounds import PROJECT, take_turns
from tests.servers.ceph import ceph_server
from tests.servers.moto import moto_server
from tests.servers.server import S3Server

BUCKET = "field"
CONTESTS = {
    "memory_hit": local.memory_hit,
    "memory_per_entry": local.memory_per_entry,
    "keys": local.keys,
    "codec": local.values,
    "embedded_hit": local.embedded_hit,
    "cold_start": local.cold_start,
    "store_hit_small": remote.store_hit("1 KiB"),
    "store_hit_large": remote.store_hit("1 MB"),
    "miss": remote.miss,
    "batch": remote.warm_batch,
    "requests": remote.requests,
}
SERVERS = {"ceph": (ceph_server, "Ceph RADOS Gateway"), "moto": (moto_server, "moto")}


def main() -> None:
    """Run the contests, print each table as soon as it is complete, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CONTESTS, action="append")
    parser.add_argument(
        "--quick", action="store_true", help="the smallest sizes: checks that everything works, measures no speed"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--server", choices=SERVERS, default="ceph")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    start, told = SERVERS[options.server]
    around = report.surroundings() | {"server": told, "rounds": rounds}
    with start() as server, tempfile.TemporaryDirectory() as directory:
        field = prepared(server, Path(directory), is_quick=options.quick)
        outcomes = [outcome(name, field, rounds) for name in options.only or CONTESTS]
    print(f"\n{report.summary(outcomes)}")
    is_partial = options.only or options.quick or options.server != "ceph"
    if options.out or not is_partial:
        report.write(outcomes, around, options.out or PROJECT / "docs" / "benchmarks")
    if not options.out and not is_partial:
        report.publish(outcomes, around)


def prepared(server: S3Server, directory: Path, *, is_quick: bool) -> Field:
    """Return the field on a server, which the environment names from now on."""
    options = server.client_options
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": options["endpoint_url"],
        "AWS_ACCESS_KEY_ID": options["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": options["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": options["region_name"],
        "AWS_REGION": options["region_name"],
    }
    server.client.create_bucket(Bucket=BUCKET)
    return Field(server, BUCKET, directory, is_quick)


def outcome(name: str, field: Field, rounds: int) -> Outcome:
    """Run one contest and print its table."""
    with CONTESTS[name](field) as contest:
        sides = {each.name: each.read for each in contest.contestants}
        found = Outcome(contest, take_turns(sides, contest.rounds or rounds))
    print(f"\n{report.table(found)}", flush=True)
    return found


if __name__ == "__main__":
    main()
