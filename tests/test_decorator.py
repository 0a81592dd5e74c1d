"""`@s3_cached` as its users meet it: how it is put on a function, what it leaves of it, what it refuses."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import operator
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from s3memo import Cache, KeyDerivationError, MemoryStore, S3Store, SettingsError, s3_cached
from s3memo.decorator import Options


def test_bare_with_options_with_a_url_a_path_a_store_and_a_cache(tmp_path: Path) -> None:
    cache = Cache(MemoryStore())

    def double(number: int) -> int:
        return 2 * number

    for decorate in (
        s3_cached(f"file://{tmp_path}/url"),
        s3_cached(tmp_path / "path"),
        s3_cached(str(tmp_path / "string"), ttl="6h"),
        s3_cached(MemoryStore()),
        s3_cached(cache, name="cache"),
        cache.cached,
        cache.cached(ttl=60, name="own"),
    ):
        function = decorate(double)
        assert function(2) == function(number=2) == 4
        assert function.cache_info().misses == 1
    assert (tmp_path / "url").is_dir()


def test_the_function_keeps_its_looks() -> None:
    @s3_cached(MemoryStore(), ttl="1h")
    def documented(number: int, *, scale: float = 1.0) -> float:
        """Scale a number."""
        return number * scale

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Scale a number."
    assert str(inspect.signature(documented)) == "(number: 'int', *, scale: 'float' = 1.0) -> 'float'"
    assert documented.__wrapped__(2, scale=3.0) == 6.0
    assert documented.cache_parameters()["ttl"] == 3600.0
    assert repr(documented).startswith("<s3_cached tests.test_decorator.")


def test_equal_calls_are_one_however_they_are_written() -> None:
    @s3_cached(MemoryStore())
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add.cache_key(1) == add.cache_key(1, 2) == add.cache_key(b=2, a=1)
    assert str(add.cache_key(1)) == str(add.cache_key(1, 2))
    assert len({add.cache_key(1), add.cache_key(1.0), add.cache_key(True), add.cache_key("1")}) == 4  # type: ignore[arg-type]


def test_key_and_ignore_choose_what_tells_calls_apart() -> None:
    store = MemoryStore()

    @s3_cached(store, ignore=["verbose"])
    def quiet(number: int, verbose: bool = False) -> int:
        return number

    @s3_cached(store, key=lambda row: row["id"])
    def by_id(row: dict[str, Any]) -> int:
        return len(row)

    assert quiet.cache_key(1) == quiet.cache_key(1, verbose=True)
    assert by_id.cache_key({"id": 1, "x": object()}) == by_id.cache_key({"id": 1})


def test_another_key_function_is_another_tag() -> None:
    store = MemoryStore()

    def pair(a: int, b: int = 0) -> tuple[int, int]:
        return a, b

    first = s3_cached(store, key=lambda a, b: a)(pair)
    second = s3_cached(store, key=lambda a, b: b)(pair)
    assert first(1, 2) == (1, 2)
    assert second(3, 1) == (3, 1)
    assert s3_cached(store, key=operator.itemgetter(0))(pair).cache_key((1, 2))


def test_defaults_count_where_the_key_function_does_not_see_them() -> None:
    def with_default(number: int) -> Any:
        def pair(a: int, b: int = number) -> tuple[int, int]:
            return a, b

        return s3_cached(store, key=lambda a: a)(pair)

    store = MemoryStore()
    assert [with_default(number)(1) for number in (1, 2)] == [(1, 1), (1, 2)]


def test_attributes_that_another_decorator_left_are_kept_but_replace_none_of_ours() -> None:
    def function(number: int) -> int:
        return number

    function.cache_key = "theirs"  # type: ignore[attr-defined]
    function.note = "kept"  # type: ignore[attr-defined]
    cached = s3_cached(MemoryStore())(function)
    assert cached(1) == 1
    assert cached.note == "kept"  # type: ignore[attr-defined]


def test_an_argument_that_cannot_be_keyed_is_an_error_that_says_what_helps() -> None:
    @s3_cached(MemoryStore())
    def load(connection: object) -> None: ...

    with pytest.raises(KeyDerivationError, match=r"connection.*object.*ignore=\('connection',\)"):
        load(object())


def test_a_call_that_does_not_fit_is_the_functions_own_type_error() -> None:
    @s3_cached(MemoryStore())
    def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(TypeError, match="'b'"):
        add(1)  # type: ignore[call-arg]


def test_a_method_is_bound_and_its_instance_is_keyed_or_ignored() -> None:
    class Loader:
        @s3_cached(MemoryStore(), ignore=("self",))
        def load(self, name: str) -> str:
            return name * 2

    assert Loader().load("ab") == Loader().load("ab") == "abab"
    assert Loader.load.cache_info().hits == 1


class Model:
    """A fitted model: what it learned tells its calls apart."""

    def __init__(self, bias: int) -> None:
        self.bias = bias

    def __s3memo_key__(self) -> int:
        return self.bias

    @s3_cached("memory://models")
    def predict(self, number: int = 1) -> int:
        return number + self.bias

    @staticmethod
    @s3_cached("memory://models")
    def double(number: int) -> int:
        return 2 * number


def test_every_cache_name_of_a_method_is_about_its_instance() -> None:
    model = Model(10)
    assert model.predict(3) == 13
    assert model.predict.cache_key(3) == Model.predict.cache_key(model, 3) != Model(20).predict.cache_key(3)
    entry = model.predict.cache_get(3)
    assert entry is not None
    assert entry.value == 13
    model.predict.cache_set(99, 3)
    assert (model.predict(3), model.predict(), Model(20).predict(3)) == (99, 11, 23)
    assert model.predict.cache_refresh(3) == 13
    model.predict.cache_invalidate(3)
    assert model.predict.cache_get(3) is None
    assert [version.dead for version in model.predict.cache_history(3)] == [True]
    assert model.predict.cache_info() == Model.predict.cache_info()
    assert model.double(4) == Model.double(4) == 8


@s3_cached("memory://pickled")
def triple(number: int) -> int:
    return 3 * number


# From 3.12 on Python warns of fork() beside threads: that it does no harm here is what these tests are about.
beside_threads = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@beside_threads
def test_cached_functions_and_methods_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(triple)) is triple
    assert copy.deepcopy(triple) is triple
    bound = pickle.loads(pickle.dumps(Model(5).predict))
    assert bound(1) == 6
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(triple, [1, 2])) == [3, 6]


@beside_threads
def test_a_child_forked_while_the_memory_is_in_use_goes_on() -> None:
    triple(1)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            triple(1)
            triple.cache_info()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = multiprocessing.get_context("fork").Process(target=triple, args=(1,))
            child.start()
            child.join(30)
            exit_code = child.exitcode
            child.kill()
            assert exit_code == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_functions_on_one_store_share_one_memory() -> None:
    store = MemoryStore()
    one = s3_cached(store, name="shared", version=1)(triple.__wrapped__)
    other = s3_cached(store, name="shared", version=1)(triple.__wrapped__)
    one(1)
    assert other(1) == 3
    assert other.cache_info().memory_hits == 1


def test_the_options_in_force_are_told() -> None:
    def function(number: int) -> int:
        return number

    options = {"ttl": "1m", "name": "f", "version": 1, "keep": 2, "on_error": "raise", "ignore": ("number",)}
    parameters = s3_cached(MemoryStore(), **options)(function).cache_parameters()
    assert parameters == {
        **options,
        "ttl": 60.0,
        "code": "source",
        "depends": (),
        "key": None,
        "types": (),
        "copy": True,
        "fleet": False,
        "stale_while_revalidate": 0.0,
        "stale_if_error": 0.0,
        "cache_if": None,
        "cache_exceptions": {},
    }


def test_the_options_of_cached_are_those_of_s3_cached() -> None:
    parameters = inspect.signature(s3_cached).parameters
    assert set(Options.__annotations__) == set(parameters) - {"cache"}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"memory": 5}, "memory=5"), ({"hooks": print}, r"hooks=\["), ({"compression": "gzip"}, "'auto' or 'none'")],
)
def test_a_cache_of_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Cache(MemoryStore(), **options)


def test_a_program_that_misconfigures_its_store_is_told_and_not_failed_open() -> None:
    function = s3_cached(S3Store("bucket", client_options={"regionname": "x"}))(triple.__wrapped__)
    with pytest.raises(SettingsError, match="regionname"):
        function(1)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [(generator, "generator"), (async_generator, "generator")],
)
def test_what_returns_no_plain_result_is_refused_at_decoration(function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        s3_cached(MemoryStore())(function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ttl": "soon"}, "ttl='soon'"),
        ({"ttl": -1}, "ttl=-1"),
        ({"ttl": True}, "ttl=True"),
        ({"keep": 0}, "keep=0"),
        ({"keep": 1.5}, r"keep=1\.5"),
        ({"on_error": "ignore"}, "'compute' or 'raise'"),
        ({"code": "bytes"}, "'source'"),
        ({"version": ""}, "version=''"),
        ({"depends": "helper"}, "depends='helper'"),
        ({"name": ""}, "name=''"),
        ({"ignore": ["numbr"]}, "number"),
        ({"version": 1}, "give name="),
    ],
)
def test_a_wrong_option_is_refused_at_decoration(options: dict[str, Any], message: str) -> None:
    def function(number: int) -> int:
        return number

    with pytest.raises(SettingsError, match=message):
        s3_cached(MemoryStore(), **options)(function)


@pytest.mark.parametrize("cache", ["bucket", "http://bucket", "s3://", 5, "file://host/dir", "memory://a/b"])
def test_what_names_no_store_is_refused_at_decoration(cache: Any) -> None:
    with pytest.raises(SettingsError, match=r"names no store|give a function"):
        s3_cached(cache)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(SettingsError, match="no function"):
        s3_cached(MemoryStore())(5)  # type: ignore[arg-type]


def test_a_misspelt_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="tll"):
        s3_cached(tll=5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="tll"):
        Cache(MemoryStore()).cached(tll=5)  # type: ignore[call-overload]


def test_changed_code_is_another_tag_and_the_old_one_hits_again(tmp_path: Path) -> None:
    script = tmp_path / "job.py"

    def run(body: str) -> str:
        script.write_text(
            textwrap.dedent(
                f"""
                from s3memo import s3_cached

                @s3_cached({str(tmp_path / "store")!r})
                def load(number):
                    return {body}

                print(load(20), load.cache_info().misses)
                """
            )
        )
        return subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout.strip()

    assert run("number + 1") == "21 1"
    assert run("number + 1  # the same code") == "21 0"
    assert run("number + 2") == "22 1"
    assert run("number + 1") == "21 0"


def test_closures_are_told_apart_by_what_they_hold_now() -> None:
    store = MemoryStore()

    def make(factor: int) -> tuple[Any, Any]:
        def change(new: int) -> None:
            nonlocal factor
            factor = new

        @s3_cached(store)
        def scale(number: int) -> int:
            return number * factor

        return scale, change

    (double, change), (triple, _) = make(2), make(3)
    assert (double(5), triple(5)) == (10, 15)
    change(7)
    assert double(5) == 35
    change(2)
    assert double(5) == 10
    assert double.cache_info()[:2] == (1, 2)


def test_cached_functions_may_call_themselves_and_be_arguments_and_dependencies() -> None:
    store = MemoryStore()

    def make() -> Any:
        @s3_cached(store)
        def factorial(number: int) -> int:
            return 1 if number < 2 else number * factorial(number - 1)

        return factorial

    @s3_cached(store)
    def apply(function: Any, number: int) -> Any:
        return function(number)

    @s3_cached(store, depends=(apply, 3))
    def twice(number: int) -> int:
        return 2 * number

    factorial = make()
    assert factorial(5) == 120
    assert factorial.cache_info()[:2] == (0, 5)
    assert apply(factorial, 4) == 24
    assert make()(5) == 120
    assert twice(2) == 4


def test_a_constant_it_depends_on_may_change() -> None:
    table = {"rate": 2}

    @s3_cached(MemoryStore(), depends=(table,), name="rated")
    def rated(number: int) -> int:
        return number

    before = rated.cache_key(1)
    table["rate"] = 3
    assert rated.cache_key(1) != before


def test_disabled_functions_run_as_if_not_decorated(tmp_path: Path) -> None:
    code = f"""
from s3memo import disabled, s3_cached

@s3_cached({str(tmp_path)!r})
def load(thing):
    return thing

with disabled():
    load(object())
    load.cache_refresh(object())
load(1)
print(load.cache_info().misses)
"""
    plain = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert plain.stdout.strip() == "1", plain.stderr
    disabled = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env={"S3MEMO_DISABLED": "1"}
    )
    assert disabled.stdout.strip() == "0", disabled.stderr


def test_without_a_url_the_embedded_store_is_used_with_one_warning(tmp_path: Path) -> None:
    code = """
from s3memo import Cache, s3_cached

@s3_cached
def one(number): return number

@s3_cached
def other(number): return number

one(1), other(1), Cache()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert done.stderr.count("S3MEMO_URL") == 1
    assert list(tmp_path.glob("s3memo/*.db"))


def test_settings_of_the_environment_and_of_configure(tmp_path: Path) -> None:
    code = """
import sys
from s3memo import SettingsError, configure, s3_cached

@s3_cached
def load(number): return number

if len(sys.argv) > 1:
    configure(url=sys.argv[1])
load(1)
try:
    configure(url="memory://")
except SettingsError as error:
    print(error)
"""

    def run(*arguments: str, url: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={"S3MEMO_URL": url, "HOME": str(tmp_path)},
        )
        assert not done.stderr
        return done.stdout

    assert "too late" in run(url=f"file://{tmp_path}/environment")
    assert (tmp_path / "environment").is_dir()
    run(str(tmp_path / "configured"), url=f"file://{tmp_path}/unused")
    assert (tmp_path / "configured").is_dir()
    assert not (tmp_path / "unused").exists()
