"""How instances of users' classes are stored: the names of the class and its fields, and the fields' values.

An instance is rebuilt by setting its fields; neither `__init__` nor `__post_init__` nor validators run. An instance that
has more than its fields is refused, since the rest would be lost; only values of cached properties are left out.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from enum import Enum, Flag
from functools import cached_property
from types import GetSetDescriptorType, MemberDescriptorType, NoneType
from typing import Any

from s3memo.codec.table import ANY, HEAP_TYPE, PLAIN, Fields, Record, short_repr, type_name

DATACLASS, NAMED_TUPLE, ENUM, ATTRS, PYDANTIC, EXCEPTION = CODES = range(80, 86)

_CLASS = "<class>"  # the name of a part, which no field can have
_MAX_FLAG_BITS = 64  # of a combination of flags, which may include unknown bits
_HASH_OF_ATTRS = "_attrs_cached_hash"
_STATE_OF_PYDANTIC = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


class Instance(Record):
    """How one class's instances are stored. `identity` is their first part, and identifies the class."""

    def __init__(
        self,
        code: int,
        kind: type,
        identity: str,
        fields: Fields,
        *,
        take: Callable[[Any], Iterable[object]],
        build: Callable[..., object],
        mutable: bool,
        trial: bool = False,
    ) -> None:
        super().__init__(
            code,
            kind,
            {_CLASS: (str,), **fields},
            take=lambda value: [identity, *take(value)],
            build=lambda _identity, *parts: build(*parts),
            mutable=mutable,
            trial=trial,
        )
        self.identity = identity


def instance_of(kind: type, name: str) -> Instance | None:
    """Return how a class's instances are stored under a name; None if they cannot be."""
    return next((make(kind, name) for belongs, make in _KINDS if belongs(kind)), None)


def is_storable(kind: type) -> bool:
    """Whether instances of a class can be stored."""
    return any(belongs(kind) for belongs, _ in _KINDS)


def _is_plain(kind: type) -> bool:
    """Whether instances hold nothing but attributes: no base is a built-in type."""
    return all(base is object or base.__flags__ & HEAP_TYPE for base in kind.__mro__)


def _dataclass(kind: Any, name: str) -> Instance:
    names = [field.name for field in dataclasses.fields(kind)]
    return _with_fields(DATACLASS, kind, name, names, frozen=kind.__dataclass_params__.frozen)


def _attrs(kind: Any, name: str) -> Instance:
    names = [field.name for field in kind.__attrs_attrs__]
    frozen = kind.__setattr__ is sys.modules["attr._make"]._frozen_setattrs  # noqa: SLF001  the only mark that all versions of attrs set
    code_of_hash = getattr(kind.__hash__, "__code__", None)
    caches_hash = code_of_hash is not None and _HASH_OF_ATTRS in code_of_hash.co_names
    return _with_fields(ATTRS, kind, name, names, frozen=frozen, reset=(_HASH_OF_ATTRS,) if caches_hash else ())


def _with_fields(
    code: int, kind: type, name: str, names: list[str], *, frozen: bool, reset: tuple[str, ...] = ()
) -> Instance:
    """Return how instances that consist of fields are stored; attributes in `reset` start as None.

    Cached properties make even a frozen instance mutable, since their values can be changed.
    """
    check = _attribute_check(kind, {*names, *reset})
    mutable = not frozen or not _kept_by_properties(kind) <= {*names, *reset}
    set_by_code = [field for field in names if _is_set_by_code(kind, field)]

    def take(value: object) -> list[object]:
        check(value)
        return [getattr(value, field) for field in names]

    def build(*parts: object) -> object:
        if set_by_code:
            raise TypeError(f"code of its class sets its fields {', '.join(set_by_code)}, and must not run again")
        instance: object = object.__new__(kind)
        for field, part in zip(names, parts, strict=True):
            object.__setattr__(instance, field, part)  # a frozen class's own refuses
        for attribute in reset:
            object.__setattr__(instance, attribute, None)
        return instance

    return Instance(
        code,
        kind,
        _identity(name, names),
        dict.fromkeys(names, ANY),
        take=take,
        build=build,
        mutable=mutable,
        trial=bool(set_by_code),
    )


def _is_set_by_code(kind: type, field: str) -> bool:
    """Whether setting a field runs code: the class has a property or other data descriptor of that name."""
    attribute = next((vars(base)[field] for base in kind.__mro__ if field in vars(base)), None)
    return hasattr(type(attribute), "__set__") and not isinstance(attribute, MemberDescriptorType)


def _identity(name: str, fields: Iterable[str]) -> str:
    return f"{name}({', '.join(fields)})"


def _attribute_check(kind: type, fields: Iterable[str]) -> Callable[[object], None]:
    """Return a check that raises TypeError for an instance with attributes besides its fields."""
    known = _kept_by_properties(kind).union(fields)
    slots = [name for base in kind.__mro__ for name in _slots(base) if name not in known]

    def check(value: object) -> None:
        others = getattr(value, "__dict__", {}).keys() - known
        others |= {name for name in slots if hasattr(value, name)}
        if others:
            raise TypeError(f"it has attributes besides its fields: {', '.join(sorted(map(str, others)))}")

    return check


def _kept_by_properties(kind: type) -> set[str]:
    """Return the attributes that hold values of cached properties; for attrs, which uses slots for them, all slots."""
    return {
        name
        for base in kind.__mro__
        for name, attribute in vars(base).items()
        if isinstance(attribute, cached_property) or ("__attrs_attrs__" in vars(base) and name in _slots(base))
    }


def _slots(base: type) -> list[str]:
    """Return the attributes in a class's own `__slots__`."""
    slots = vars(base).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    owner = base.__name__.lstrip("_")
    return [
        f"_{owner}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in {"__dict__", "__weakref__"}
    ]


def _is_named_tuple(kind: Any) -> bool:
    fields = getattr(kind, "_fields", None)
    return issubclass(kind, tuple) and type(fields) is tuple and {str}.issuperset(map(type, fields))


def _named_tuple(kind: Any, name: str) -> Instance:
    check = _attribute_check(kind, ())

    def take(value: Any) -> tuple[object, ...]:
        check(value)
        return tuple(value)

    return Instance(
        NAMED_TUPLE,
        kind,
        _identity(name, kind._fields),
        dict.fromkeys(kind._fields, ANY),
        take=take,
        build=lambda *parts: tuple.__new__(kind, parts),
        mutable=kind.__dictoffset__ != 0,  # with a __dict__, anybody can set attributes
    )


def _enum(kind: Any, name: str) -> Instance:
    def take(value: Any) -> tuple[str | None, object]:
        return (value._name_ if value._name_ in kind._member_map_ else None), value._value_

    def build(member: str | None, value: Any) -> object:
        found = kind._member_map_.get(member) if member is not None else _combination(kind, value)
        if found is None or type(found._value_) is not type(value) or not _is_equal(found._value_, value):
            raise ValueError(f"{type_name(kind)} has no member {member} with the value that was stored")
        return found

    fields: Fields = {"name": (NoneType, str), "value": ANY}
    return Instance(ENUM, kind, name, fields, take=take, build=build, mutable=False, trial=True)


def _is_equal(one: Any, other: Any) -> bool:
    """Whether two values of one type are equal, or both are NaN."""
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124  a test for NaN


def _combination(kind: type, value: Any) -> Any:
    """Return a Flag's unnamed combination with these bits."""
    if issubclass(kind, Flag) and type(value) is int and value.bit_length() <= _MAX_FLAG_BITS:
        return kind(value)
    return None


def is_pydantic(kind: type) -> bool:
    """Whether a class is a pydantic model."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and issubclass(kind, base)


def _pydantic(kind: Any, name: str) -> Instance:
    names = list(kind.model_fields)
    check = _attribute_check(kind, {*names, *_STATE_OF_PYDANTIC})
    takes_extra = kind.model_config.get("extra") == "allow"
    private_names = kind.__private_attributes__.keys()

    def take(value: Any) -> list[object]:
        check(value)
        state = vars(value)
        return [*(state[field] for field in names), *(getattr(value, part, None) for part in _STATE_OF_PYDANTIC)]

    def build(*parts: Any) -> object:
        *values, fields_set, extra, private = parts
        if not takes_extra and extra is not None:
            raise TypeError("it has extra fields, which its class does not allow")
        if not fields_set <= {*names, *(extra or ())} or not (private or {}).keys() <= private_names:
            raise TypeError("its fields or private attributes are not those of its class")
        model = object.__new__(kind)
        object.__setattr__(model, "__dict__", dict(zip(names, values, strict=True)))
        for attribute, part in zip(_STATE_OF_PYDANTIC, (fields_set, extra, private), strict=True):
            object.__setattr__(model, attribute, part)
        return model

    fields: Fields = dict.fromkeys(names, ANY)
    state: Fields = {"model_fields_set": (set,), "model_extra": (NoneType, dict), "<private>": (NoneType, dict)}
    return Instance(PYDANTIC, kind, _identity(name, names), fields | state, take=take, build=build, mutable=True)


def _exception(kind: Any, name: str) -> Instance:
    """Return how an exception is stored: its arguments and attributes, without traceback, cause and context.

    Attributes of its built-in base are stored if the arguments do not set them.
    """
    base = kind
    while base.__flags__ & HEAP_TYPE:
        base = base.__base__
    own = _own_attributes(base)
    slots = [slot for owner in kind.__mro__ for slot in _slots(owner)]

    def take(value: Any) -> tuple[object, ...]:
        if any(hasattr(value, slot) for slot in slots):
            raise TypeError(f"it has attributes in slots: {', '.join(slots)}")
        args = base.__reduce__(value)[1]
        fresh = make(args)
        has = {attribute: getattr(value, attribute, None) for attribute in own}
        others = {name: part for name, part in has.items() if not _is_same(part, getattr(fresh, name, None))}
        return args, vars(value), others

    def make(args: tuple[Any, ...]) -> Any:
        error = base.__new__(kind, *args)
        if type(error) is not kind:
            raise TypeError(f"its arguments make a {type_name(type(error))}")
        base.__init__(error, *args)
        return error

    def build(args: tuple[Any, ...], attributes: dict[Any, Any], others: dict[str, Any]) -> object:
        error = make(args)
        if not others.keys() <= set(own):
            raise TypeError(f"its class has no attributes {short_repr([*others])}")
        vars(error).update(attributes)
        for attribute, value in others.items():
            object.__setattr__(error, attribute, value)
        if isinstance(error, UnicodeError):
            _check_positions(error)
        return error

    fields: Fields = {"args": (tuple,), "__dict__": (dict,), "<attribute>": (dict,)}
    return Instance(EXCEPTION, kind, name, fields, take=take, build=build, mutable=True, trial=True)


def _own_attributes(base: type) -> list[str]:
    """Return the attributes that a built-in exception has in addition to those of every exception."""
    names = {
        name
        for owner in base.__mro__
        if owner not in BaseExceptionGroup.__mro__
        for name, attribute in vars(owner).items()
        if isinstance(attribute, MemberDescriptorType | GetSetDescriptorType) and not name.startswith("__")
    }
    return sorted(names)


def _is_same(one: object, other: object) -> bool:
    """Whether two values are the same, told without running their classes' code."""
    return one is other or (type(one) is type(other) and type(one) in PLAIN and one == other)


def _check_positions(error: Any) -> None:
    """Raise ValueError for a UnicodeError whose positions lie outside its object, which Python does not check."""
    if type(error) is UnicodeError:
        return
    kind = bytes if isinstance(error, UnicodeDecodeError) else str
    if type(error.object) is not kind or not 0 <= error.start <= error.end <= len(error.object):
        raise ValueError("the positions that it names are not in its object")


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Instance]], ...] = (
    (lambda kind: issubclass(kind, BaseException), _exception),
    (lambda kind: issubclass(kind, Enum), _enum),
    (_is_named_tuple, _named_tuple),
    (is_pydantic, _pydantic),
    (lambda kind: "__attrs_attrs__" in vars(kind) and _is_plain(kind), _attrs),
    (lambda kind: "__dataclass_fields__" in vars(kind) and _is_plain(kind), _dataclass),
)
