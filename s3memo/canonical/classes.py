"""Instances of classes that declare their fields, and of those that say their own key."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable
from functools import cached_property
from types import BuiltinFunctionType, MemberDescriptorType
from typing import Any

from s3memo.canonical.form import is_exact
from s3memo.canonical.registry import Fields, Reduce, ReductionError, add_family, find_exact
from s3memo.codec.instances import is_pydantic
from s3memo.codec.table import HEAP_TYPE, type_name


def _extends_known(kind: type) -> bool:
    return any(is_exact(base) or find_exact(base) for base in kind.__mro__)


def _is_own_dataclass(kind: type) -> bool:
    """Whether fields are all there is: an undecorated subclass, or one of a known type, may hold more."""
    return "__dataclass_fields__" in vars(kind) and not _extends_known(kind)


def _dataclass(value: Any) -> Fields:
    return _all_there_is(value, [field.name for field in dataclasses.fields(value)])


def _all_there_is(value: Any, names: Iterable[str]) -> Fields:
    """Return these attributes. Raises TypeError if there are others, except for cached properties."""
    fields = Fields((name, getattr(value, name)) for name in names)
    others = getattr(value, "__dict__", {}).keys() - fields.keys()
    if not all(isinstance(getattr(type(value), name, None), cached_property) for name in others):
        raise TypeError("it has attributes besides its fields")
    for base in type(value).__mro__:
        if _is_made_in_c(base):
            raise TypeError(f"it extends {type_name(base)}, and may hold more than its fields")
        if any(hasattr(value, name) for name in _slots(base) - fields.keys()):
            raise TypeError("it has attributes besides its fields")
    return fields


def _is_made_in_c(base: type) -> bool:
    """Whether instances may hold data that no attribute shows; pickle uses the same criteria."""
    new = base.__new__
    has_own_new = isinstance(new, BuiltinFunctionType) and new.__self__ is base
    return base is not object and (has_own_new or not base.__flags__ & HEAP_TYPE)


def _slots(base: type) -> set[str]:
    """Return the attributes in a class's own slots; for attrs none, since its slots are fields and caches."""
    attributes = vars(base)
    if "__slots__" not in attributes or "__attrs_attrs__" in attributes:
        return set()
    return {name for name, slot in attributes.items() if isinstance(slot, MemberDescriptorType)}


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def _named_tuple(value: Any) -> Fields:
    if getattr(value, "__dict__", None):
        raise TypeError("it has attributes besides its fields")
    return Fields(zip(value._fields, tuple(value), strict=True))


def _member(value: Any) -> Fields:
    """Reduce an Enum's member to name and value: a Flag's combination may have no name, and code may read the value."""
    return Fields(name=value._name_, value=value._value_)


def _is_own_attrs(kind: type) -> bool:
    return "__attrs_attrs__" in vars(kind) and not _extends_known(kind)


def _attrs(value: Any) -> Fields:
    return _all_there_is(value, [field.name for field in type(value).__attrs_attrs__])


def _pydantic(value: Any) -> Fields:
    """Reduce a model; which fields were set counts too, since `exclude_unset` shows it."""
    fields = type(value).__pydantic_fields__
    parts = _all_there_is(value, [*fields, *_OF_PYDANTIC.values()])
    return Fields(
        {part: parts[name] for part, name in _OF_PYDANTIC.items()}, fields={name: parts[name] for name in fields}
    )


_OF_PYDANTIC = {
    "extra": "__pydantic_extra__",
    "private": "__pydantic_private__",
    "fields_set": "__pydantic_fields_set__",
}


def _of_one_class(reduce: Reduce) -> Reduce:
    """Refuse classes made in a function, which may make many of one name."""

    def checked(value: Any) -> Any:
        if "<locals>" in type(value).__qualname__:
            name = type_name(type(value))
            raise ReductionError(
                f"of the class {name}, made in a function that may make others like it: define it outside"
            )
        return reduce(value)

    return checked


def _says_its_key(kind: type) -> bool:
    return hasattr(kind, "__s3memo_key__") and any("__s3memo_key__" in vars(base) for base in kind.__mro__)


_FAMILIES: tuple[tuple[Callable[[type], bool], str, Reduce], ...] = (
    (_says_its_key, "object", lambda value: value.__s3memo_key__()),
    (lambda kind: issubclass(kind, enum.Enum), "enum", _of_one_class(_member)),
    (_is_own_dataclass, "dataclass", _of_one_class(_dataclass)),
    (_is_named_tuple, "namedtuple", _of_one_class(_named_tuple)),
    (_is_own_attrs, "attrs", _of_one_class(_attrs)),
    (is_pydantic, "pydantic", _of_one_class(_pydantic)),
)

for _belongs, _tag, _reduce in _FAMILIES:
    add_family(_belongs, _tag, _reduce)
