"""A batch's progress: a bar on a terminal, elsewhere a few plain lines; and a summary at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from s3memo.events import price
from s3memo.windows import Progress

if TYPE_CHECKING:
    from rich.console import Console

_LINES = 10
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_FRAMES = 0.1
_NARROW = 100  # columns; narrower terminals have no room for the bar
_RECENT = 100  # items from which the share of computed ones is estimated


@contextmanager
def showing(
    total: int | None, function: str, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback that shows the progress of a function's batch on stderr; print a summary at the end.

    It starts no thread, so executors may fork meanwhile. Raises ModuleNotFoundError without the extra "cli".
    """
    console = console or _stderr()
    started = clock()
    estimate = Estimate(started)
    latest: Progress | None = None

    def update(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        now = clock()
        estimate.observe(progress, now)
        tell(progress, now)

    try:
        with (_bar if console.is_interactive else _lines)(total, function, console, estimate) as tell:
            yield update
    finally:
        if latest is not None:
            line = summary(latest, total, clock() - started)
            console.print(f"{function}: {line}", soft_wrap=True)


class Estimate:
    """Estimates how long a batch still takes, from its computed items only, since hits are quick.

    The time per computed item is the time that passed until computed items came, divided by their number, so it already
    accounts for all workers. How many are to come follows from their share of the latest items.
    """

    def __init__(self, now: float) -> None:
        self._seen_at = now
        self._done = 0
        self._computed = 0
        self._seconds = 0.0
        self._share = 0.0

    def observe(self, progress: Progress, now: float) -> None:
        """Note the progress at a moment."""
        computed = progress.computed + progress.failed
        done, more = progress.done - self._done, computed - self._computed
        if more > 0:
            self._seconds += now - self._seen_at
        if done > 0:
            weight = min(1.0, done / min(progress.done, _RECENT))
            self._share += (more / done - self._share) * weight
        self._seen_at, self._done, self._computed = now, progress.done, computed

    def seconds_left(self, total: int | None) -> float | None:
        """Return how many seconds the rest takes; None if it cannot be estimated."""
        if total is None or not self._computed:
            return None
        return max(0, total - self._done) * self._share * self._seconds / self._computed


def words(progress: Progress, total: int | None, left: float | None) -> str:
    """Return the progress as text, the most important part first."""
    parts = [_count(progress, total)]
    if left is not None and progress.done != total:
        parts.append(f"{duration(math.ceil(left))} left")
    return " · ".join([*parts, *_kinds(progress)])


def summary(progress: Progress, total: int | None, seconds: float) -> str:
    """Return the summary of a batch that took so many seconds."""
    count, cost = progress.requests.total(), price(progress.requests)
    sent = [f"{count:,} requests, ${cost:.4f} on S3"] if count else []
    return " · ".join([f"{_count(progress, total)} in {duration(seconds)}", *_kinds(progress), *sent])


def duration(seconds: float) -> str:
    """Return a duration as text: "7.1 s", and from a minute on "1:23" or "2:01:23"."""
    if seconds < 59.95:  # noqa: PLR2004  what rounds to a minute is one
        return f"{seconds} s" if isinstance(seconds, int) else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _count(progress: Progress, total: int | None) -> str:
    return f"{progress.done:,} done" if total is None else f"{progress.done:,} of {total:,}"


def _kinds(progress: Progress) -> list[str]:
    failed = [f"{progress.failed:,} failed"] if progress.failed else []
    return [
        f"{progress.hits:,} hits",
        f"{progress.computed:,} computed",
        *failed,
        f"{duration(progress.seconds_saved)} saved",
    ]


@contextmanager
def _bar(
    total: int | None, _function: str, console: Console, estimate: Estimate
) -> Iterator[Callable[[Progress, float], None]]:
    from rich.progress import BarColumn, ProgressColumn, TextColumn  # noqa: PLC0415  an extra, whose absence _stderr reports
    from rich.progress import Progress as Bar  # noqa: PLC0415  as above
    from rich.table import Column  # noqa: PLC0415  as above

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns: list[ProgressColumn] = [text] if console.width < _NARROW else [BarColumn(), text]
    shown, shown_at = -1, -math.inf
    with Bar(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=total)

        def tell(progress: Progress, now: float) -> None:
            nonlocal shown, shown_at
            if progress.done != shown and (progress.done == total or now - shown_at >= _SECONDS_BETWEEN_FRAMES):
                shown, shown_at = progress.done, now
                said = words(progress, total, estimate.seconds_left(total))
                bar.update(task, completed=progress.done, description=said, refresh=True)

        yield tell


@contextmanager
def _lines(
    total: int | None, function: str, console: Console, estimate: Estimate
) -> Iterator[Callable[[Progress, float], None]]:
    shown, shown_at = 0, -math.inf

    def tell(progress: Progress, now: float) -> None:
        nonlocal shown, shown_at
        step = progress.done if total is None else progress.done * _LINES // max(total, 1)
        if step > shown and (total is not None or now - shown_at >= _SECONDS_BETWEEN_LINES):
            shown, shown_at = step, now
            said = words(progress, total, estimate.seconds_left(total))
            console.print(f"{function}: {said}", soft_wrap=True)

    yield tell


def _stderr() -> Console:
    try:
        from rich.console import Console  # noqa: PLC0415  an extra, and most batches show nothing
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("progress needs rich: pip install 's3memo[cli]'", name="rich") from error
    return Console(stderr=True, markup=False, emoji=False, highlight=False)
