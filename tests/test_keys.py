from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.errors import KeyDerivationError, SettingsError
from s3memo.keys import ArgumentKeys


def load(day: Any, retries: Any = 3, *more: Any, config: Any = None, **options: Any) -> None: ...


def digest(*args: Any, **kwargs: Any) -> str:
    return ArgumentKeys(load).digest(args, kwargs)


def test_ways_of_passing_the_same_arguments_are_one_call() -> None:
    assert (
        len({digest(1), digest(1, 3), digest(day=1), digest(1, retries=3), digest(retries=3, config=None, day=1)}) == 1
    )


@given(
    st.integers(), st.integers(), st.lists(st.integers()), st.dictionaries(st.text("abxy", min_size=1), st.integers())
)
def test_keywords_in_any_order_are_one_call(day: int, retries: int, more: list[int], options: dict[str, int]) -> None:
    backwards = dict(reversed(options.items()))
    assert digest(day, retries, *more, **options) == digest(day, retries, *more, **backwards)
    if not more:
        assert digest(day, retries, **options) == digest(**backwards, retries=retries, day=day)


def test_different_arguments_are_different_calls() -> None:
    calls = [
        digest(1), digest(2), digest(True), digest(1, 4), digest(1, 3, 5), digest(1, 3, (5,)), digest(1, 3, 5, 6),
        digest(1, config=3), digest(1, x=3), digest(1, y=3), digest(1, x=3, y=3), digest(1, args=3), digest(1, options={}),
    ]  # fmt: skip
    assert len(set(calls)) == len(calls)


def test_a_keyword_named_like_a_positional_parameter_is_another_argument() -> None:
    def positional(a: Any, /, **a_too: Any) -> None: ...

    keys = ArgumentKeys(positional)
    assert keys.digest((1,), {"a": 2}) != keys.digest((2,), {"a": 1})
    ignoring = ArgumentKeys(positional, ignore=["a"])
    assert ignoring.digest((1,), {"a": 2}) == ignoring.digest((5,), {"a": 2})
    assert ignoring.digest((1,), {"a": 2}) != ignoring.digest((1,), {"a": 3})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, r"load\(\): missing a required argument: 'day'"),
        ((1,), {"day": 2}, r"load\(\): multiple values for argument 'day'"),
    ],
)
@pytest.mark.parametrize("key", [None, lambda *_, **__: 1])
def test_a_call_that_does_not_fit_is_a_type_error(args: tuple[Any, ...], kwargs: Any, said: str, key: Any) -> None:
    with pytest.raises(TypeError, match=said) as raised:
        ArgumentKeys(load, key=key).digest(args, kwargs)
    assert not isinstance(raised.value, KeyDerivationError)


def test_ignored_parameters_do_not_count_and_need_no_key() -> None:
    keys = ArgumentKeys(load, ignore=("retries", "verbose"))
    assert keys.digest((1, threading.Lock()), {}) == keys.digest((1,), {"verbose": True})
    assert keys.digest((1,), {"quiet": 1}) != keys.digest((1,), {})
    assert ArgumentKeys(load, ignore=["options", "more"]).digest((1, 3, 4), {"x": 1}) == ArgumentKeys(
        load, ignore=["options", "more"]
    ).digest((1,), {})


def plain(day: Any, retries: int = 3) -> None: ...


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"ignore": ("retires",)},
            "'retires', which is no parameter of plain: .*day, retries. Did you mean 'retries'?",
        ),
        ({"ignore": ("x",)}, r"its parameters are day, retries\.?$"),
        ({"ignore": "retries"}, r"ignore=\('retries',\)"),
        ({"ignore": 3}, "tuple or list of names"),
        ({"ignore": (3,)}, "as strings"),
        ({"key": 3}, "key=3 is not callable"),
        ({"key": len, "ignore": ("day",)}, "key= or ignore=, not both"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        ArgumentKeys(plain, **options)


def test_a_function_that_hides_its_parameters_is_refused() -> None:
    with pytest.raises(SettingsError, match="a function of your own"):
        ArgumentKeys(min)
    ArgumentKeys(len)


def test_key_replaces_the_arguments() -> None:
    keys = ArgumentKeys(plain, key=lambda day, retries=3: day % 10)
    assert keys.digest((11,), {}) == keys.digest((1, 5), {}) == keys.digest((), {"day": 21})
    assert keys.digest((2,), {}) != keys.digest((1,), {})


def test_what_key_raises_is_the_callers_to_see() -> None:
    with pytest.raises(ZeroDivisionError):
        ArgumentKeys(plain, key=lambda day: 1 / day).digest((0,), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((object(),), {}, r"load\(\): no key can be made of day, of type object\. .*ignore=\('day',\)"),
        ((1,), {"config": {"model": [1, 2, 3, object()]}}, r"of config\['model'\]\[3\], .*ignore=\('config',\)"),
        ((1, 2, 3, object()), {}, r"of more\[1\], .*ignore=\('more',\)"),
        ((1,), {"x": object()}, r"of options\['x'\], .*ignore=\('options',\)"),
    ],
)
def test_an_argument_without_a_key_is_named_with_what_helps(args: tuple[Any, ...], kwargs: Any, said: str) -> None:
    with pytest.raises(KeyDerivationError, match=said):
        digest(*args, **kwargs)


def test_a_key_function_is_told_to_return_something_simpler() -> None:
    keys = ArgumentKeys(plain, key=lambda day: [object()])
    with pytest.raises(KeyDerivationError, match=r"of key\(\)\[0\], of type object.*something simpler"):
        keys.digest((1,), {})


def test_a_method_can_ignore_self() -> None:
    class Service:
        def load(self, day: int) -> None: ...

    with pytest.raises(KeyDerivationError, match=r"of self, .*Service.*ignore=\('self',\)"):
        ArgumentKeys(Service.load).digest((Service(), 1), {})
    keys = ArgumentKeys(Service.load, ignore=("self",))
    assert keys.digest((Service(), 1), {}) == keys.digest((Service(),), {"day": 1})


def test_a_wrapper_is_bound_by_its_own_signature() -> None:
    def inner(x: int, y: int = 5) -> None: ...

    @functools.wraps(inner)
    def wrapper(x: int, y: int = 2) -> None:
        inner(x, y)

    keys = ArgumentKeys(wrapper)
    assert keys.digest((1,), {}) == keys.digest((1, 2), {}) != keys.digest((1, 5), {})
