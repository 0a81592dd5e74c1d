"""Wrong hits that other caches were reported for: each is two calls that must not be taken for one, or must."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from s3memo import MemoryStore, fingerprint, s3_cached
from s3memo.keys import digest_of
from tests.samples import interpreters


def closure(n: int) -> Callable[[], int]:
    return lambda: n


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (("a b", "c"), ("a", "b c")),
        ((1, (True,)), (1, (1,))),
        ({"a": 1}, {"a": True}),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (closure(1), closure(2)),
        (lambda x: x + 1, lambda x: x + 2),
        (np.zeros(100_000), np.r_[np.zeros(50_000), 1, np.zeros(49_999)]),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 3]})),
    ],
)
def test_these_are_two_calls(one: Any, other: Any) -> None:
    assert digest_of(one) != digest_of(other)


def test_equal_strings_are_one_whether_they_are_one_object_or_two() -> None:
    text = "a long text"
    again = f"{text} "[:-1]
    assert digest_of([text, text]) == digest_of([text, again])


def test_two_slices_of_an_array_count_by_their_content() -> None:
    whole = np.array([1.0, 2.0, 1.0, 2.0, 3.0, 4.0])
    assert digest_of(whole[:2]) == digest_of(whole[2:4]) != digest_of(whole[4:])


def test_equal_frames_are_one_however_they_were_made() -> None:
    built = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    column_by_column = pd.DataFrame({"a": [1.0, 2.0]})
    column_by_column["b"] = [3.0, 4.0]
    sliced = pd.DataFrame({"x": [0.0, 0.0], "a": [1.0, 2.0], "b": [3.0, 4.0]})[["a", "b"]]
    assert digest_of(built) == digest_of(column_by_column) == digest_of(sliced)


def test_an_address_that_is_used_again_is_another_value() -> None:
    digests = set()
    for number in range(100):
        digests.add(digest_of([number]))  # each list may well lie where the last one lay
    assert len(digests) == 100


def test_a_set_of_strings_is_one_under_every_hash_seed() -> None:
    program = "from s3memo.keys import digest_of; print(digest_of(frozenset({'a', 'b', 'c', 'd', 'e'})))"
    assert len({interpreters.run("-c", program, seed=seed) for seed in range(4)}) == 1


def test_lambdas_on_one_line_are_two_functions() -> None:
    store = MemoryStore()
    one, other = (s3_cached(store)(function) for function in (lambda x: x + 1, lambda x: x * 10))
    assert (one(5), other(5)) == (6, 50)


def test_two_closures_of_one_factory_are_two_functions() -> None:
    store = MemoryStore()

    def make(n: int) -> Callable[[int], int]:
        @s3_cached(store)
        def add(x: int) -> int:
            return x + n

        return add

    assert (make(1)(5), make(2)(5), make(1)(5)) == (6, 7, 6)


def test_two_scripts_that_both_define_load_are_two_functions(tmp_path: Path) -> None:
    keys = []
    for name, result in (("first.py", 1), ("second.py", 2)):
        script = tmp_path / name
        script.write_text(
            "from s3memo import MemoryStore, s3_cached\n\n@s3_cached(MemoryStore())\n"
            f"def load(x):\n    return {result}\n\nprint(load.cache_key(1))\n"
        )
        keys.append(interpreters.run(script).strip())
    assert keys[0].startswith("first.load/")
    assert keys[1].startswith("second.load/")


def test_two_cells_of_a_notebook_that_define_one_name_are_two_functions() -> None:
    import linecache  # noqa: PLC0415  as a notebook registers its cells

    tags = []
    for number, body in enumerate(("x + 1", "x + 2")):
        filename, source = f"<cell-{number}>", f"def load(x):\n    return {body}\n"
        linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(source, filename, "exec"), namespace)
        tags.append(fingerprint.tag_of(namespace["load"]))
    assert tags[0] != tags[1]
