"""The classes of a function's results: those that its return annotation mentions, and those listed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import partial
from inspect import get_annotations, unwrap
from types import CellType
from typing import Annotated, Any, Self, get_args, get_origin, get_type_hints, is_typeddict

from s3memo.canonical import qualified_name
from s3memo.codec import Classes
from s3memo.codec.instances import is_pydantic, is_storable
from s3memo.errors import SettingsError

_HINTS_AMONG_ARGUMENTS = {Callable: 0, Annotated: 1}  # of other types, every argument is a hint


def check_types(types: Iterable[type], *, name: str = "types") -> tuple[type, ...]:
    """Return the classes listed by the option `name`. Raises SettingsError."""
    if isinstance(types, type) or not isinstance(types, Iterable):
        raise SettingsError(f"{name}={types!r} must list classes: {name}=({getattr(types, '__name__', '…')},)")
    kinds = tuple(types)
    for kind in kinds:
        if not isinstance(kind, type) or not is_storable(kind):
            raise SettingsError(
                f"{name}=: {kind!r} is no dataclass, NamedTuple, Enum, attrs, pydantic or exception class, "
                "so no result of it can be stored"
            )
    return kinds


def listed_classes(types: Iterable[type]) -> Classes:
    """Return the classes that values without an annotation may be rebuilt from: `types`, and those of their fields."""
    return _named(_reachable([*types], owner=None), types)


def returned_classes(function: Callable[..., Any], types: Iterable[type]) -> Classes:
    """Return the classes that a function's results may be rebuilt from: those of its return annotation, and `types`.

    Fields are followed, subclasses are not. An annotation that cannot be evaluated is ignored. Of several classes with
    one name only a listed one counts, since the name is what is stored.
    """
    return _named(_reachable([*types, *_return_hint(function)], owner=_owner(function)), types)


def _named(reachable: Iterable[type], types: Iterable[type]) -> Classes:
    found: dict[str, set[type]] = {}
    for kind in reachable:
        found.setdefault(qualified_name(kind), set()).add(kind)
    listed = {qualified_name(kind): kind for kind in types}
    return Classes({name: kinds.pop() for name, kinds in found.items() if len(kinds) == 1} | listed)


def _reachable(hints: list[Any], *, owner: type | None) -> Iterator[type]:
    """Yield every storable class that type hints lead to; Self means the owner."""
    met: dict[int, Any] = {}  # keeps each alive, since the id of a freed hint may be reused
    pending = list(hints)
    while pending:
        hint = pending.pop()
        if hint is Self:
            hint = owner
        if id(hint) not in met:
            met[id(hint)] = hint
            pending.extend(_next_hints(hint))
            if isinstance(hint, type) and is_storable(hint):
                yield hint


def _next_hints(hint: Any) -> Iterable[Any]:
    """Return the parts of a type hint: its arguments, the meaning of an alias, the fields of a class."""
    origin = get_origin(hint)
    if isinstance(hint, list | tuple):  # an argument for a ParamSpec
        return hint
    if isinstance(hint, Enum):  # in a Literal
        return [type(hint)]
    if origin is not None:
        return [origin, *get_args(hint)[: _HINTS_AMONG_ARGUMENTS.get(origin)]]
    if isinstance(hint, type):
        return _field_hints(hint) if is_storable(hint) or is_typeddict(hint) else []
    return _meaning(hint)


def _meaning(hint: Any) -> list[Any]:
    """Return the meaning of a NewType or a `type` alias, which may be defined later or not at all."""
    try:
        meanings = [getattr(hint, name) for name in ("__supertype__", "__value__") if hasattr(hint, name)]
    except Exception:  # noqa: BLE001  evaluated only now, and may be any code
        return []
    parameters = {parameter.__name__: parameter for parameter in getattr(hint, "__type_params__", ())}
    return [part for meaning in meanings for part in _evaluated(meaning, _names_in(hint.__module__), parameters)]


def _field_hints(kind: Any) -> Iterator[Any]:
    """Yield the types of a class's fields, including inherited ones."""
    for base in kind.__mro__:
        names = {**vars(base), base.__name__: base}
        without_annotation = (field.type for field in vars(base).get("__attrs_attrs__", ()))
        for annotation in (*_annotations_of(base).values(), *without_annotation):
            yield from _evaluated(annotation, _names_in(base.__module__), names)
    if is_pydantic(kind):
        yield from (field.annotation for field in kind.model_fields.values())  # with a generic model's arguments


def _names_in(module: Any) -> dict[str, Any]:
    return vars(sys.modules[module]) if module in sys.modules else {}


def _return_hint(function: Any) -> list[Any]:
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    code = getattr(function, "__code__", None)
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True)) if code else {}
    names = {name: cell.cell_contents for name, cell in cells.items() if cell != CellType()}
    annotations = _annotations_of(function)
    if "return" not in annotations:
        return []
    return _evaluated(annotations["return"], getattr(function, "__globals__", {}), names)


def _owner(function: Any) -> type | None:
    """Return the class that a method belongs to, once its module has it."""
    owner: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for name in getattr(function, "__qualname__", "").split(".")[:-1]:
        owner = getattr(owner, name, None)
    return owner if isinstance(owner, type) else None


def _annotations_of(thing: Any) -> Mapping[str, Any]:
    try:
        return get_annotations(thing)
    except Exception:  # noqa: BLE001  evaluated only now from Python 3.14 on, and may be any code
        return {}


def _evaluated(annotation: Any, module_names: dict[str, Any], names: Mapping[str, Any]) -> list[Any]:
    """Return the type hint of an annotation or of its text; an empty list if it cannot be evaluated."""
    holder = type("", (), {"__annotations__": {"it": annotation}})
    try:
        return [get_type_hints(holder, module_names, dict(names), include_extras=True)["it"]]
    except Exception:  # noqa: BLE001  it may name imports for type checkers only, and may be any code
        return []
