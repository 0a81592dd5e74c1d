"""docs/cli.md shows what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from s3memo import LocalStore, ServiceState
from s3memo.cli.commands import app
from s3memo.versions import ItemKey, Key
from tests.cli.console import DAY, HOUR, PROJECT, digest, environment, grave, lay, remember, result, s3memo

DOCS = PROJECT / "docs" / "cli.md"
BLOCK = re.compile(r"^```console\n\$ (.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)
VARYING = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|[0-9a-f]{14}_\d{8}T\d{6}\.\d{6}Z\w+|[\d.]+ (kB|bytes)|Python [\d.]+|\d[\d.]* s\b"
)

NOW = Key("jobs.simulate", "2dvlbs96ati64794075dveg36rao5i7i", "aebcjk2k0tp906jlbnbgmdngu37k8b6v")
OTHER = Key(NOW.namespace, NOW.tag, "eb5ip01jsaafls69ki6dgb7tj0t5e8ng")
FORMER = Key(NOW.namespace, "0oq3h8c6f1t8m2d9v5k7n4b6r1s0p2u4", "aebcjk2k0tp906jlbnbgmdngu37k8b6v")
GONE = Key(NOW.namespace, NOW.tag, "v4ukh9h24hi747hj5h6os29fda8q7uc9")


def lay_what_is_shown(store: LocalStore) -> None:
    remember(store, NOW, result(3 * HOUR, ttl=7 * 86_400, elapsed=94), {"mean": 4.2, "steps": 1000}, steps="1000")
    lay(store, NOW, result(5 * DAY, ttl=7 * 86_400, elapsed=91), size=216)
    lay(store, NOW, result(20 * DAY, ttl=7 * 86_400, elapsed=97), size=216)
    lay(store, OTHER, result(16 * DAY, ttl=7 * 86_400, elapsed=38), size=204)
    lay(store, GONE, result(30 * HOUR, elapsed=62), size=212)
    lay(store, GONE, grave(28 * HOUR))
    lay(store, FORMER, result(40 * DAY, elapsed=120), size=210)
    for number in range(2):
        lay(store, Key("jobs.clean", "v3", digest(number)), result((number + 2) * HOUR, elapsed=0.5), size=18_000)
    lay(store, ItemKey("geocodes", "", digest(1)), result(2 * DAY, ttl=30 * 86_400), size=203)
    cursor = ServiceState("import-cursor", store)
    cursor.set({"row": 41_000})
    cursor.set({"row": 42_000})


def alike(printed: str) -> str:
    """Return what does not vary from run to run; columns are as wide as the ages in them."""
    return re.sub(" +", " ", VARYING.sub("*", printed))


def test_the_documentation_shows_what_the_commands_print(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    lay_what_is_shown(store)
    blocks = BLOCK.findall(DOCS.read_text(encoding="utf-8"))
    env = environment(S3MEMO_URL=store.url, COLUMNS="100")
    for command, shown in blocks:
        program, *arguments = shlex.split(command)
        run = s3memo(*arguments, env=env)
        assert (program, run.code) == ("s3memo", 0), run
        printed = "".join(f"{line.rstrip()}\n" for line in (run.out + run.err).splitlines())
        assert alike(printed) == alike(shown), command
    assert len(blocks) > 8


def test_all_commands_are_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name for name in names if f"s3memo {name}" not in text} <= {"demo"}
