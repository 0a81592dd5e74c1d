"""`s3memo doctor`: tries a store, and tells what works there and how to mend the rest."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer
from rich.table import Table
from rich.text import Text

from s3memo.cli.bucket import read_settings
from s3memo.cli.diagnosis import SERVICES, Diagnosis, Level, diagnose
from s3memo.cli.examination import Examination, Facts
from s3memo.cli.place import UrlArgument, location_of
from s3memo.cli.plain import plain
from s3memo.cli.screen import JsonDocument, print_json, screen
from s3memo.settings import Location
from s3memo.stores import open_store
from s3memo.stores.base import Store
from s3memo.stores.s3 import S3Store, folder_of

_STYLES: dict[Level, str] = {"ok": "green", "note": "dim", "warning": "yellow", "problem": "bold red"}

_KILLED = 128
"""What a shell adds to a signal's number to make the exit code."""


def doctor(*, url: UrlArgument = None, as_json: JsonDocument = False) -> None:
    """Check a store, and say what works there.

    Writes some small objects below v1/probe/ and deletes them again; touches nothing else. About 130 requests.

    Example: s3memo doctor s3://bucket/prefix
    """
    diagnosis = diagnose(examine(location_of(url)))
    if as_json:
        print_json(diagnosis.as_json())
    else:
        _show(diagnosis)
    raise typer.Exit(1 if diagnosis.broken["memo"] else 0)


def examine(location: Location) -> Facts:
    """Return the facts about a store; clean up even if interrupted."""
    store = open_store(location)
    examination = Examination(store, _another(store, location))
    with _interrupted_once():
        try:
            examination.run()
        finally:
            examination.clean_up()
    facts = examination.facts
    if location.scheme in {"s3", "s3+obstore"} and facts.seconds:
        facts.bucket = read_settings(S3Store(location.root, location.prefix), folder_of(location.prefix))
    return facts


def _another(store: Store, location: Location) -> Store:
    """Return the same store with its own connections; a store in memory is itself."""
    return store if location.scheme == "memory" else open_store(location)


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let a first SIGINT or SIGTERM end the block, and ignore later ones so that the clean-up is done."""

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(_KILLED + number)

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(diagnosis: Diagnosis) -> None:
    console = screen()
    console.print(f"Examined {plain(diagnosis.url)}\n", soft_wrap=True)
    findings = _table()
    for level, subject, text, remedy, _ in diagnosis.findings:
        cell = Text(plain(text))
        if remedy:
            cell.append(f"\n→ {plain(remedy)}")
        findings.add_row(Text(level, style=_STYLES[level]), subject, cell)
    console.print(findings)
    if diagnosis.latencies:
        console.print("\nMilliseconds", _latencies(diagnosis), sep="\n")
    console.print("\nWhat works here", _verdict(diagnosis), sep="\n")


def _latencies(diagnosis: Diagnosis) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in next(iter(diagnosis.latencies.values())):
        table.add_column(name, justify="right")
    for kind, percentiles in diagnosis.latencies.items():
        table.add_row(kind, *(f"{milliseconds:.2f}" for milliseconds in percentiles.values()))
    return table


def _verdict(diagnosis: Diagnosis) -> Table:
    table = _table()
    for service, what in SERVICES.items():
        subjects = diagnosis.broken[service]
        word = Text("broken", style="bold red") if subjects else Text("works", style="green")
        table.add_row(word, service, what + (f": see {', '.join(subjects)}" if subjects else ""))
    return table


def _table() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table
