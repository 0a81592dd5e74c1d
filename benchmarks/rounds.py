"""Comparable readings: all sides take turns in rounds, and a ratio is the median of the ratios within a round."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

PROJECT = Path(__file__).parents[1]

Readings = dict[str, list[float]]


def take_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> Readings:
    """Return each side's readings; each round starts with another side."""
    order = [*sides]
    readings: Readings = {name: [] for name in sides}
    for _ in range(rounds):
        for name in order:
            readings[name].append(sides[name]())
        order.append(order.pop(0))
    return readings


def ratio(readings: Readings, side: str, peer: str) -> float:
    """Return the ratio of a side's reading to the peer's: the median over the rounds."""
    return median(mine / other for mine, other in zip(readings[side], readings[peer], strict=True))


def seconds_a_call(function: Callable[[], Any], calls: int) -> float:
    """Return the seconds per call, the loop around it included."""
    started = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - started) / calls


def seconds_of_process(*arguments: str) -> float:
    """Return how long a Python process takes, from its start to its end, in seconds. Raises CalledProcessError."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def told_by_process(module: str, *arguments: str, settings: Mapping[str, Any]) -> Any:
    """Run a module in a process of its own, with settings as JSON on stdin; return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        check=True,
        input=json.dumps(settings),
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)
