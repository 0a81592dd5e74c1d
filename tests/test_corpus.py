"""Properties of fingerprints, over functions that use all of the syntax: what changes a tag, and what does not."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import linecache
import random
import textwrap
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from s3memo.canonical import form_digest
from s3memo.fingerprint import source, tag_of
from tests.samples import corpus, interpreters

TEXTS = {
    function.__name__: textwrap.dedent(inspect.getsource(function))
    for function in corpus.FUNCTIONS
    if function.__qualname__.isidentifier()
}
NAMES = st.sampled_from(sorted(TEXTS))
RANDOM = st.randoms(use_true_random=False)

Edit = Callable[[], None]

_serial = itertools.count()


def _tag(text: str, name: str) -> str:
    """Return the tag of a function defined in a file of its own that holds `text`."""
    return tag_of(_defined(text, name))


def _defined(text: str, name: str) -> Any:
    file = f"<corpus {next(_serial)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    namespace = vars(corpus).copy()
    exec(compile(text, file, "exec"), namespace)  # with this module's own future import, which keeps annotations text
    return namespace[name]


def _behaviour(tree: ast.Module, name: str) -> str:
    """Return a digest of what a function is compiled to, its docstring and annotations left out."""
    bare = source._find_function(_defined(ast.unparse(tree), name).__code__)
    assert bare is not None
    return form_digest(source._bytecode(_defined(ast.unparse(_stripped(tree)), name).__code__))


def _stripped(tree: ast.Module) -> ast.Module:
    tree = copy.deepcopy(tree)
    for node in _bare_functions(tree.body[0]):
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        if ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if node.body[1:] else [ast.Pass()]
    return tree


def _bare_functions(root: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions whose docstrings and annotations nobody reads."""
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.decorator_list:
                continue
            yield node
        if not isinstance(node, ast.ClassDef):
            pending += ast.iter_child_nodes(node)


@pytest.mark.parametrize("flags", [(), ("-O",), ("-OO",)])
def test_tags_are_those_of_every_python_version_seed_and_flag(flags: tuple[str, ...]) -> None:
    """`python -m tests.samples.corpus > tests/samples/corpus.tags`, where a release changes them on purpose."""
    recorded = Path(corpus.__file__).with_suffix(".tags").read_text(encoding="utf-8")
    assert interpreters.run(*flags, "-m", "tests.samples.corpus", seed=len(flags) + 1) == recorded


def test_every_function_of_the_corpus_has_a_tag_of_its_own() -> None:
    tags = [tag_of(function, code=code) for function in corpus.FUNCTIONS for code in ("source", "deep")]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_code_that_is_written_anew_from_its_syntax_tree_has_the_same_tag(name: str) -> None:
    text = TEXTS[name]
    assert _tag(ast.unparse(ast.parse(text)), name) == _tag(text, name) == tag_of(getattr(corpus, name))


@given(NAMES, RANDOM)
def test_formatting_comments_docstrings_and_annotations_do_not_count(name: str, random: random.Random) -> None:
    tree = ast.parse(TEXTS[name])
    for node in _bare_functions(tree.body[0]):
        has_docstring = ast.get_docstring(node, clean=False) is not None
        if random.random() < 0.5:
            node.body[: int(has_docstring)] = [ast.Expr(ast.Constant(random.choice(["Text.", "", "a\n\tb"])))]
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = random.choice([None, ast.Name("int"), ast.Constant("a.B[int]")])
        node.returns = random.choice([None, ast.Name("Unknown")])
    lines = ast.unparse(ast.fix_missing_locations(tree)).splitlines()
    text = "".join(random.choice(["", "\n"]) + line + random.choice(["", "  ", "  # why"]) + "\n" for line in lines)
    assume(_parses(text) and "'''" not in text and '"""\n' not in text)
    text = _parenthesized(text, random)
    assert _tag(text, name) == _tag(TEXTS[name], name)


def _parses(text: str) -> bool:
    try:
        compile(text, "text", "exec")
    except SyntaxError:
        return False
    return True


def _parenthesized(text: str, random: random.Random) -> str:
    """Return the text with parentheses around some expressions, where they mean nothing."""
    same = ast.dump(ast.parse(text))
    nodes = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.expr) and node.lineno == node.end_lineno
    ]
    for node in random.sample(nodes, min(len(nodes), 5)):
        lines = text.encode().splitlines(keepends=True)
        line = lines[node.lineno - 1]
        start, end = node.col_offset, node.end_col_offset
        lines[node.lineno - 1] = line[:start] + b"(" + line[start:end] + b")" + line[end:]
        changed = b"".join(lines).decode()
        if _parses(changed) and ast.dump(ast.parse(changed)) == same:
            return changed
    return text


OPERATORS = [ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.LShift, ast.RShift, ast.BitOr]
COMPARISONS = [ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn]
NOT_EDITED = {"annotation", "returns", "kind", "ctx", "conversion", "level", "is_async", "simple"}
UNARY = [ast.UAdd, ast.USub, ast.Not]  # ~True warns when it is compiled, and an error changes what it becomes
SWAPS = {
    old: new
    for kinds in (OPERATORS, COMPARISONS, UNARY, [ast.And, ast.Or])
    for old, new in itertools.pairwise([*kinds, kinds[0]])
}


def _edits(tree: ast.Module) -> list[Edit]:
    """Return small changes to a function's tree: of operators, names, constants and order, and leaving things out."""
    edits: list[Edit] = []
    for node in ast.walk(tree.body[0]):
        for field, value in ast.iter_fields(node):
            if (node is tree.body[0] and field == "name") or field in NOT_EDITED:
                continue
            parts = value if isinstance(value, list) else [value]
            for index, part in enumerate(parts):
                for other in _others(part):
                    changed = [*parts[:index], other, *parts[index + 1 :]]
                    edits.append(partial(setattr, node, field, changed if parts is value else other))
                if parts is value and len(parts) > 1:
                    edits.append(partial(setattr, node, field, [*parts[:index], *parts[index + 1 :]]))
                    edits.append(partial(setattr, node, field, [part, *parts[:index], *parts[index + 1 :]]))
    return edits


def _others(part: Any) -> list[Any]:
    match part:
        case ast.AST():
            return [SWAPS[type(part)]()] if type(part) in SWAPS else []
        case str() | bytes():
            return [part + part[-1:]] if part else []
        case bool():
            return [not part, int(part), None]
        case int() | float() | complex():
            return [part + 1, str(part), bool(part), complex(part), 10**400]
        case types.EllipsisType():
            return [None, True, 0]
    return []


@given(NAMES, st.integers(0))
def test_whatever_changes_what_is_compiled_changes_the_tag(name: str, choice: int) -> None:
    tree = ast.parse(TEXTS[name])
    edits = _edits(tree)
    edits[choice % len(edits)]()
    try:
        changed = ast.parse(ast.unparse(tree))
    except (SyntaxError, ValueError, AttributeError, IndexError):
        assume(False)
    assume(_parses(ast.unparse(changed)))
    before, after = _behaviour(ast.parse(TEXTS[name]), name), _behaviour(changed, name)
    differ = _tag(ast.unparse(changed), name) != _tag(TEXTS[name], name)
    assert differ or before == after
