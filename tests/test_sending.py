"""Cached functions and caches in other processes: pickled, taken by value, forked."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import cloudpickle
import pytest

from s3memo import Cache, MemoryStore, MemoryTier, S3Store, s3_cached
from s3memo.refreshes import _AT_ONCE, refreshes
from tests.samples import interpreters, jobs

JOBS = Path(jobs.__file__)
PROCESSES = [f"{kind} {method}" for kind in ("pool", "executor") for method in ("fork", "spawn", "forkserver")]
BY_VALUE = ["loky", "elsewhere"]
IMPORTED = "import jobs; jobs.main({ways})"
REGISTERED = "import cloudpickle, jobs; cloudpickle.register_pickle_by_value(jobs); jobs.main({ways})"
NOTEBOOK = """
import linecache
text = open("jobs.py").read()
linecache.cache["<cell 1>"] = len(text), None, text.splitlines(keepends=True), "<cell 1>"
cell = {{"__name__": "cell"}}
exec(compile(text, "<cell 1>", "exec", dont_inherit=True), cell)
cell["main"]({ways})
"""
IN_TEN_MINUTES = 600


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a script in it, and what is said to it by the environment."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scripts" / "jobs.py").write_text(JOBS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("S3MEMO_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("COMPUTED", str(tmp_path / "computed"))
    return tmp_path / "scripts"


@pytest.mark.parametrize(
    ("arguments", "ways"),
    [
        pytest.param(["jobs.py"], [*PROCESSES, *BY_VALUE], id="of a script"),
        pytest.param(["-m", "jobs"], ["pool spawn", *BY_VALUE], id="of a module that is run"),
        pytest.param(["-c", IMPORTED], [*PROCESSES, "loky"], id="of a module that is imported"),
        pytest.param(["-c", REGISTERED], BY_VALUE, id="of a module that goes by value"),
        pytest.param(["-c", NOTEBOOK], BY_VALUE, id="of a notebook"),
    ],
)
def test_a_function_finds_its_results_wherever_it_is_sent(scripts: Path, arguments: list[str], ways: list[str]) -> None:
    in_code = arguments[0] == "-c"
    arguments = ["-c", arguments[1].format(ways=", ".join(map(repr, ways)))] if in_code else [*arguments, *ways]
    answers = json.loads(interpreters.run(*arguments, cwd=scripts))
    by_name = jobs.SENT_BY_NAME
    assert [name for name, _, _ in answers["here"]] == [function.__name__ for function in jobs.SENT_BY_VALUE]
    assert len({key for _, _, key in answers["here"]}) == len(answers["here"]) - 1  # one is another's sibling
    for way in ways:
        expected = answers["here"] if way in BY_VALUE else answers["here"][: len(by_name)]
        assert answers["there"][way] == expected, way
    assert answers["computed"] > len(by_name)
    assert answers["computed again"] == 0


# Pickled, and copied


@s3_cached("memory://sending")
def triple(number: int) -> int:
    return 3 * number


tripled = triple.with_options(ttl="1h")


class Model:
    def __init__(self, bias: int) -> None:
        self.bias = bias

    def __s3memo_key__(self) -> int:
        return self.bias

    @s3_cached("memory://sending")
    def predict(self, number: int) -> int:
        return number + self.bias

    @s3_cached("memory://sending")
    @classmethod
    def name(cls) -> str:
        return cls.__name__

    @s3_cached("memory://sending")
    async def predict_later(self, number: int) -> int:
        return number - self.bias


class Successor(Model):
    def predict(self, number: int) -> int:
        raise AssertionError

    @property
    def inherited(self) -> Callable[[int], int]:
        return super().predict


def local_function(store: object) -> Any:
    @s3_cached(store)  # type: ignore[arg-type]  # whatever the test gives
    def double(number: int) -> int:
        return 2 * number

    return double


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_function_is_the_same_one_and_a_pickled_method_that_of_its_instance(protocol: int) -> None:
    def sent(thing: Any) -> Any:
        return pickle.loads(pickle.dumps(thing, protocol))

    assert sent(triple) is triple
    assert sent(Model(5).predict)(1) == 6
    assert asyncio.run(sent(Model(5).predict_later)(1)) == -4
    assert sent(tripled)(2) == 6
    assert sent(tripled).cache_parameters()["ttl"] == 3600
    assert sent(Model(5).predict.with_options(keep=2)).cache_parameters()["keep"] == 2


def test_a_pickled_method_is_what_it_was_though_its_instance_has_another_of_that_name() -> None:
    assert pickle.loads(pickle.dumps(Successor(5).inherited))(1) == 6
    assert pickle.loads(pickle.dumps(Successor.name))() == "Successor"


def test_a_function_that_pickle_cannot_find_is_refused_as_any_function_is() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"local_function\.<locals>\.double"):
        pickle.dumps(local_function("memory://"))


def test_a_function_goes_by_value_to_where_no_source_is_with_the_name_and_tag_that_it_has(tmp_path: Path) -> None:
    double = local_function(tmp_path)
    assert double(4) == 8
    there = cloudpickle.loads(cloudpickle.dumps(double))
    assert there.__wrapped__.__code__.co_filename == "<dynamic-code>"
    assert there.cache_key(4) == double.cache_key(4)
    assert there(4) == 8
    assert there.cache_info().memory_hits == 1
    assert cloudpickle.loads(cloudpickle.dumps(there)).cache_key(4) == double.cache_key(4)


@pytest.mark.parametrize("function", [triple, tripled, Model.predict_later, local_function(MemoryStore())])
def test_a_copied_function_is_itself(function: Any) -> None:
    assert copy.copy(function) is function
    assert copy.deepcopy({"function": function}) == {"function": function}


def test_a_deeply_copied_method_is_that_of_the_copied_instance() -> None:
    model = Model(5)
    held = copy.deepcopy([model, model.predict, model.predict.with_options(keep=2)])
    held[0].bias = 7
    assert [method(1) for method in held[1:]] == [8, 8]
    assert copy.copy(model.predict)(1) == 6


def test_what_is_imported_where_it_arrives_is_known_by_the_source_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3MEMO_URL", f"file://{tmp_path}/store")
    script = "import pickle, sys, {0}; {1}"
    dump = "from pathlib import Path; Path('sent').write_bytes(pickle.dumps(lib.f)); print(lib.f.cache_key(1).tag)"
    load = "f = pickle.load(open('sent', 'rb')); print(f.cache_key(1).tag); print(f(1))"
    text = "import s3memo\ndef _f(n): return n + {}\nf = s3memo.s3_cached(_f)\n"
    (tmp_path / "lib.py").write_text(text.format(1), encoding="utf-8")
    tag = interpreters.run("-c", script.format("lib", dump), cwd=tmp_path).strip()
    assert interpreters.run("-c", script.format("lib", load), cwd=tmp_path).split() == [tag, "2"]
    (tmp_path / "lib.py").write_text(text.format(10), encoding="utf-8")
    newer, value = interpreters.run("-c", script.format("lib", load), cwd=tmp_path).split()
    assert (newer != tag, value) == (True, "11")


# Caches

ARRIVED = """
import json, pickle, sys
one, other, double = [pickle.load(sys.stdin.buffer) for _ in range(3)]
print(json.dumps([double(4), one is other, one is double._subject.bind()[0], repr(one), double.cache_info().store_hits]))
"""


def test_a_cache_is_one_and_the_same_where_it_arrives_several_times(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "store", memory=MemoryTier(max_entries=3))
    double = local_function(cache)
    assert double(4) == 8
    package = b"".join(map(cloudpickle.dumps, (cache, cache, double)))
    done = subprocess.run([sys.executable, "-c", ARRIVED], input=package, capture_output=True, cwd="/", check=True)
    assert json.loads(done.stdout) == [8, True, True, f"Cache('file://{tmp_path}/store')", 1]
    assert pickle.loads(pickle.dumps(cache)) is copy.deepcopy(cache) is copy.copy(cache) is cache


def test_a_cache_has_the_settings_that_it_had_where_it_came_from(tmp_path: Path) -> None:
    keys = [b"k" * 32, b"l" * 32]
    cache = Cache(
        tmp_path,
        memory=MemoryTier(max_bytes=1000, max_entries=3, revalidate_after=5),
        signing_keys=keys,
        compression="none",
        codec="pickle",
        on_error="raise",
        read_only=True,
        record_arguments=True,
        hooks=[print],
    )
    package = pickle.dumps(cache)
    settings = cache._settings
    del cache
    there = pickle.loads(package)
    assert list(there._settings["signing_keys"]) == keys
    assert {**there._settings, "url_or_store": None} == {**settings, "url_or_store": None}
    assert (there.store.url, there.read_only, there.on_error) == (f"file://{tmp_path}", True, "raise")
    assert pickle.loads(package) is there


@pytest.mark.parametrize("take", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize(
    ("store", "remedy"),
    [
        (MemoryStore("here"), r"cannot pickle <MemoryStore memory://here.*use a directory or a bucket"),
        (
            S3Store("bucket", client=boto3.client("s3", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")),
            r"cannot pickle <S3Store s3://bucket>.*client_options=",
        ),
    ],
    ids=["memory", "client"],
)
def test_a_store_of_this_process_alone_is_not_sent(take: Callable[[Any], bytes], store: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy):
        take(Cache(store))
    with pytest.raises(TypeError, match=remedy):
        cloudpickle.dumps(local_function(store))


def test_the_default_cache_arrives_as_the_place_that_it_is_here(tmp_path: Path) -> None:
    dump = """
import sys, cloudpickle, s3memo
s3memo.configure(url="./here")
def local():
    @s3memo.s3_cached
    def f(n): return n + 1
    return f
f = local()
f(1)
sys.stdout.write(cloudpickle.dumps(f).hex())
"""
    load = "import pickle, sys; f = pickle.loads(bytes.fromhex(sys.argv[1])); f(1); print(f.cache_info().store_hits)"
    package = interpreters.run("-c", dump, cwd=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    assert interpreters.run("-c", load, package, cwd=tmp_path / "elsewhere").strip() == "1"


# Forked

# From 3.12 on Python warns of fork() beside threads: that it does no harm here is what these tests are about.
beside_threads = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
PATIENCE = 30
"""Seconds after which a child counts as hanging."""


def fork_and(action: Callable[[], None]) -> int:
    """Run the action in a forked child, which fails if it fails or hangs; return the child's id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(PATIENCE)
        action()
        status = 0
    except BaseException:  # noqa: BLE001  nothing may leave the child: it would run pytest's remaining tests
        traceback.print_exc()
    finally:
        os._exit(status)


def check(child: int) -> None:
    assert os.waitpid(child, 0)[1] == 0, "the child failed or hung: see its traceback in the captured output"


@pytest.fixture
def held_up(tmp_path: Path) -> Iterator[tuple[Any, threading.Barrier]]:
    """A function that a thread is at work in, which goes on when the barrier is passed; the child has it for itself."""
    barrier = threading.Barrier(2)
    parent = os.getpid()

    @s3_cached(tmp_path, name="double", version=1)
    def double(number: int) -> int:
        if os.getpid() == parent and number == 1:
            barrier.wait(PATIENCE)
            barrier.wait(PATIENCE)
        return 2 * number

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(double, 1)
        barrier.wait(PATIENCE)
        follower = pool.submit(double, 1)
        yield double, barrier
        barrier.wait(PATIENCE)
        assert [leader.result(PATIENCE), follower.result(PATIENCE)] == [2, 2]


@beside_threads
def test_a_child_forked_while_another_thread_computes_computes_for_itself(held_up: tuple[Any, Any]) -> None:
    double, _ = held_up

    def child() -> None:
        assert not double._subject.bind()[0].flights._running
        assert double(1) == 2
        assert double(1) == 2
        assert double.cache_info().memory_hits == 1
        assert [version.dead for version in double.cache_history(1)] == [False]

    check(fork_and(child))


@beside_threads
def test_what_a_child_invalidates_and_clears_is_void_for_it_while_the_parent_goes_on(held_up: tuple[Any, Any]) -> None:
    double, _ = held_up

    def child() -> None:
        double.cache_set(5, 1)
        double.cache_invalidate(1)
        assert double.cache_get(1) is None
        assert double.cache_refresh(1) == 2
        assert double.cache_clear() == 1

    check(fork_and(child))


@beside_threads
def test_a_computation_that_forks_goes_on_in_both(tmp_path: Path) -> None:
    parent, children = os.getpid(), []

    @s3_cached(tmp_path, name="forking", version=1)
    def forking(number: int) -> int:
        assert not children
        children.append(os.fork())
        signal.alarm(0 if children[0] else PATIENCE)
        return number

    try:
        value = forking(1)
        values = value, forking(1), forking.cache_info().memory_hits
        running = forking._subject.bind()[0].flights._running
        assert (values, dict(running)) == ((1, 1, 1), {})  # it has landed
    except BaseException:
        if os.getpid() == parent:
            raise
        traceback.print_exc()
        os._exit(1)
    if os.getpid() != parent:
        os._exit(0)
    check(children[0])


@beside_threads
def test_a_child_knows_of_the_computation_that_it_goes_on_with(tmp_path: Path) -> None:
    children: list[int] = []

    @s3_cached(tmp_path, name="outer", version=1)
    def outer(number: int) -> int:
        def child() -> None:
            (own,) = outer._subject.bind()[0].flights._running[outer.cache_key(number)]
            outer.cache_invalidate(number)
            assert own.detached

        children.append(fork_and(child))
        return number

    assert outer(1) == 1
    check(children[0])


@beside_threads
def test_a_child_has_room_for_refreshes_whatever_its_parent_refreshes(tmp_path: Path) -> None:
    go_on = threading.Event()
    started = threading.Barrier(_AT_ONCE + 1)

    def refresh() -> None:
        started.wait(PATIENCE)
        go_on.wait(PATIENCE)

    for _ in range(_AT_ONCE):
        refreshes.start(refresh)
    started.wait(PATIENCE)
    refused = threading.Event()
    refreshes.start(refused.set)

    def child() -> None:
        refreshed = threading.Event()
        refreshes.start(refreshed.set)
        assert refreshed.wait(PATIENCE)
        refreshes.wait(PATIENCE)

    try:
        check(fork_and(child))
    finally:
        go_on.set()
        refreshes.wait(PATIENCE)
    assert not refused.is_set()


@beside_threads
def test_a_child_has_threads_of_its_own_for_async_functions(tmp_path: Path) -> None:
    children: list[int] = []

    @s3_cached(tmp_path, name="double", version=1)
    async def double(number: int) -> int:
        def child() -> None:
            assert asyncio.run(double(number + 1)) == 2 * (number + 1)
            assert asyncio.run(double(number + 1)) == 2 * (number + 1)

        if number == 1:
            children.append(fork_and(child))
        return 2 * number

    assert asyncio.run(double(1)) == 2
    check(children[0])
    assert asyncio.run(double.cache_get(2)).value == 4


@beside_threads
def test_a_process_forked_in_the_midst_of_everything_goes_on(tmp_path: Path) -> None:
    stop = threading.Event()

    @s3_cached(tmp_path, ttl=0, stale_while_revalidate=IN_TEN_MINUTES)
    def stale(number: int) -> int:
        return 2 * number

    @s3_cached(tmp_path)
    def fresh(number: int) -> int:
        return 3 * number

    def work(seed: int) -> None:
        for number in range(seed, 10**6, 3):
            if stop.is_set():
                return
            assert stale(number % 5) == 2 * (number % 5)
            assert fresh(number) == 3 * number
            fresh.cache_invalidate(number - 1)
            fresh.cache_info()

    def child() -> None:
        assert [stale(number) for number in range(5)] == [0, 2, 4, 6, 8]
        assert [fresh(number) for number in range(8)] == [3 * number for number in range(8)]
        refreshes.wait(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work, seed) for seed in range(3)]
        try:
            for _ in range(10):
                check(fork_and(child))
        finally:
            stop.set()
    for done in working:
        done.result()
    refreshes.wait(PATIENCE)


FORK_AND_OPEN = """
import os, threading
from s3memo import LocalStore
from s3memo.locks import process_lock
from s3memo.stores.sqlite import _forks

def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

forking = threading.Thread(target=fork)
with process_lock:
    forking.start()
    while _forks.entrance.acquire(blocking=False):  # until the fork has it, and waits for process_lock
        _forks.entrance.release()
    LocalStore("store")
forking.join()
"""


def test_a_cache_is_opened_while_another_thread_forks(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK_AND_OPEN], check=True, timeout=PATIENCE, cwd=tmp_path)
