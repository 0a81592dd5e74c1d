"""How an instance of a user's class is stored: its class's name with those of its fields, and the fields' values.

It is rebuilt as it was: the fields are set, and neither `__init__` nor `__post_init__` nor a validator runs. What is not
in its fields would be lost, so an instance that has more is refused; only what a cached property keeps is left out.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from enum import Enum, Flag
from functools import cached_property
from types import NoneType
from typing import Any

from s3memo.codec.table import ANY, Fields, Record, type_name

DATACLASS, NAMED_TUPLE, ENUM, ATTRS, PYDANTIC, EXCEPTION = CODES = range(80, 86)

_CLASS = "<class>"  # the name of a part; no field has it
_MADE_BY_CLASS_STATEMENT = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_MAX_FLAG_BITS = 64  # of a combination of flags, which may have bits that no member has
_HASH_OF_ATTRS = "_attrs_cached_hash"
_STATE_OF_PYDANTIC = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


class Instance(Record):
    """How one class's instances are stored. `identity` is their first part, and tells the class from every other."""

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
    """Return how instances of a class are stored under a name; None for a class of no kind that can be."""
    return next((make(kind, name) for belongs, make in _KINDS if belongs(kind)), None)


def is_storable(kind: type) -> bool:
    """Whether a class is of a kind whose instances can be stored."""
    return any(belongs(kind) for belongs, _ in _KINDS)


def _is_plain(kind: type) -> bool:
    """Whether all that an instance holds are its attributes: none of its bases is a built-in with a value of its own."""
    return all(base is object or base.__flags__ & _MADE_BY_CLASS_STATEMENT for base in kind.__mro__)


def _dataclass(kind: Any, name: str) -> Instance:
    names = [field.name for field in dataclasses.fields(kind)]
    return _with_fields(DATACLASS, kind, name, names, mutable=not kind.__dataclass_params__.frozen)


def _attrs(kind: Any, name: str) -> Instance:
    names = [field.name for field in kind.__attrs_attrs__]
    mutable = kind.__setattr__ is not sys.modules["attr._make"]._frozen_setattrs  # noqa: SLF001  attrs has no other mark that all its versions set
    code_of_hash = getattr(kind.__hash__, "__code__", None)
    caches_hash = code_of_hash is not None and _HASH_OF_ATTRS in code_of_hash.co_names
    return _with_fields(ATTRS, kind, name, names, mutable=mutable, reset=(_HASH_OF_ATTRS,) if caches_hash else ())


def _with_fields(
    code: int, kind: type, name: str, names: list[str], *, mutable: bool, reset: tuple[str, ...] = ()
) -> Instance:
    """Return how a class whose instances are their fields is stored; `reset` attributes begin as None."""
    check = _attribute_check(kind, {*names, *reset})

    def take(value: object) -> list[object]:
        check(value)
        return [getattr(value, field) for field in names]

    def build(*parts: object) -> object:
        instance: object = object.__new__(kind)
        for field, part in zip(names, parts, strict=True):
            object.__setattr__(instance, field, part)  # a frozen class's own refuses
        for attribute in reset:
            object.__setattr__(instance, attribute, None)
        return instance

    return Instance(
        code, kind, _identity(name, names), dict.fromkeys(names, ANY), take=take, build=build, mutable=mutable
    )


def _identity(name: str, fields: Iterable[str]) -> str:
    return f"{name}({', '.join(fields)})"


def _attribute_check(kind: type, fields: Iterable[str]) -> Callable[[object], None]:
    """Return what raises TypeError for an instance that has attributes besides its fields."""
    names = set(fields)
    derived = {
        name
        for base in kind.__mro__
        for name, attribute in vars(base).items()
        if isinstance(attribute, cached_property) or ("__attrs_attrs__" in vars(base) and name in _slots(base))
    }
    known = names | derived
    slots = [name for base in kind.__mro__ for name in _slots(base) if name not in known]

    def check(value: object) -> None:
        others = getattr(value, "__dict__", {}).keys() - known
        others |= {name for name in slots if hasattr(value, name)}
        if others:
            raise TypeError(f"it has attributes besides its fields: {', '.join(sorted(map(str, others)))}")

    return check


def _slots(base: type) -> list[str]:
    """Return the attributes for which a class itself has slots."""
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
        mutable=False,
    )


def _enum(kind: Any, name: str) -> Instance:
    def take(value: Any) -> tuple[str | None, object]:
        return (value._name_ if value._name_ in kind._member_map_ else None), value._value_

    def build(member: str | None, value: Any) -> object:
        found = kind._member_map_.get(member) if member is not None else _combination(kind, value)
        if found is None or type(found._value_) is not type(value) or found._value_ != value:
            raise ValueError(f"{type_name(kind)} has no member {member} with the value that was stored")
        return found

    fields: Fields = {"name": (NoneType, str), "value": ANY}
    return Instance(ENUM, kind, name, fields, take=take, build=build, mutable=False, trial=True)


def _combination(kind: type, value: Any) -> Any:
    """Return the member of a Flag that has these bits and no name of its own."""
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
    """Return how an exception is stored: as its arguments and attributes, without traceback, cause and context."""
    base = kind
    while base.__flags__ & _MADE_BY_CLASS_STATEMENT:
        base = base.__base__
    own = ("name", "path") if issubclass(base, ImportError) else ()  # which are not in its __dict__
    slots = [slot for owner in kind.__mro__ for slot in _slots(owner)]

    def take(value: Any) -> tuple[object, ...]:
        if any(hasattr(value, slot) for slot in slots):
            raise TypeError(f"it has attributes in slots: {', '.join(slots)}")
        return base.__reduce__(value)[1], vars(value), *(getattr(value, attribute) for attribute in own)

    def build(args: tuple[Any, ...], attributes: dict[Any, Any], *own_values: object) -> object:
        error = base.__new__(kind, *args)
        if type(error) is not kind:
            raise TypeError(f"its arguments make a {type_name(type(error))}")
        base.__init__(error, *args)
        vars(error).update(attributes)
        for attribute, value in zip(own, own_values, strict=True):
            object.__setattr__(error, attribute, value)
        return error

    fields: Fields = {"args": (tuple,), "__dict__": (dict,)} | dict.fromkeys(own, ANY)
    return Instance(EXCEPTION, kind, name, fields, take=take, build=build, mutable=True, trial=True)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], Instance]], ...] = (
    (lambda kind: issubclass(kind, BaseException), _exception),
    (lambda kind: issubclass(kind, Enum), _enum),
    (_is_named_tuple, _named_tuple),
    (is_pydantic, _pydantic),
    (lambda kind: "__attrs_attrs__" in vars(kind) and _is_plain(kind), _attrs),
    (lambda kind: "__dataclass_fields__" in vars(kind) and _is_plain(kind), _dataclass),
)
