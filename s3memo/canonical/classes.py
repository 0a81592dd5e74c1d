"""Instances of classes that say what they consist of, whoever wrote the class."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from s3memo.canonical.form import is_exact
from s3memo.canonical.registry import Fields, Reduce, add_family, find_exact


def _is_own_dataclass(kind: type) -> bool:
    """Whether the fields are all: a subclass that is not decorated, or of a known type, may hold more."""
    known = any(is_exact(base) or find_exact(base) for base in kind.__mro__)
    return "__dataclass_fields__" in vars(kind) and not known


def _dataclass(value: Any) -> Fields:
    return _all_there_is(value, [field.name for field in dataclasses.fields(value)])


def _all_there_is(value: Any, names: Iterable[str]) -> Fields:
    """Return the attributes of these names, if there are no others but what is computed from them."""
    fields = Fields((name, getattr(value, name)) for name in names)
    others = getattr(value, "__dict__", {}).keys() - fields.keys()
    if not all(isinstance(getattr(type(value), name, None), cached_property) for name in others):
        raise TypeError("it has attributes besides its fields")
    return fields


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def _named_tuple(value: Any) -> Fields:
    if getattr(value, "__dict__", None):
        raise TypeError("it has attributes besides its fields")
    return Fields(zip(value._fields, tuple(value), strict=True))


def _member(value: Any) -> Fields:
    """An Enum's member: the name of a Flag's combination may be None, and code that reads the value sees it change."""
    return Fields(name=value._name_, value=value._value_)


def _is_own_attrs(kind: type) -> bool:
    return "__attrs_attrs__" in vars(kind)


def _attrs(value: Any) -> Fields:
    return _all_there_is(value, [field.name for field in type(value).__attrs_attrs__])


def _is_pydantic(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def _pydantic(value: Any) -> Fields:
    """A model: which of its fields were set counts too, for `exclude_unset` shows it."""
    return Fields(
        fields={name: getattr(value, name) for name in type(value).__pydantic_fields__},
        extra=value.__pydantic_extra__,
        private=value.__pydantic_private__,
        fields_set=value.__pydantic_fields_set__,
    )


_FAMILIES: tuple[tuple[Callable[[type], bool], str, Reduce], ...] = (
    (lambda kind: hasattr(kind, "__s3memo_key__"), "object", lambda value: value.__s3memo_key__()),
    (lambda kind: issubclass(kind, enum.Enum), "enum", _member),
    (_is_own_dataclass, "dataclass", _dataclass),
    (_is_named_tuple, "namedtuple", _named_tuple),
    (_is_own_attrs, "attrs", _attrs),
    (_is_pydantic, "pydantic", _pydantic),
)

for _belongs, _tag, _reduce in _FAMILIES:
    add_family(_belongs, _tag, _reduce)
