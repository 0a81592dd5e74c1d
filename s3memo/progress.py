"""How far a batch is, shown while it runs: a bar on a terminal, a few plain lines elsewhere, and one line at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from s3memo.errors import SettingsError
from s3memo.windows import Progress

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar
except ModuleNotFoundError as error:
    raise SettingsError("progress=True needs rich: pip install 's3memo[cli]'") from error

_LINES = 10
"""So many lines are printed where no bar can be drawn and the number of calls is known."""

_LINE_SECONDS = 10.0
"""Seconds between the lines if it is not."""


@contextmanager
def showing(
    progress: Progress,
    function: str,
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[], None]]:
    """Show how far a batch of a function's calls is, on standard error; yield what to call when that has changed."""
    console = console or Console(stderr=True, markup=False, emoji=False, highlight=False)
    begun = clock()
    if console.is_interactive:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[tail]}")
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task(function, total=progress.total, tail="")

            def draw() -> None:
                bar.update(task, completed=progress.done, tail=_tail(progress, clock() - begun))

            yield draw
    else:
        yield _Lines(progress, function, console, clock).update
    console.print(f"{function}: {_counts(progress)} in {_duration(clock() - begun)}")


class _Lines:
    """Prints a line now and then."""

    def __init__(self, progress: Progress, function: str, console: Console, clock: Callable[[], float]) -> None:
        self._progress = progress
        self._function = function
        self._console = console
        self._clock = clock
        self._begun = self._printed_at = clock()
        self._printed = 0

    def update(self) -> None:
        progress = self._progress
        now = self._clock()
        if progress.total:
            is_due = progress.done * _LINES // progress.total > self._printed * _LINES // progress.total
        else:
            is_due = now - self._printed_at >= _LINE_SECONDS
        if is_due:
            self._printed, self._printed_at = progress.done, now
            total = f" of {progress.total:,}" if progress.total else ""
            tail = _tail(progress, now - self._begun)
            self._console.print(f"{self._function}: {progress.done:,}{total}, {tail}", soft_wrap=True)


def _tail(progress: Progress, seconds: float) -> str:
    left = _seconds_left(progress, seconds)
    parts = [_counts(progress), "" if left is None else f"{_duration(left)} left"]
    return ", ".join(filter(None, parts))


def _counts(progress: Progress) -> str:
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    saved = f", {_duration(progress.seconds_saved)} saved" if progress.hits else ""
    return f"{progress.hits:,} stored, {progress.computed:,} computed{failed}{saved}"


def _seconds_left(progress: Progress, seconds: float) -> float | None:
    """Return how long what is left will take if it goes on as it went so far, None if that is not known."""
    if progress.total is None or not progress.done or progress.done >= progress.total:
        return None
    return seconds / progress.done * (progress.total - progress.done)


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
