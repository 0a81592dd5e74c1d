"""Failures that other caches of functions have been reported for, as far as they are of code: each must not happen here."""

from __future__ import annotations

import itertools
import linecache
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3memo import Cache, MemoryStore, s3_cached
from s3memo.fingerprint import CodeTag, tag_of
from tests.samples import interpreters

_serial = itertools.count(1)

Run = Callable[[str], dict[str, Any]]


def _session(file_name: str, *, keeps_source: bool = True) -> Run:
    """Return what runs texts one after the other in one `__main__`, as notebooks and the REPL do."""
    namespace: dict[str, Any] = {"__name__": "__main__", "s3_cached": s3_cached}

    def run(text: str) -> dict[str, Any]:
        text, name = textwrap.dedent(text), file_name.format(next(_serial))
        if keeps_source:
            linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        exec(compile(text, name, "exec"), namespace)
        return namespace

    return run


SESSIONS = [
    pytest.param(("<ipython-input-{}-a1b2c3>", True), id="an old notebook"),
    pytest.param(("/tmp/ipykernel_77/{}.py", True), id="a notebook"),
    pytest.param(("<python-input-{}>", True), id="the REPL of 3.13"),
    pytest.param(("<stdin>", False), id="the REPL before that"),
]


@pytest.fixture(params=SESSIONS)
def session(request: pytest.FixtureRequest) -> Run:
    file_name, keeps_source = request.param
    return _session(file_name, keeps_source=keeps_source)


@pytest.fixture
def cache() -> Cache:
    return Cache(MemoryStore())


def test_two_cells_that_define_the_same_name_are_two_functions(session: Run, cache: Cache) -> None:
    cells = ["def load(x):\n    return x + 1\n", "\n\ndef load(x):\n    return x * 100\n"]
    loads = [cache.cached(session(cell)["load"]) for cell in cells]
    assert [load(5) for load in loads] == [6, 500]
    again = cache.cached(session(cells[0])["load"])
    assert again(5) == 6
    assert again.cache_info().hits == 1


def test_a_helper_that_is_defined_anew_makes_old_results_void(session: Run, cache: Cache) -> None:
    session("def helper(x): return x + 1")
    space = session("def f(x): return helper(x)\ndef g(x): return helper(x)")
    deep = cache.cached(code="deep")(space["f"])
    listed = cache.cached(depends=(space["helper"],))(space["g"])
    assert (deep(1), listed(1)) == (2, 2)
    session("def helper(x): return x * 100")
    assert (deep(1), listed(1)) == (100, 100)
    session("def helper(x): return x + 1")
    assert (deep(1), listed(1)) == (2, 2)
    assert listed.cache_info().hits == deep.cache_info().hits == 1


def test_what_is_listed_and_later_means_something_else_still_counts(session: Run) -> None:
    space = session("def helper(x): return x + 1\ndef f(x): return x")
    tag = CodeTag(space["f"], depends=(space["helper"],))
    before = tag.current()
    session("helper = 3")
    assert tag.current() == before
    session("del helper")
    assert tag.current() == before


def test_lambdas_on_one_line_are_cached_apart(cache: Cache) -> None:
    functions = [cache.cached(f) for f in (lambda x: x + 1, lambda x: x + 2, lambda x: x + 1.0)]
    assert [f(1) for f in functions] == [2, 3, 2.0]
    assert type(functions[2](1)) is float


def test_two_closures_of_one_factory_are_cached_apart(cache: Cache) -> None:
    def make(n: Any) -> Any:
        @cache.cached
        def f(x: int) -> Any:
            return x, n

        return f

    assert [make(n)(1) for n in (1, 2, True, "1", 1)] == [(1, 1), (1, 2), (1, True), (1, "1"), (1, 1)]


def test_code_that_is_put_into_a_function_in_place_counts_as_new(cache: Cache) -> None:
    def f(x: int) -> int:
        return x + 1

    def g(x: int) -> int:
        return x * 100

    cached = cache.cached(f)
    assert cached(1) == 2
    f.__code__ = g.__code__  # as tools do that reload modules
    assert cached(1) == 100


SCRIPT = """
import sys
from s3memo import s3_cached
{helper}
@s3_cached("file://" + sys.argv[1], code={code!r})
def load(x):
    return {body}

print(load(1), load.cache_info().hits)
"""


def test_two_scripts_that_both_define_load_do_not_share_results(tmp_path: Path) -> None:
    def run(directory: str, name: str, *, body: str, helper: str = "", code: str = "source") -> str:
        script = tmp_path / directory / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(SCRIPT.format(body=body, helper=helper, code=code), encoding="utf-8")
        return interpreters.run(script, str(tmp_path / "store")).strip()

    assert run("a", "first.py", body="x + 1") == "2 0"
    assert run("a", "first.py", body="x + 1  # the same") == "2 1"
    assert run("a", "second.py", body="x + 1") == "2 0"
    assert run("b", "first.py", body="x * 100") == "100 0"
    # The same name and text, and another helper: only deep can tell.
    assert run("a", "third.py", body="h(x)", helper="def h(x): return x + 1", code="deep") == "2 0"
    assert run("b", "third.py", body="h(x)", helper="def h(x): return x * 100", code="deep") == "100 0"
    assert run("b", "third.py", body="h(x)", helper="def h(x): return x * 100  # same", code="deep") == "100 1"


def test_a_file_that_is_edited_while_the_program_runs_does_not_mix_two_codes(tmp_path: Path) -> None:
    path, serial = tmp_path / "edited.py", next(_serial)

    def load(text: str) -> dict[str, Any]:
        path.write_text(text, encoding="utf-8")
        space: dict[str, Any] = {"__name__": f"edited{serial}", "__file__": str(path)}
        exec(compile(text, str(path), "exec"), space)
        return space

    text = "RATE = 1\ndef helper(x):\n    return x + 1\ndef f(x):\n    return helper(x) * RATE\n"
    edited = text.replace("x + 1", "x * 9")
    old = load(text)
    path.write_text(edited, encoding="utf-8")
    running_old_text = tag_of(old["f"], code="deep")
    assert running_old_text != tag_of(load(edited)["f"], code="deep")
