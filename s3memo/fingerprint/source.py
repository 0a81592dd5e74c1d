"""Digests of the source of functions and classes or, where there is none, of their bytecode.

A function's source is its syntax tree without docstring, annotations, comments and formatting, written in a form of our
own, because `ast.dump` differs between Python versions. It is used only if it compiles to the code object that runs, since
files may be edited while a program runs.
"""

from __future__ import annotations
import __future__

import ast
import importlib.util
import inspect
import itertools
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import PurePath
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeAlias

from s3memo.canonical import form_digest
from s3memo.fingerprint.names import Read, all_codes, reads
from s3memo.locks import fork_safe_lock

_compiling = fork_safe_lock()
"""Held to compile: in Python 3.11 concurrent parsing may miscount a tree's depth (SystemError), and the filters of warnings
are shared by all threads."""

_PARSES = 100
"""How often parsing is tried again when threads without that lock make it fail."""

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUTURE_FLAGS = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
_STANDARD_LIBRARY = str(PurePath(os.__file__).parent) + os.sep
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_OMITTED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})  # without a meaning of their own


class _File(NamedTuple):
    """A source text: its syntax tree, its functions by name and line, and all code objects that it compiles to."""

    tree: ast.Module
    functions: dict[tuple[str, int], list[FunctionNode]]
    codes: frozenset[CodeType]


def function_digest(code: CodeType, *, undecorated: bool = False) -> str:
    """Return a digest of a function's source, without its name; of its bytecode if that source is not what runs.

    If it is decorated its docstring and annotations count, unless `undecorated` says that its decorators ignore them.
    """
    sent = _sent_digests.get((code, code.co_filename))
    return _function_digest(code, code.co_filename, undecorated=undecorated) if sent is None or undecorated else sent


def note_function_digest(code: CodeType, digest: str) -> None:
    """Note the digest of a function that was sent here without its source."""
    _sent_digests[code, code.co_filename] = digest


_sent_digests: dict[tuple[CodeType, str], str] = {}


@lru_cache(maxsize=4096)
def _function_digest(
    code: CodeType, _filename: str, *, undecorated: bool
) -> str:  # _filename: codes of two files may be equal
    node = _find_function(code)
    if node is None:
        return form_digest(_bytecode(code))
    return form_digest(list(_tokens(node, bare=undecorated or not getattr(node, "decorator_list", None))))


def plain_code(code: CodeType) -> CodeType:
    """Return a function's source compiled without -O and without unused annotations; without source, the code itself.

    So what it reads does not depend on how Python was started.
    """
    return _plain_code(code, code.co_filename)


@lru_cache(maxsize=4096)
def _plain_code(code: CodeType, _filename: str) -> CodeType:
    if _find_function(code) is None:
        return code
    codes = _plain_codes(_text(code), code.co_flags & _FUTURE_FLAGS)[code.co_qualname, code.co_firstlineno]
    return next((found for found in codes if len(codes) == 1 or _span(found) == _span(code)), code)


def is_installed(filename: str) -> bool:
    """Whether a file belongs to Python or an installed package rather than to the user."""
    python = filename.startswith(("<frozen ", _STANDARD_LIBRARY))
    return python or not _INSTALLED.isdisjoint(PurePath(filename).parts)


def class_digest(cls: type) -> str:
    """Return a digest of a class's source; of its methods if that source is not what runs.

    Raises ValueError if no source is found.
    """
    methods = _methods(cls)
    known = _class_digests.get(cls)
    if known is None or known[0] != methods:  # reloading tools put new methods into an old class
        known = _class_digests[cls] = methods, _class_digest(cls, methods)
    return known[1]


def note_class_digest(cls: type, digest: str) -> None:
    """Note the digest of a class that was sent here without its source."""
    _class_digests[cls] = _methods(cls), digest


_class_digests: weakref.WeakKeyDictionary[type, tuple[dict[str, CodeType], str]] = weakref.WeakKeyDictionary()


def class_reads(cls: type) -> frozenset[Read]:
    """Return what a class statement reads: in decorators, bases, body and annotations, even those that are strings.

    The bodies of its methods are left out. Empty if no source is found.
    """
    found = _find_definition(cls, _methods(cls).values())
    if found is None:
        return frozenset()
    origin, _ = found
    with _compiling:
        nodes = _find_classes(ast.parse(_text(origin)), cls.__qualname__)  # a new tree, because it will be changed
    for node in nodes:
        _keep_what_is_evaluated(node)
    with _compiling, warnings.catch_warnings(action="ignore"):
        code = compile(ast.Module(list(nodes), []), "<source>", "exec", dont_inherit=True, optimize=0)
    return reads(code).names


def _keep_what_is_evaluated(cls: ast.ClassDef) -> None:
    """Reduce a class to what runs when it is defined, with annotations that may be read as code."""
    pending: list[ast.AST] = [cls]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.copy_location(ast.Pass(), node)]
            _replace_annotations(node, _evaluated if node.decorator_list else lambda _: None)
        elif isinstance(node, ast.AnnAssign):
            node.annotation = _evaluated(node.annotation)
        pending += ast.iter_child_nodes(node)


class _Texts(ast.NodeTransformer):
    """Replaces strings in an annotation by the expressions they contain."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        try:
            spelled = ast.parse(node.value.strip(), mode="eval").body
        except (SyntaxError, ValueError):  # it is not code, as in Annotated[int, "metres"]
            return node
        return self.visit(spelled)  # type: ignore[no-any-return]  # it is an expression

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        name = getattr(node.value, "attr", getattr(node.value, "id", None))
        return node if name == "Literal" else self.generic_visit(node)  # type: ignore[return-value]  # as above


def _replace_annotations(function: ast.FunctionDef | ast.AsyncFunctionDef, replace: Callable[[Any], Any]) -> None:
    function.returns = replace(function.returns)
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = replace(argument.annotation)


def _evaluated(annotation: Any) -> Any:
    return annotation and ast.fix_missing_locations(ast.copy_location(_Texts().visit(annotation), annotation))


def _class_digest(cls: type, methods: dict[str, CodeType]) -> str:
    found = _find_definition(cls, methods.values())
    if found is None:
        raise ValueError(f"the source of the class {cls.__qualname__} is not found")
    _, file = found
    if file.codes.issuperset(methods.values()):
        return form_digest([list(_tokens(node, bare=False)) for node in _find_classes(file.tree, cls.__qualname__)])
    return form_digest({name: function_digest(code) for name, code in methods.items()})


def _find_definition(cls: type, methods: Iterable[CodeType]) -> tuple[object, _File] | None:
    """Return the object by which a class's source was found, and its file."""
    for origin in (*methods, inspect.getmodule(cls)):  # a notebook's module has no file, but its methods do
        file = _load(origin, 0)
        if file is not None and _find_classes(file.tree, cls.__qualname__):
            return origin, file
    return None


def _methods(cls: type) -> dict[str, CodeType]:
    return {name: code for name, value in vars(cls).items() if (code := _method_code(cls, value)) is not None}


def _method_code(cls: type, value: object) -> CodeType | None:
    """Return the code of a function defined in the class's own body, or None."""
    function = getattr(value, "__func__", value)
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType):
        return None
    return function.__code__ if function.__code__.co_qualname.startswith(f"{cls.__qualname__}.") else None


def _find_classes(tree: ast.Module, qualname: str) -> list[ast.ClassDef]:
    """Return all definitions of that name, since it is unknown which of them ran."""
    bodies: list[ast.AST] = [tree]
    for name in qualname.split("."):
        found = [node for body in bodies for node in _outermost_classes(body) if node.name == name]
        bodies = list(found)
    return found


def _outermost_classes(node: ast.AST) -> Iterator[ast.ClassDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield child
        elif not isinstance(child, FunctionNode):
            yield from _outermost_classes(child)


def _find_function(code: CodeType) -> FunctionNode | None:
    """Return the syntax tree that compiled to this code object, or None if that is not certain."""
    file = _load(code, code.co_flags & _FUTURE_FLAGS)
    if file is None or code not in file.codes:
        return None
    nodes = file.functions.get((code.co_name, code.co_firstlineno), [])
    if len(nodes) > 1:
        nodes = _around([node for node in nodes if isinstance(node, ast.Lambda)], code)
    return nodes[0] if nodes else None


def _name_and_line(node: FunctionNode) -> tuple[str, int]:
    if isinstance(node, ast.Lambda):
        return "<lambda>", node.lineno
    return node.name, min(part.lineno for part in (node, *node.decorator_list))


def _around(nodes: list[ast.Lambda], code: CodeType) -> list[FunctionNode]:
    """Return, of the lambdas on one line, the one that contains the code's instructions; none if not certain."""
    span = _span(code)
    if span is None:
        return []
    first, last = span
    around: list[FunctionNode] = [
        node for node in sorted(nodes, key=_start) if _start(node) <= first and last <= _end(node)
    ]
    return around[-1:]  # bodies that contain one place are nested; the innermost starts last


def _span(code: CodeType) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the first and last position, as (line, column), of the code's instructions; None without positions."""
    positions = [position for position in code.co_positions() if None not in position]
    spans: list[Any] = [((line, column), (end_line, end_column)) for line, end_line, column, end_column in positions]
    spans = [(start, end) for start, end in spans if start != end]  # instructions without text of their own
    return (min(spans)[0], max(end for _, end in spans)) if spans else None


def _load(origin: object, flags: int) -> _File | None:
    for _ in range(_PARSES):
        with suppress(SystemError):  # other threads were compiling too: see `_compiling`
            return _load_once(origin, flags)
    return _load_once(origin, flags)


def _load_once(origin: object, flags: int) -> _File | None:
    try:
        return _parse(_text(origin), flags)
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _text(origin: object) -> str:
    lines, _ = inspect.findsource(origin)  # type: ignore[arg-type]  # what has no source is a TypeError
    return "".join(lines)


@lru_cache(maxsize=4)
def _parse(text: str, flags: int) -> _File:
    # A notebook's cell may await at its top level. Warnings were shown when the text was first compiled.
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with _compiling, warnings.catch_warnings(action="ignore"):
        tree = compile(text, "<source>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        code = compile(tree, "<source>", "exec", flags, dont_inherit=True)
    functions: dict[tuple[str, int], list[FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            functions.setdefault(_name_and_line(node), []).append(node)
    return _File(tree, functions, frozenset(all_codes(code)))


@lru_cache(maxsize=4)
def _plain_codes(text: str, flags: int) -> dict[tuple[str, int], list[CodeType]]:
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with _compiling, warnings.catch_warnings(action="ignore"):
        tree = compile(text, "<source>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        _drop_annotations(tree)
        code = compile(tree, "<source>", "exec", flags, dont_inherit=True, optimize=0)
    codes: dict[tuple[str, int], list[CodeType]] = {}
    for found in all_codes(code):
        codes.setdefault((found.co_qualname, found.co_firstlineno), []).append(found)
    return codes


def _drop_annotations(tree: ast.Module) -> None:
    """Drop the annotations of undecorated functions inside functions, where nobody reads them."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, within = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if within and not node.decorator_list:
                _replace_annotations(node, lambda _: None)
            within = True
        elif isinstance(node, ast.ClassDef):
            within = False
        pending += [(child, within) for child in ast.iter_child_nodes(node)]


def _bytecode(code: CodeType) -> tuple[Any, ...]:
    """Return all of a code object that affects its behaviour: no file names, no line numbers."""
    return (
        importlib.util.MAGIC_NUMBER,
        code.co_code,
        code.co_exceptiontable,
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        [_bytecode(value) if isinstance(value, CodeType) else value for value in code.co_consts],
    )


def _tokens(root: ast.AST, *, bare: bool) -> Iterator[tuple[Any, ...]]:
    """Yield the tree in prefix order, each part with the number of its parts, so that it is unambiguous.

    `bare`: without docstrings and annotations, which have no effect in the body of a function. Inside a class or a
    decorated function they are kept, since a decorator or metaclass may read them. If the root is a function, its name and
    decorators are left out.
    """
    pending: list[tuple[Any, bool]] = [(root, bare)]  # not recursive: a long sum is a deep tree
    while pending:
        part, bare = pending.pop()
        if isinstance(part, ast.AST):
            if part is not root:
                bare = bare and not isinstance(part, ast.ClassDef) and not getattr(part, "decorator_list", None)
            name, fields = _normalized(part, bare=bare)
            if part is root and isinstance(part, FunctionNode):
                fields = {field: value for field, value in fields.items() if field not in {"name", "decorator_list"}}
            kept = {field: value for field, value in fields.items() if value is not None and value != []}
            yield name, len(kept)
            for field, value in reversed(kept.items()):
                pending += [(value, bare), (field, bare)]
        elif isinstance(part, list):
            yield (len(part),)
            pending += [(item, bare) for item in reversed(part)]
        else:
            yield "", part, None


def _normalized(node: ast.AST, *, bare: bool) -> tuple[str, dict[str, Any]]:
    """Return a node's type name and fields, the same for all ways to write the same thing."""
    name = type(node).__name__
    fields = {field: value for field, value in ast.iter_fields(node) if field not in _OMITTED_FIELDS}
    match node:
        case ast.JoinedStr():
            fields["values"] = _merged(node.values)
        case ast.AnnAssign(target=target, value=ast.expr() as value) if bare:
            return "Assign", {"targets": [target], "value": value}
        case ast.FunctionDef() | ast.AsyncFunctionDef() if bare and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = node.body[1:]
    if bare:
        fields.pop("annotation", None)
        fields.pop("returns", None)
    return name, fields


def _merged(parts: list[ast.expr]) -> list[ast.expr]:
    """Return an f-string's parts with adjacent texts joined and empty ones dropped, since Python versions differ."""
    merged: list[ast.expr] = []
    for is_text, run in itertools.groupby(parts, key=lambda part: isinstance(part, ast.Constant)):
        if not is_text:
            merged += run
        elif text := "".join(part.value for part in run):  # type: ignore[attr-defined]  # they are constants
            merged.append(ast.Constant(text))
    return merged


def _start(node: ast.Lambda) -> tuple[int, int]:
    return node.body.lineno, node.body.col_offset


def _end(node: ast.Lambda) -> tuple[int, int]:
    return node.body.end_lineno or 0, node.body.end_col_offset or 0
