"""Batches whose calls are computed in other processes, and drivers that die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import loky
import pytest

from s3memo import Cache, LocalStore
from s3memo.functions import CachedFunction
from tests.batches import noted, notes_of


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where computations are noted, in this process and its children."""
    file = tmp_path / "notes"
    monkeypatch.setenv("BATCH_NOTES", str(file))
    monkeypatch.setenv("S3MEMO_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return file


def on(store: Any) -> CachedFunction[[int], list[int]]:
    return Cache(store).cached(name="batches.noted", version=1)(noted.__wrapped__)


@pytest.fixture(params=["fork", "spawn", "loky"])
def executor(request: pytest.FixtureRequest, notes: Path) -> Iterator[Executor]:
    if request.param == "loky":
        pool: Executor = loky.ProcessPoolExecutor(2)
    else:
        pool = ProcessPoolExecutor(2, mp_context=get_context(request.param))
    with pool:
        yield pool


def plain(x: int) -> list[int]:
    return noted.__wrapped__(x)


@pytest.fixture
def function(tmp_path: Path) -> Any:
    """The function on a store of this test's, as workers find it: by what it is made of."""
    return Cache(LocalStore(tmp_path / "store")).cached(name="batches.noted", version=1)(plain)


def test_workers_compute_and_store(function: Any, executor: Executor, notes: Path, tmp_path: Path) -> None:
    function(3)
    results = function.map([*range(10), 3, 4, -1], executor=executor, return_exceptions=True)
    *values, failure = results
    assert values == [[x, x * x] for x in [*range(10), 3, 4]]
    assert isinstance(failure, ValueError)
    assert Counter(notes_of(notes)) == dict.fromkeys(range(-1, 10), 1)
    progress = results.progress
    assert (progress.done, progress.computed, progress.failed) == (13, 9, 1)
    info = function.cache_info()
    assert info.requests["PUT"] == 1 + 9  # what workers did counts here
    assert info.misses == 1 + 10
    fresh = on(LocalStore(tmp_path / "store"))
    assert list(fresh.map(range(10))) == [[x, x * x] for x in range(10)]
    assert fresh.cache_info().misses == 0


def test_values_may_stay_where_they_are(function: Any, notes: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        entries = list(function.map(range(6), executor=pool, returns="entry"))
        assert [entry.version for entry in entries] == [function.cache_history(x)[0] for x in range(6)]
        assert function.cache_info().requests["GET"] == 0
        assert [entry.value for entry in entries] == [[x, x * x] for x in range(6)]
        assert function.cache_info().requests["GET"] == 6


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_fails_its_call(tmp_path: Path) -> None:
    dying = Cache(LocalStore(tmp_path / "store")).cached(name="die", version=1)(die)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (failure,) = dying.map([1], executor=pool, return_exceptions=True)
    assert isinstance(failure, BrokenProcessPool)


class Unsendable(Exception):  # noqa: N818  it is what it says
    """Cannot be unpickled, for it passes only one of its two arguments on."""

    def __init__(self, why: str, x: int) -> None:
        super().__init__(f"{why} {x}")


def refuse(x: int) -> int:
    if x % 2:
        raise Unsendable("no", x)
    return x


def test_an_error_that_cannot_be_sent_is_told_and_breaks_no_pool(tmp_path: Path) -> None:
    refusing = Cache(LocalStore(tmp_path / "store")).cached(name="refuse", version=1)(refuse)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        even, odd, last = refusing.map([2, 3, 4], executor=pool, return_exceptions=True)
    assert (even, last) == (2, 4)
    with pytest.raises(RuntimeError, match=r"Unsendable: no 3 .*super\(\)"):
        raise odd
    assert "Unsendable" in str(odd.__cause__)  # the traceback of where it was raised
    assert refusing.cache_info().misses == 3
    assert vars(odd) == {}


def driver(count: int, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.batches", str(count), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(tmp_path: Path, count: int) -> set[int]:
    f = on(LocalStore(tmp_path / "store"))
    f.preload()
    return {x for x in range(count) if f.cache_get(x) is not None}


def test_an_interrupt_loses_nothing_that_was_finished(notes: Path, tmp_path: Path) -> None:
    with driver(400, 0.02) as child:
        assert child.stdout is not None
        seen = [child.stdout.readline() for _ in range(20)]
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    assert "done" not in out
    assert len(seen) == 20
    begun = notes_of(notes)
    assert len(begun) < 400
    assert set(begun) == stored(tmp_path, 400)  # those under way ended, and were stored


@pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "raise SystemExit", "break"])
def test_the_end_of_the_interpreter_waits_for_what_runs_alone(notes: Path, end: str) -> None:
    program = f"""
import time
from tests.batches import noted
from s3memo import s3_cached

@s3_cached(name="batches.lasting", version=1)
def lasting(x: int) -> int:
    time.sleep(0.2 * bool(x))
    noted.__wrapped__(x)
    return x

results = lasting.map(range(1000), concurrency=4)
for _ in results:
    {end}
"""
    subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, timeout=60, check=False)
    assert len(notes_of(notes)) <= 1 + 4 + 4  # the first, what ran, and what a slow machine began meanwhile


def test_a_driver_that_is_killed_again_and_again_computes_only_what_is_not_stored(notes: Path, tmp_path: Path) -> None:
    chance, count = random.Random(1), 2000
    done = set[int]()
    for _ in range(20):
        before = len(notes_of(notes))
        with driver(count, 0.0005) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.0, 0.25))
            child.kill()
        assert not done.intersection(notes_of(notes)[before:])
        done = stored(tmp_path, count)
    with driver(count, 0.0) as child:
        out, err = child.communicate(timeout=60)
    assert out.split() == ["ready", *map(str, range(count)), "done"], err
    assert stored(tmp_path, count) == {*range(count)}


@pytest.mark.filterwarnings("ignore")  # of Dask and what it stands on
def test_a_dask_cluster_of_processes_computes_and_stores(function: Any, notes: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="pip install distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        results = function.map([*range(20), 3], executor=client.get_executor())
        assert list(results) == [[x, x * x] for x in [*range(20), 3]]
    assert Counter(notes_of(notes)) == dict.fromkeys(range(20), 1)
    assert function.cache_info().requests["PUT"] == 20
