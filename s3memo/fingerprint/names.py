"""The names that code reads from outside itself, found in its instructions."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from itertools import takewhile
from types import CodeType
from typing import Any, NamedTuple, TypeAlias

Step: TypeAlias = tuple[str, Any]

_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FREE_LOADS = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_LOADS = _GLOBAL_LOADS | _FREE_LOADS | {"LOAD_FAST", "LOAD_FAST_CHECK"}
_STORES = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_NAME", "STORE_GLOBAL"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"})
_DOUBLE = {  # from Python 3.13 on some instructions do the work of two
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}
_FILLERS = frozenset({"CACHE", "EXTENDED_ARG", "NOP"})


class Read(NamedTuple):
    """A name that code reads, with the attributes read from it at once: `helpers.limits.MAX`.

    `imported`: the name is that of a module the code itself imports, with leading dots if the import is relative.
    """

    name: str
    attributes: tuple[str, ...] = ()
    imported: bool = False

    def __str__(self) -> str:
        return ".".join((self.name, *self.attributes))


class Reads(NamedTuple):
    """All names that a code object, with those nested in it, reads from outside, and the modules it imports."""

    names: frozenset[Read]
    modules: frozenset[str]


def reads(code: CodeType) -> Reads:
    """Return what a function's code reads: globals, free variables, and its own imports."""
    bodies = [(body, list(_steps(body))) for body in all_codes(code)]
    bound: dict[str, set[Read]] = {}
    modules: set[str] = set()
    for _, steps in bodies:
        for module, variable, read in _imports(steps):
            modules.add(module)
            bound.setdefault(variable, set()).add(read)
    names: set[Read] = set()
    for body, steps in bodies:
        cells = {*body.co_cellvars, *body.co_freevars}
        for index, (operation, name) in enumerate(steps):
            if operation not in _LOADS or (operation == "LOAD_FAST" and name in cells):
                continue  # Python 3.13 hands cells on to a nested function that way
            attributes = tuple(name for _, name in takewhile(_is_attribute, steps[index + 1 :]))
            names |= {Read(read.name, read.attributes + attributes, imported=True) for read in bound.get(name, ())}
            if operation in _GLOBAL_LOADS or (operation in _FREE_LOADS and name in code.co_freevars):
                names.add(Read(name, attributes))
    return Reads(frozenset(names), frozenset(modules))


def all_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all that are nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_codes(constant)


def _steps(code: CodeType) -> Iterator[Step]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _DOUBLE:
            yield from zip(_DOUBLE[instruction.opname], instruction.argval, strict=True)
        elif instruction.opname not in _FILLERS:
            yield instruction.opname, instruction.argval


def _is_attribute(step: Step) -> bool:
    return step[0] in _ATTRIBUTES


def _imports(steps: list[Step]) -> Iterator[tuple[str, str, Read]]:
    """Yield each import: the module, the variable it binds, and what that refers to."""
    for index, (operation, name) in enumerate(steps):
        if operation != "IMPORT_NAME":
            continue
        (_, level), (_, wanted) = steps[index - 2 : index]
        module = "." * level + name
        if not wanted:  # `import a.b` binds a, `import a.b as c` binds a.b
            variable = next(name for operation, name in steps[index:] if operation in _STORES)
            bound = name if steps[index + 1][0] == "IMPORT_FROM" else name.partition(".")[0]
            yield module, variable, Read(bound, imported=True)
            continue
        for position, attribute in enumerate(wanted):
            yield module, steps[index + 2 + 2 * position][1], Read(module, (attribute,), imported=True)
