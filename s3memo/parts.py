"""Parts: what a class, or a value that a module holds, consists of as far as code depends on it."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import logging
import sys
import threading
import types
from collections import deque, namedtuple
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from s3memo import source
from s3memo.canonical import Fields, is_exact
from s3memo.codec import is_immutable
from s3memo.watch import ABSENT

Covers = Callable[[Any], bool]

_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)
_GETTERS = (types.MemberDescriptorType, types.GetSetDescriptorType, type(vars(namedtuple("_", "field"))["field"]))  # noqa: PYI024  for the type


def stand_in(value: Any, covers: Covers = lambda _: False) -> Any:
    """Return what counts of a value that a name stands for: most often the value.

    What decides no result counts by its kind: loggers, locks, and bare objects that serve as marks; what another
    package has, by its name.
    """
    kind = type(value)
    if is_exact(kind) or isinstance(value, types.FunctionType | type):
        return value
    if isinstance(value, types.ModuleType):
        return Fields(module=value.__name__)
    if kind is object or isinstance(value, (logging.Logger, logging.LoggerAdapter, *_LOCKS)):
        return Fields(kind=f"{kind.__module__}.{kind.__qualname__}")
    name = None if covers(kind) else _foreign_name(value, covers)
    return value if name is None else Fields(name=name)


def classes_within(value: Any, covers: Covers) -> Iterator[type]:
    """Yield the classes of the objects in a value, of those that `covers` is true of."""
    pending, seen = [value], {id(value)}
    while pending:
        part = pending.pop()
        kind = type(part)
        inner: list[Any] = []
        if kind in (list, tuple, set, frozenset, deque):
            inner += part
        elif isinstance(part, dict | types.MappingProxyType):
            inner += [*part.keys(), *part.values()]
        elif kind is partial:
            inner += [part.func, part.args, part.keywords]
        elif not (is_exact(kind) or isinstance(part, types.FunctionType | type | types.ModuleType)) and covers(kind):
            yield kind
            slots = [getattr(part, name, None) for cls in kind.__mro__ for name in getattr(cls, "__slots__", ())]
            inner += [*getattr(part, "__dict__", {}).values(), *slots]
            inner += part if isinstance(part, tuple) else ()
        fresh = [item for item in inner if id(item) not in seen]
        seen.update(map(id, fresh))
        pending += fresh


def of_class(cls: type, attributes: Mapping[str, Any], covers: Covers) -> Iterator[tuple[str, Any]]:
    """Yield the methods of a class and the values of its attributes; what a library generated from them is left out."""
    members = cls.__members__ if issubclass(cls, enum.Enum) else {}
    yield "__members__", tuple((name, member._value_) for name, member in members.items())
    yield from _of_fields(attributes)
    for name, value in attributes.items():
        if name not in members and _counts(cls, name, value, covers):
            yield name, value


def is_only_names(cls: type) -> bool:
    """Whether a class is what a call such as `namedtuple("Point", "x y")` makes: its plain values, and nothing else."""
    if issubclass(cls, enum.Enum):
        listed = cls.__members__.keys()
    elif cls.__bases__ == (tuple,) and hasattr(cls, "_field_defaults"):
        listed = cls._field_defaults.keys()
    else:
        return False
    values = plain_values(cls)
    others = [(name, value) for name, value in vars(cls).items() if name not in listed and name not in values]
    return listed <= values.keys() and not any(_counts(cls, name, value, _is_users) for name, value in others)


def plain_values(cls: type) -> dict[str, Any]:
    """Return the attributes of a class, or members of an Enum, or defaults of fields, that cannot change within."""
    if issubclass(cls, enum.Enum):
        values = {name: member._value_ for name, member in cls.__members__.items()}
    else:
        values = {name: value for name, value in vars(cls).items() if not (name[:2] == name[-2:] == "__")}
        values |= vars(cls).get("_field_defaults", {})
    return {name: value for name, value in values.items() if is_immutable(value)}


def _is_users(function: types.FunctionType) -> bool:
    return not source.is_installed(function.__code__.co_filename)


def _of_fields(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what dataclasses, attrs and NamedTuple have taken out of the body of a class to make it out of."""
    for field in attributes.get("__dataclass_fields__", {}).values():
        if field.default_factory is not dataclasses.MISSING:
            yield f"{field.name}.default_factory", field.default_factory
    for field in attributes.get("__attrs_attrs__", ()):
        factory = getattr(field.default, "factory", None)
        for what, function in (("default", factory), ("validator", field.validator), ("converter", field.converter)):
            if isinstance(function, types.FunctionType | type):
                yield f"{field.name}.{what}", function
    yield "_field_defaults", tuple(attributes.get("_field_defaults", {}).items())


def _counts(cls: type, name: str, value: Any, covers: Covers) -> bool:
    method = getattr(value, "__func__", value)
    function = inspect.unwrap(method)
    if isinstance(function, types.FunctionType):
        return not _is_generated(cls, method, function.__code__) and (name[0] != "_" or covers(function))
    if name.startswith("__") and name.endswith("__"):
        return isinstance(value, property)
    if isinstance(value, _GETTERS) or name == "_abc_impl":
        return False
    if issubclass(cls, enum.Enum):
        return not (name.startswith("_") and name.endswith("_")) and not isinstance(value, enum.property)
    return name != "_field_defaults"


def _is_generated(cls: type, method: object, code: types.CodeType) -> bool:
    """Whether a library made a method for this class, out of what is written in it."""
    qualname = getattr(method, "__qualname__", "")
    if code.co_qualname == qualname or not qualname.startswith(f"{cls.__qualname__}."):
        return False
    return code.co_filename[:1] == "<" or source.is_installed(code.co_filename)


def _foreign_name(value: Any, covers: Covers) -> str | None:
    """Return the name by which another package has this object, if it has one."""
    for module in (getattr(value, "__module__", None), type(value).__module__):
        for name in (getattr(value, "__qualname__", None), getattr(value, "__name__", None)):
            found = sys.modules.get(module) if isinstance(module, str) else None
            if found is not None and isinstance(name, str) and getattr(found, name, ABSENT) is value:
                return None if covers(found) else f"{module}:{name}"
    return None
