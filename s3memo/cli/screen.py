"""What commands print: data on stdout, as tables or JSON; messages and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import accumulate
from typing import IO, Annotated, Any, TypeVar

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from s3memo.cli.plain import plain

T = TypeVar("T")

JsonDocument = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON document a line, as they are found.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

NARROW = 80
"""Columns; narrower terminals get only the most important columns of a table."""

_UNBROKEN = 10_000  # columns
_LEAST = 10
"""Columns that the first column of a table may take, however narrow the terminal."""

_GAP = 2
_SECONDS_BETWEEN_FRAMES = 0.1
_UNITS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0))


def screen(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr that prints text literally and breaks no lines in a pipe."""
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not _is_terminal(console.file) and "COLUMNS" not in os.environ:
        console.width = _UNBROKEN
    return console


def _is_terminal(stream: IO[str] | None) -> bool:
    """Whether it really is a terminal: rich also takes FORCE_COLOR for one."""
    return stream is not None and stream.isatty()


def say(message: str) -> None:
    """Print a message on stderr."""
    screen(stderr=True).print(plain(message), soft_wrap=True)


def print_json(document: Any) -> None:
    """Print a document on one line of stdout."""
    typer.echo(json.dumps(document))


def table(columns: Mapping[str, bool], rows: Iterable[tuple[str, ...]], *, title: str = "") -> Table:
    """Return a table; `columns` maps each name to whether it holds numbers.

    The first column is wrapped if need be; the last ones are left out if they do not fit.
    """
    cells = [tuple(columns), *rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    widths[0] = min(widths[0], _LEAST)
    ends = accumulate(width + _GAP for width in widths)
    fitting = max(1, sum(end - _GAP <= screen().width for end in ends))
    made = titled(title)
    for place, (name, is_number) in enumerate([*columns.items()][:fitting]):
        made.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=place > 0)
    for row in cells[1:]:
        made.add_row(*row[:fitting])
    return made


def facts(rows: Mapping[str, str], *, title: str = "") -> Table:
    """Return a table of names and texts, without those whose text is empty."""
    made = titled(title)
    made.show_header = False
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, text in rows.items():
        if text:
            made.add_row(name, plain(text))
    return made


def titled(title: str) -> Table:
    """Return an empty table in our style."""
    return Table(title=title or None, title_style="bold", title_justify="left", box=None, pad_edge=False)


def moment(when: datetime) -> str:
    """Return a time as text."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Return a number of bytes as text: "1.5 MB"."""
    return decimal(count)


def span(seconds: float) -> str:
    """Return a duration as short text: "7.1 s", "15 min", "3 h", "12 d"."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004  three characters either way


class Watch:
    """Counts items as they pass, and shows the count now and then."""

    def __init__(self, show: Callable[[int], None] | None) -> None:
        self._show = show
        self._count = 0
        self._shown_at = 0.0

    def tick(self) -> None:
        """Count one more."""
        self._count += 1
        now = time.monotonic()
        if self._show is not None and now - self._shown_at >= _SECONDS_BETWEEN_FRAMES:
            self._shown_at = now
            self._show(self._count)

    def __call__(self, things: Iterable[T]) -> Iterable[T]:
        """Return the same items, counted as they are taken."""
        return things if self._show is None else self._counted(things)

    def _counted(self, things: Iterable[T]) -> Iterator[T]:
        for thing in things:
            self.tick()
            yield thing


@contextmanager
def watching(what: str, *, streams: bool = False) -> Iterator[Watch]:
    """Yield a counter that shows on stderr if that is a terminal; with `streams` only if stdout is not one too."""
    console = screen(stderr=True)
    if not (console.is_interactive and _is_terminal(sys.stderr)) or (streams and _is_terminal(sys.stdout)):
        yield Watch(None)
        return
    with console.status("") as status:
        yield Watch(lambda count: status.update(f"{count:,} {what}"))


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation. Exits with 2 without a terminal to ask on, with 1 if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        say(f"s3memo: {question} There is no terminal to ask on: give --yes")
        raise typer.Exit(2)
    screen(stderr=True).print(f"{question} [y/N] ", end="", soft_wrap=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:  # typer.confirm takes an interrupt for "no"
        say("Nothing was done.")
        raise typer.Exit(1)
