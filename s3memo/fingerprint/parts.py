"""The parts of classes and of module-level values on which code may depend."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import logging
import sys
import threading
import types
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from s3memo.canonical import Fields, is_exact
from s3memo.codec import is_immutable
from s3memo.fingerprint import source
from s3memo.fingerprint.watch import ABSENT

Covers = Callable[[Any], bool]

_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)
_GETTERS = (types.MemberDescriptorType, types.GetSetDescriptorType, type(vars(namedtuple("_", "field"))["field"]))  # noqa: PYI024  for the type
_SLOTS = (types.MethodDescriptorType, types.WrapperDescriptorType)
_DATACLASS_OPTIONS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_FIELD_OPTIONS = ("init", "repr", "hash", "compare", "kw_only")
_ATTRS_OPTIONS = ("init", "repr", "eq", "eq_key", "order", "order_key", "hash", "kw_only", "alias")
_MADE = frozenset(  # what Python or typing add to a class, or what only concerns its text
    {
        "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__",
        "__callable_proto_members_only__", "__class_vars__", "__classcell__", "__classdictcell__", "__dict__", "__doc__",
        "__firstlineno__", "__match_args__", "__module__", "__mutable_keys__", "__non_callable_proto_members__",
        "__optional_keys__", "__orig_bases__", "__parameters__", "__private_attributes__", "__protocol_attrs__",
        "__qualname__", "__readonly_keys__", "__required_keys__", "__signature__", "__slotnames__", "__slots__",
        "__static_attributes__",
        "__total__", "__type_params__", "__weakref__", "_abc_impl", "_field_defaults",
    }
)  # fmt: skip
_MADE_BY = ("__attrs_", "__dataclass_", "__pydantic_")


def stand_in(value: Any, covers: Covers) -> Any:
    """Return what counts of the value of a name: mostly the value itself.

    Loggers, locks, and bare objects used as marks count by their kind; objects of another package by their name.
    """
    kind = type(value)
    # What is typing.Annotated is a class in some versions of Python.
    if is_exact(kind) or (isinstance(value, types.FunctionType | type) and value is not Annotated):
        return value
    if isinstance(value, types.ModuleType):
        return value if covers(value) else Fields(module=value.__name__)
    if kind is object or isinstance(value, (logging.Logger, logging.LoggerAdapter, *_LOCKS)):
        return Fields(kind=kind if covers(kind) else f"{kind.__module__}.{kind.__qualname__}")
    name = None if covers(kind) else _foreign_name(value, covers)
    return value if name is None else Fields(name=name)


def of_class(cls: type, attributes: Mapping[str, Any], covers: Covers) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a class besides its source: bases, metaclass, methods, values of attributes, and fields.

    What a library generated from these is left out.
    """
    yield "__bases__", cls.__bases__
    if covers(type(cls)):
        yield "__class__", type(cls)
    members = cls.__members__ if issubclass(cls, enum.Enum) else {}
    yield "__members__", tuple((name, member._value_) for name, member in members.items())
    yield from _of_fields(attributes)
    for name, value in attributes.items():
        if name not in members and _counts(cls, name, value, covers):
            yield name, value


def is_only_names(cls: type, covers: Covers) -> bool:
    """Whether a class has names and values but no code, as `namedtuple("Point", "x y")` makes it."""
    if issubclass(cls, enum.Enum):
        listed = cls.__members__.keys()
    elif cls.__bases__ == (tuple,) and hasattr(cls, "_field_defaults"):
        listed = cls._field_defaults.keys()
    else:
        return False
    others = [(name, value) for name, value in vars(cls).items() if name not in listed]
    return not any(_counts(cls, name, value, covers) and not is_immutable(value) for name, value in others)


def _of_fields(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields that libraries made from the body of a class."""
    yield "_field_defaults", tuple(attributes.get("_field_defaults", {}).items())
    if parameters := attributes.get("__dataclass_params__"):
        yield "__dataclass_params__", tuple(getattr(parameters, option) for option in _DATACLASS_OPTIONS)
    for name, field in attributes.get("__dataclass_fields__", {}).items():
        yield f"{name}.options", tuple(getattr(field, option) for option in _FIELD_OPTIONS)
        for part in ("default", "default_factory", "metadata"):
            if getattr(field, part) is not dataclasses.MISSING:
                yield f"{name}.{part}", getattr(field, part)
    for field in attributes.get("__attrs_attrs__", ()):
        yield f"{field.name}.options", tuple(getattr(field, option) for option in _ATTRS_OPTIONS)
        yield f"{field.name}.default", getattr(field.default, "factory", field.default)
        yield f"{field.name}.converter", getattr(field.converter, "converter", field.converter)
        yield f"{field.name}.validator", field.validator
        yield f"{field.name}.metadata", field.metadata
    yield from _of_pydantic_fields(attributes)


def _of_pydantic_fields(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind in ("__pydantic_fields__", "__private_attributes__"):
        for name, field in attributes.get(kind, {}).items():
            for part in ("default", "default_factory"):
                value = getattr(field, part)
                if type(value).__name__ != "PydanticUndefinedType":
                    yield f"{name}.{part}", value


def _counts(cls: type, name: str, value: Any, covers: Covers) -> bool:
    method = getattr(value, "__func__", value)
    function = inspect.unwrap(method)
    if isinstance(function, types.FunctionType):
        return not _is_generated(cls, method, function.__code__) and (name[0] != "_" or covers(function))
    if name in _MADE or name.startswith(_MADE_BY) or isinstance(value, _GETTERS):
        return False
    if issubclass(cls, enum.Enum):
        own = name[:1] != "_" or name[-1:] != "_" or (name[:2] == "__" and not isinstance(value, _SLOTS))
        return own and not isinstance(value, enum.property)
    return True


def _is_generated(cls: type, method: object, code: types.CodeType) -> bool:
    """Whether a library generated a method for this class."""
    qualname = getattr(method, "__qualname__", "")
    if code.co_qualname == qualname or not qualname.startswith(f"{cls.__qualname__}."):
        return False
    return code.co_filename[:1] == "<" or source.is_installed(code.co_filename)


def _foreign_name(value: Any, covers: Covers) -> str | None:
    """Return the name under which another package's module has this object, or None."""
    for module in (getattr(value, "__module__", None), type(value).__module__):
        for name in (getattr(value, "__qualname__", None), getattr(value, "__name__", None)):
            found = sys.modules.get(module) if isinstance(module, str) else None
            if found is not None and isinstance(name, str) and getattr(found, name, ABSENT) is value:
                return None if covers(found) else f"{module}:{name}"
    return None
