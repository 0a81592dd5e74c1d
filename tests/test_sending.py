"""Cached functions and caches in other processes: pickled, taken by value, forked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.samples import interpreters, jobs

JOBS = Path(jobs.__file__)
PROCESSES = [f"{kind} {method}" for kind in ("pool", "executor") for method in ("fork", "spawn", "forkserver")]
BY_VALUE = ["loky", "elsewhere"]
IMPORTED = "import jobs; jobs.main({ways})"
REGISTERED = "import cloudpickle, jobs; cloudpickle.register_pickle_by_value(jobs); jobs.main({ways})"
NOTEBOOK = """
import linecache
text = open("jobs.py").read()
linecache.cache["<cell 1>"] = len(text), None, text.splitlines(keepends=True), "<cell 1>"
cell = {{"__name__": "cell"}}
exec(compile(text, "<cell 1>", "exec", dont_inherit=True), cell)
cell["main"]({ways})
"""
IN_TEN_MINUTES = 600


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a script in it, and what is said to it by the environment."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scripts" / "jobs.py").write_text(JOBS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("S3MEMO_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("COMPUTED", str(tmp_path / "computed"))
    return tmp_path / "scripts"


@pytest.mark.parametrize(
    ("arguments", "ways"),
    [
        pytest.param(["jobs.py"], [*PROCESSES, *BY_VALUE], id="of a script"),
        pytest.param(["-m", "jobs"], ["pool spawn", *BY_VALUE], id="of a module that is run"),
        pytest.param(["-c", IMPORTED], [*PROCESSES, "loky"], id="of a module that is imported"),
        pytest.param(["-c", REGISTERED], BY_VALUE, id="of a module that goes by value"),
        pytest.param(["-c", NOTEBOOK], BY_VALUE, id="of a notebook"),
    ],
)
def test_a_function_finds_its_results_wherever_it_is_sent(scripts: Path, arguments: list[str], ways: list[str]) -> None:
    in_code = arguments[0] == "-c"
    arguments = ["-c", arguments[1].format(ways=", ".join(map(repr, ways)))] if in_code else [*arguments, *ways]
    answers = json.loads(interpreters.run(*arguments, cwd=scripts))
    by_name = jobs.SENT_BY_NAME
    assert [name for name, _, _ in answers["here"]] == [function.__name__ for function in jobs.SENT_BY_VALUE]
    assert len({key for _, _, key in answers["here"]}) == len(answers["here"]) - 1  # one is another's sibling
    for way in ways:
        expected = answers["here"] if way in BY_VALUE else answers["here"][: len(by_name)]
        assert answers["there"][way] == expected, way
    assert answers["computed"] > len(by_name)
    assert answers["computed again"] == 0
