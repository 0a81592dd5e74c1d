"""Reductions of type expressions, such as `list[int]` or a TypeVar, that a program uses as values."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, Optional, Union, get_args, get_origin

from s3memo.canonical import Fields, Reduce, qualified_name


def _alias(alias: Any) -> Fields:
    return Fields(origin=get_origin(alias), args=get_args(alias))


def _annotated(alias: Any) -> Fields:
    return Fields(origin=alias.__origin__, metadata=alias.__metadata__)  # get_origin of it differs between versions


def _variable(variable: Any) -> Fields:
    names = ("__bound__", "__constraints__", "__covariant__", "__contravariant__")
    return Fields({"name": variable.__name__, **{name: getattr(variable, name) for name in names}})


def _new_type(kind: Any) -> Fields:
    return Fields(name=qualified_name(kind), supertype=kind.__supertype__)


REDUCTIONS: dict[type, tuple[str, Reduce]] = {
    types.GenericAlias: ("generic", _alias),
    types.UnionType: ("union", _alias),
    **{
        type(alias): (f"typing {type(alias).__name__}", _alias)
        for alias in (
            typing.List[int],  # noqa: UP006  its type differs from that of list[int]
            typing.Callable[[int], int],
            Optional[int],  # noqa: UP045  as above
            Literal[1],
            typing.Concatenate[int, ...],
        )
    },
    type(typing.Annotated[int, 1]): ("Annotated", _annotated),
    type(Union): ("special form", lambda form: form._name),  # noqa: SLF001  it has no other
    type(Literal): ("typed special form", lambda form: form._name),  # noqa: SLF001  as above
    typing.ForwardRef: ("forward reference", lambda reference: reference.__forward_arg__),
    typing.TypeVar: ("TypeVar", _variable),
    typing.ParamSpec: ("ParamSpec", lambda variable: variable.__name__),
    typing.TypeVarTuple: ("TypeVarTuple", lambda variable: variable.__name__),
    typing.NewType: ("NewType", _new_type),
}
if alias_type := getattr(typing, "TypeAliasType", None):  # from Python 3.12 on
    REDUCTIONS[alias_type] = "type alias", lambda alias: Fields(name=alias.__name__, value=alias.__value__)
