from __future__ import annotations

import datetime as dt
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.describing import MAX_TEXT, MAX_TOTAL, describe
from s3memo.keys import ArgumentKeys


class Loud:
    """Shows what a description must not ask of an object."""

    shape = property(lambda self: self.fail())
    dtype = shape

    def fail(self) -> Any:
        raise AssertionError("code of the argument's class was run")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = fail


class Nameless:
    __module__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (-7, "-7"),
        (10**100, "int of 333 bits"),
        (10**10_000, "int of 33220 bits"),
        (0.1, "0.1"),
        (1 + 2j, "(1+2j)"),
        ("a'b", '"a\'b"'),
        ("x" * 10**6, "'" + "x" * (MAX_TEXT - 2) + "…"),
        (b"\x00", r"b'\x00'"),
        (dt.date(2026, 11, 1), "datetime.date(2026, 11, 1)"),
        (["secret"], "list of 1"),
        (("secret", 2), "tuple of 2"),
        ({"secret": 1}, "dict of 1"),
        ({1, 2}, "set of 2"),
        (range(10**30), "builtins.range"),
        (Nameless(), "None.Nameless"),
        (np.zeros((3, 4), "f4"), "numpy.ndarray shape (3, 4) dtype float32"),
        (pd.DataFrame({"secret": [1, 2]}), "pandas.DataFrame shape (2, 1)"),
        (pd.DataFrame({"dtype": ["secret"], "shape": ["secret"]}), "pandas.DataFrame shape (1, 2)"),
        (pd.Series([1.5]), "pandas.Series shape (1,) dtype float64"),
        (io.StringIO("secret"), "_io.StringIO"),
        (Loud(), "tests.test_describing.Loud"),
    ],
    ids=range(23),
)
def test_scalars_are_shown_and_of_all_else_the_type_and_extent(value: object, text: str) -> None:
    assert describe({"x": value}) == {"x": text}


@given(st.dictionaries(st.text(max_size=300), st.text() | st.integers() | st.binary() | st.lists(st.none())))
def test_a_description_is_bounded(arguments: dict[str, Any]) -> None:
    described = describe(arguments)
    assert all(len(text) <= MAX_TEXT for text in described.values())
    assert sum(map(len, described)) + sum(map(len, described.values())) < MAX_TOTAL + 30
    assert "…" in described or list(described) == list(arguments)


def test_what_does_not_fit_is_counted() -> None:
    described = describe({f"p{number:02}": "x" * 90 for number in range(20)})
    assert list(described) == [f"p{number:02}" for number in range(10)] + ["…"]
    assert described["…"] == "10 more"


def test_ignored_arguments_are_never_described() -> None:
    def f(a: int, password: str, b: int = 2, *rest: int, **more: str) -> None: ...

    keys = ArgumentKeys(f, ignore=("password", "token"))
    described = keys.described((1, "hunter2"), {"token": "hunter2", "x": "y"})
    assert described == {"a": "1", "b": "2", "rest": "tuple of 0", "more": "dict of 1"}


def test_nothing_is_described_where_key_decides_what_counts() -> None:
    def f(row: dict[str, str]) -> None: ...

    assert ArgumentKeys(f, key=lambda row: row["id"]).described(({"id": "7"},), {}) == {}
