"""Which classes a return annotation leads to."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NewType

import attr
import pytest

from s3memo.annotations import returned_classes

Named = NewType("Named", "Item")


@dataclass
class Item:
    x: int = 1


@attr.s
class Classic:
    item = attr.ib(type=Item)


@attr.s
class ClassicInWords:
    item = attr.ib(type="list[Item]")  # type: ignore[call-overload]


@attr.s
class Inheriting(Classic):
    pass


def leads_to(hint: object, kind: type) -> bool:
    def f() -> Any: ...

    f.__annotations__["return"] = hint
    return returned_classes(f, ()).by_kind(kind) is not None


@pytest.mark.parametrize(
    "hint",
    [Named, "Named | None", list["Named"], Classic, ClassicInWords, Inheriting, "dict[str, Inheriting]"],
    ids=str,
)
def test_names_of_types_and_fields_of_attrs_are_followed(hint: object) -> None:
    assert leads_to(hint, Item)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is from Python 3.12 on")
@pytest.mark.parametrize(
    "meaning", ["list[Item]", '"list[Item]"', 'list["Item"]', '"Later"', "list[Alias] | Item", "Absent", '"Absent"']
)
def test_what_a_type_statement_stands_for_is_found_in_its_module(meaning: str) -> None:
    names: dict[str, Any] = {"__name__": __name__, "Item": Item}
    exec(f"type Alias = {meaning}", names)
    assert leads_to(names["Alias"], Item) == ("Absent" not in meaning)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is from Python 3.12 on")
def test_a_type_statement_with_parameters_is_followed_to_what_it_is_given() -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec('type Alias[T] = dict["T", "Item"]', names)
    assert leads_to(names["Alias"][int], Item)


Later = Item
