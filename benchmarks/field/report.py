"""Results as a table, as JSON, and as plots; the table is also written between two marks in documents."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

from benchmarks.field.contest import Outcome, Target
from benchmarks.rounds import PROJECT, ratio

mpl.use("svg")
import matplotlib.pyplot as plt

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PACKAGES = (
    "s3memo", "boto3", "botocore", "obstore", "cachetools", "cachebox", "cachier", "diskcache", "dogpile.cache", "joblib",
    "numpy",
)  # fmt: skip
METHOD = (
    "All sides of a contest take turns in rounds, and each round starts with another side. A figure is the median of the "
    "rounds (minimum to maximum beside it); a ratio is the median of the ratios within a round. Every result is checked. "
    "Clients of boto3 that are not s3memo's own have 32 connections, and s3memo's checksum setting for hits and misses."
)
_SCALES = {"s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))}


def surroundings() -> dict[str, Any]:
    """Return the circumstances that the numbers depend on."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ":")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, {platform.machine()}",
        "processor": cpu.partition(":")[2].strip(),
        "processors": os.cpu_count(),
        "versions": {name: version(name) for name in PACKAGES},
        "method": METHOD,
    }


def shown(reading: float, unit: str) -> str:
    """Return a reading in a suitable unit."""
    if unit not in _SCALES:
        return f"{reading:,.0f} {unit if reading != 1 else unit.removesuffix('s')}"
    factor, name = next(((factor, name) for factor, name in _SCALES[unit] if reading >= factor), _SCALES[unit][-1])
    return f"{reading / factor:.3g} {name}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the table of all targets, met and missed."""
    lines = ["| | compared with | ratio | target | |", "|---|---|--:|--:|---|"]
    for outcome in outcomes:
        for target, found, is_met in outcome.verdicts():
            title = f"{outcome.contest.title}: {target.contestant}"
            lines.append(
                f"| {title} | {target.peer} | {found:.2f} | {_asked(target)} | {'met' if is_met else '**missed**'} |"
            )
    return "\n".join(lines)


def table(outcome: Outcome) -> str:
    """Return the table of one contest; ratios are to raw boto3, or else to the first contestant."""
    names = [each.name for each in outcome.contest.contestants]
    base = next((name for name in names if name.startswith("raw boto3")), names[0])
    lines = [
        f"### {outcome.contest.title}\n",
        f"| | median | min to max | ratio to {base} | what it lacks, or sends |",
        "|---|--:|--:|--:|---|",
    ]
    for each in outcome.contest.contestants:
        readings = outcome.readings[each.name]
        low, mid, high = (shown(how(readings), outcome.contest.unit) for how in (min, median, max))
        times = ratio(outcome.readings, each.name, base)
        lines.append(f"| {each.name} | {mid} | {low} to {high} | {times:.2f} | {each.lacks} |")
    return "\n".join(lines)


def as_json(outcomes: Sequence[Outcome], around: dict[str, Any]) -> str:
    """Return all readings as JSON."""
    contests = [
        {
            "name": outcome.contest.name,
            "title": outcome.contest.title,
            "unit": outcome.contest.unit,
            "readings": outcome.readings,
            "lacks": {each.name: each.lacks for each in outcome.contest.contestants},
            "targets": [
                {"contestant": t.contestant, "peer": t.peer, "at_most": t.at_most, "found": found, "met": is_met}
                for t, found, is_met in outcome.verdicts()
            ],
        }
        for outcome in outcomes
    ]
    return json.dumps({**around, "contests": contests}, indent=1, ensure_ascii=False) + "\n"


def write(outcomes: Sequence[Outcome], around: dict[str, Any], out: Path) -> None:
    """Write results.json, table.md and a plot of each contest."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(as_json(outcomes, around))
    (out / "table.md").write_text(f"{whole(outcomes, around)}\n")
    for outcome in outcomes:
        _plot(outcome, out / f"{outcome.contest.name}.svg")


def whole(outcomes: Sequence[Outcome], around: dict[str, Any], plots: str = "") -> str:
    """Return the circumstances, the targets and all tables; `plots` is the folder to include plots from."""
    return "\n\n".join(
        [_told(around), around["method"], summary(outcomes)]
        + [f"{table(each)}\n\n![{each.contest.title}]({plots}{each.contest.name}.svg)" for each in outcomes]
    )


def publish(outcomes: Sequence[Outcome], around: dict[str, Any]) -> None:
    """Replace the text between the marks in docs/performance.md and README.md."""
    told = f"{_told(around)}\n\n{summary(outcomes)}"
    for path, text in (("docs/performance.md", whole(outcomes, around, "benchmarks/")), ("README.md", told)):
        document = PROJECT / path
        before, _, rest = document.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _told(around: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in around["versions"].items())
    return (
        f"{around['server']}; Python {around['python']}, {around['processors']} processors ({around['processor']}), "
        f"{around['system']}; up to {around['rounds']} rounds. {versions}."
    )


def _asked(target: Target) -> str:
    return f"≤ {target.at_most:.2f}"


def _plot(outcome: Outcome, path: Path) -> None:
    names = [each.name for each in outcome.contest.contestants][::-1]
    mids = [median(outcome.readings[name]) for name in names]
    low = [max(0, mid - min(outcome.readings[name])) for name, mid in zip(names, mids, strict=True)]
    high = [max(outcome.readings[name]) - mid for name, mid in zip(names, mids, strict=True)]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.4 * len(names)), layout="constrained")
    colors = ["#2a6f97" if name.startswith("s3memo") else "#a0a0a0" for name in names]
    axes.barh(names, mids, xerr=[low, high], color=colors, ecolor="#404040", capsize=2)
    if outcome.contest.unit != "requests":
        axes.set_xscale("log")
    units = {"s": "seconds", "bytes": "bytes", "requests": "requests"}
    axes.set(title=outcome.contest.title, xlabel=f"{units[outcome.contest.unit]}, less is better")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
