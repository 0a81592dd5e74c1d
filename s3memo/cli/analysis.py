"""Analysis of a Python source file: pure functions from its bytes to built-in values."""

from __future__ import annotations

import ast
import io
import keyword
import sys
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator
from tokenize import TokenInfo
from typing import Any

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert)
LAYOUT = frozenset(
    (tokenize.ENCODING, tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)


def analyze(source: bytes) -> dict[str, Any]:
    """Return the file's lines and tokens by kind, its functions, and how often it uses each identifier.

    "functions" lists (qualified name, line, cyclomatic complexity). Invalid Python gives {"problem": why}.
    """
    try:
        tree = parse(source)
        tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
    except SyntaxError as error:
        return {"problem": f"not valid Python: {error.msg}"}
    except (ValueError, tokenize.TokenError) as error:
        return {"problem": f"not valid Python: {error}"}
    return {
        "lines": count_lines(source, tokens),
        "tokens": count_kinds(tokens),
        "functions": [(name, node.lineno, complexity(node)) for name, node in functions(tree)],
        "identifiers": count_identifiers(tokens),
    }


def parse(source: bytes) -> ast.Module:
    """Return the syntax tree, without the parser's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def count_lines(source: bytes, tokens: list[TokenInfo]) -> dict[str, int]:
    """Return how many lines are code (docstrings included), comment only, or blank."""
    code, comment = set[int](), set[int]()
    for token in tokens:
        if token.type == tokenize.COMMENT:
            comment.add(token.start[0])
        elif token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    comment -= code
    return {"code": len(code), "comment": len(comment), "blank": len(source.splitlines()) - len(code) - len(comment)}


def count_kinds(tokens: list[TokenInfo]) -> dict[str, int]:
    """Return the number of tokens of each kind, except layout."""
    return dict(Counter(tokenize.tok_name[token.type] for token in tokens if token.type not in LAYOUT))


def count_identifiers(tokens: list[TokenInfo]) -> dict[str, int]:
    """Return how often each name occurs, except keywords."""
    names = (token.string for token in tokens if token.type == tokenize.NAME)
    return dict(Counter(name for name in names if not keyword.iskeyword(name)))


def functions(tree: ast.AST) -> Iterator[tuple[str, FunctionNode]]:
    """Yield every function with its qualified name, in source order."""
    pending = [("", tree)]
    while pending:
        scope, node = pending.pop()
        if isinstance(node, FunctionNode | ast.ClassDef):
            name = scope + node.name
            scope = f"{name}."
            if isinstance(node, FunctionNode):
                yield name, node
        pending.extend((scope, child) for child in reversed(list(ast.iter_child_nodes(node))))


def complexity(function: FunctionNode) -> int:
    """Return the cyclomatic complexity of a function (McCabe 1976): its decision points plus one.

    A nested function counts by itself only; a lambda or class counts for the function it stands in.
    """
    pending: list[ast.AST] = list(ast.iter_child_nodes(function))
    total = 1
    while pending:
        node = pending.pop()
        if not isinstance(node, FunctionNode):
            total += decisions(node)
            pending.extend(ast.iter_child_nodes(node))
    return total


def decisions(node: ast.AST) -> int:
    """Return the number of decision points at a node.

    One for each if, elif, conditional expression, loop, except, assert, `and`, `or`, each `for` and `if` of a
    comprehension, and each case and its guard; none for else, finally, with, and a catch-all case.
    """
    match node:
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=None):
            return 0
        case ast.match_case():
            return 1 if node.guard is None else 2
    return int(isinstance(node, BRANCHES))


PARTS = (
    parse,
    count_lines,
    count_kinds,
    count_identifiers,
    functions,
    complexity,
    decisions,
    BRANCHES,
    LAYOUT,
    sys.version_info[:2],
)
"""What the results of `analyze` depend on beside its own code; the Python version, because grammars differ."""
