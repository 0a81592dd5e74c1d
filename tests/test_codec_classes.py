"""Instances of users' classes: they come back as they were, no code of theirs runs, and none is shared that can change."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from collections import namedtuple
from functools import cached_property
from typing import Any, NamedTuple

import attrs
import msgpack
import pytest

from s3memo import codec
from s3memo.codec import Classes, encoder, is_immutable
from s3memo.errors import DecodeError, EncodeError


def classes(*kinds: type) -> Classes:
    return Classes({kind.__name__: kind for kind in kinds})


def returned(value: Any, *others: type) -> Any:
    known = classes(type(value), *others)
    return codec.decode(b"".join(codec.encode(value, known)), known)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int


@dataclasses.dataclass(frozen=True)
class Caching:
    x: int

    @cached_property
    def squares(self) -> list[int]:
        return [self.x**2]


@dataclasses.dataclass(frozen=True)
class CachingBelow(Caching):
    y: int = 2


@attrs.frozen
class FrozenAttrs:
    x: int


@attrs.frozen(cache_hash=True)
class HashedAttrs:
    x: int


@attrs.frozen
class CachingAttrs:
    x: int

    @cached_property
    def squares(self) -> list[int]:
        return [self.x**2]


@attrs.frozen(slots=False)
class CachingAttrsWithoutSlots:
    x: int

    @cached_property
    def squares(self) -> list[int]:
        return [self.x**2]


class Point(NamedTuple):
    x: int


class Subclass(namedtuple("Subclass", "x")):  # noqa: PYI024, SLOT002  it is what users write
    pass


@pytest.mark.parametrize("value", [Frozen(1), FrozenAttrs(1), HashedAttrs(1), Point(1)], ids=repr)
def test_what_is_frozen_is_immutable(value: Any) -> None:
    assert is_immutable(value, classes(type(value)))


@pytest.mark.parametrize(
    "value",
    [Caching(1), CachingBelow(1), CachingAttrs(1), CachingAttrsWithoutSlots(1), Subclass(1)],
)
def test_what_can_keep_more_than_its_fields_is_not_immutable(value: Any) -> None:
    assert returned(value) == value
    assert not is_immutable(value, classes(type(value)))


def test_what_cannot_be_taken_apart_is_not_immutable() -> None:
    value = Point(1)
    unstorable = Frozen(2)
    vars(unstorable)["more"] = 3
    assert not is_immutable((value, unstorable), classes(Point, Frozen))


class Celsius:
    """A field that runs code of its own when it is set."""

    ran = 0

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else vars(instance)[self.name]

    def __set__(self, instance: Any, value: float) -> None:
        Celsius.ran += 1
        vars(instance)[self.name] = value


@dataclasses.dataclass
class Measured:
    degrees: float = Celsius()  # type: ignore[assignment]


def test_a_field_that_code_sets_is_refused_and_the_code_does_not_run() -> None:
    value = Measured(5.0)
    before = Celsius.ran
    with pytest.raises(EncodeError, match="code of its class sets its fields degrees"):
        codec.encode(value, classes(Measured))
    forged = msgpack.packb([msgpack.ExtType(80, b""), "Measured(degrees)", 5.0])
    with pytest.raises(DecodeError, match="code of its class sets its fields degrees"):
        codec.decode(forged, classes(Measured))
    assert Celsius.ran == before


def test_a_part_that_is_refused_in_a_large_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_MANY", 1 << 8)
    part = Frozen(1)
    vars(part)["more"] = 2
    big = [[1, (1,)] for _ in range(1 << 7)]
    with pytest.raises(EncodeError, match="it has attributes besides its fields: more"):
        codec.encode([big, big, [[part]]], classes(Frozen))


class Level(enum.Enum):
    LOW = 1.0
    NONE = float("nan")


@pytest.mark.parametrize("member", Level)
def test_a_member_comes_back_even_if_its_value_differs_from_itself(member: Level) -> None:
    assert returned(member) is member


def _raised(run: Any) -> Exception:
    try:
        run()
    except Exception as error:  # noqa: BLE001  it is what is looked at
        return error.with_traceback(None)
    raise AssertionError


def _with(error: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


EXCEPTIONS = [
    ValueError("x", 1),
    _with(ValueError(), note=1),
    _raised(lambda: (1).missing),  # type: ignore[attr-defined]
    _raised(lambda: missing),  # type: ignore[name-defined]  # noqa: F821
    NameError("x", name="y"),
    ImportError("x", name="y", path="z"),
    _raised(lambda: compile("a b", "file", "exec")),
    _with(SyntaxError("m", ("f", 1, 2, "t", 3, 4)), lineno=77),
    _raised(b"\xff".decode),
    _with(UnicodeDecodeError("utf8", b"a", 0, 1, "r"), reason="other"),
    _with(SystemExit(3), code=5),
    SystemExit(1, 2),
    StopIteration(3),
    OSError(2, "no", "one", None, "two"),
    _with(OSError(2, "no"), strerror="other"),
    ExceptionGroup("g", [ValueError(1)]),
]


@pytest.mark.parametrize("error", EXCEPTIONS, ids=repr)
def test_an_exception_comes_back_with_the_attributes_that_it_has(error: BaseException) -> None:
    back = returned(error, ValueError)
    assert type(back) is type(error)
    names = {name for name in dir(error) if not name.startswith("__")}
    for name in names:
        one, other = getattr(error, name, None), getattr(back, name, None)
        assert callable(one) or repr(one) == repr(other), name
    assert vars(back) == vars(error)
    assert str(back) == str(error)


def test_an_exception_with_an_object_that_cannot_be_stored_names_it() -> None:
    error = _raised(lambda: object().missing)  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match=r"\['obj'\] is of type object"):
        codec.encode(error, classes(AttributeError))


def exception(name: str, *parts: Any) -> bytes:
    args, *rest = parts
    return bytes(msgpack.packb([msgpack.ExtType(85, b""), name, [msgpack.ExtType(1, b""), *args], *rest]))


@pytest.mark.parametrize(
    "parts",
    [
        ((), {}, {"args": [1]}),
        ((), {}, {"__class__": 1}),
        ((), {}, {1: 2}),
        ((), {}),
    ],
    ids=repr,
)
def test_an_exception_has_no_attributes_but_its_own(parts: tuple[Any, ...]) -> None:
    with pytest.raises(DecodeError):
        codec.decode(exception("ValueError", *parts), classes(ValueError))


@pytest.mark.parametrize(
    ("args", "attributes"),
    [
        (("utf8", b"a", -(10**12), 1 - 10**12, "r"), {}),
        (("utf8", b"a", 5, 6, "r"), {}),
        (("utf8", b"a", 0, 1, "r"), {"object": 5}),
        (("utf8", b"a", 0, 1, "r"), {"start": -(10**12), "end": 1 - 10**12}),
    ],
    ids=str,
)
def test_an_error_of_decoding_points_into_its_object(args: Any, attributes: Any) -> None:
    """To print it, Python would read wherever it points to, and end."""
    with pytest.raises(DecodeError):
        codec.decode(exception("UnicodeDecodeError", args, {}, attributes), classes(UnicodeDecodeError))


def test_the_bytes_of_an_exception_do_not_depend_on_the_hash_seed() -> None:
    script = (
        "from s3memo.codec import Classes, encode\n"
        "error = SyntaxError('m', ('f', 1, 2, 't', 3, 4))\n"
        "error.lineno, error.offset, error.text = 7, 8, 'u'\n"
        "print(b''.join(encode(error, Classes({'E': SyntaxError}))).hex())\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
