"""What a Python source file is made of: pure functions, from its bytes to values of Python's built-in types."""

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
    """Return what a file holds: its lines and tokens by kind, its functions and the use of its identifiers.

    "functions" lists (qualified name, line, cyclomatic complexity). What is not valid Python gives {"problem": why}.
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
    """Return the syntax tree; what the parser only warns of is none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def count_lines(source: bytes, tokens: list[TokenInfo]) -> dict[str, int]:
    """Return the number of lines of code (docstrings are code), of comment alone, and of neither."""
    code, comment = set[int](), set[int]()
    for token in tokens:
        if token.type == tokenize.COMMENT:
            comment.add(token.start[0])
        elif token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    comment -= code
    return {"code": len(code), "comment": len(comment), "blank": len(source.splitlines()) - len(code) - len(comment)}


def count_kinds(tokens: list[TokenInfo]) -> dict[str, int]:
    """Return how many tokens there are of each kind that `tokenize` tells apart, layout left out."""
    return dict(Counter(tokenize.tok_name[token.type] for token in tokens if token.type not in LAYOUT))


def count_identifiers(tokens: list[TokenInfo]) -> dict[str, int]:
    """Return how often each name is used that is not a keyword."""
    names = (token.string for token in tokens if token.type == tokenize.NAME)
    return dict(Counter(name for name in names if not keyword.iskeyword(name)))


def functions(tree: ast.AST) -> Iterator[tuple[str, FunctionNode]]:
    """Yield every function with its qualified name, in the order of the source."""
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

    A function inside another counts by itself alone; a lambda and a class count where they stand.
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
    """Return how many ways a node adds for the program to take.

    One for each if, elif, conditional expression, loop, except, assert, `and`, `or`, each `for` and `if` of a
    comprehension, and each case and its guard; none for else, finally, with, and a case that takes whatever is left.
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
"""What the results of `analyze` depend on beside its own code; the last, for each Python has its own grammar."""
