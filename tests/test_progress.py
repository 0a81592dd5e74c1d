"""What is shown of a batch: on terminals of several widths, and where there is none."""

from __future__ import annotations

import io
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from s3memo.progress import Estimate, duration, showing
from s3memo.windows import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool, width: int = 200) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, markup=False, highlight=False
    )


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def show(screen: Console, *, total: int | None, hits: int, computed: int, seconds: float = 1.0, **requests: int) -> str:
    """Show hits that each save two seconds, then computations of so many seconds."""
    clock, progress = Clock(), Progress(total)
    with showing(total, "job", console=screen, clock=clock) as update:
        for number in range(hits + computed):
            progress.done += 1
            if number < hits:
                progress.hits += 1
                progress.seconds_saved += 2
            else:
                progress.computed += 1
                clock.now += seconds
            update(progress)
        progress.requests = Counter(requests)
    return shown(screen)


def test_without_a_terminal_a_known_number_gives_a_line_for_each_tenth_and_one_at_the_end() -> None:
    lines = show(console(terminal=False), total=1000, hits=400, computed=600, GET=400, PUT=600).splitlines()
    assert len(lines) == 11
    assert lines[0] == "job: 100 of 1,000 · 100 hits · 0 computed · 3:20 saved"
    assert lines[3] == "job: 400 of 1,000 · 400 hits · 0 computed · 13:20 saved"
    assert lines[8] == "job: 900 of 1,000 · 1:40 left · 400 hits · 500 computed · 13:20 saved"
    assert lines[-2] == "job: 1,000 of 1,000 · 400 hits · 600 computed · 13:20 saved"
    end = "job: 1,000 of 1,000 in 10:00 · 400 hits · 600 computed · 13:20 saved · 1,000 requests, $0.0032 on S3"
    assert lines[-1] == end


def test_without_a_terminal_an_unknown_number_gives_a_line_every_few_seconds_and_no_estimate() -> None:
    lines = show(console(terminal=False), total=None, hits=1, computed=20).splitlines()
    assert lines == [
        "job: 1 done · 1 hits · 0 computed · 2.0 s saved",
        "job: 6 done · 1 hits · 5 computed · 2.0 s saved",
        "job: 11 done · 1 hits · 10 computed · 2.0 s saved",
        "job: 16 done · 1 hits · 15 computed · 2.0 s saved",
        "job: 21 done · 1 hits · 20 computed · 2.0 s saved",
        "job: 21 done in 20.0 s · 1 hits · 20 computed · 2.0 s saved",
    ]


def test_plain_lines_have_no_escapes_and_are_not_wrapped() -> None:
    text = show(console(terminal=False, width=20), total=2, hits=1, computed=1)
    assert "\x1b" not in text
    assert text.count("\n") == 3


@pytest.mark.parametrize("total", [10, None])
def test_a_wide_terminal_has_a_bar_and_all_the_words(total: int | None) -> None:
    text = show(console(terminal=True, width=120), total=total, hits=2, computed=5)
    assert "━" in text
    assert "2 hits · 5 computed · 4.0 s saved" in text
    assert ("3 s left" in text) == (total is not None)
    assert text.splitlines()[-1].endswith("in 5.0 s · 2 hits · 5 computed · 4.0 s saved")


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_has_the_most_important_words_on_one_line(width: int) -> None:
    text = show(console(terminal=True, width=width), total=10, hits=2, computed=5)
    frames, _, end = text.rstrip("\n").rpartition("job: ")
    assert "7 of 10 · 3 s left" in frames
    assert "━" not in frames
    assert frames.count("\n") == 1  # where the bar ends; the frames before it overwrite each other
    assert end == "7 of 10 in 5.0 s · 2 hits · 5 computed · 4.0 s saved"


def test_a_terminal_is_drawn_on_ten_times_a_second_and_when_all_is_done() -> None:
    text = show(console(terminal=True, width=120), total=1000, hits=0, computed=1000, seconds=0.01)
    assert 99 <= text.count("computed") - 1 <= 103
    assert "1,000 of 1,000 · 0 hits" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_shown_twice(*, terminal: bool) -> None:
    once, often = console(terminal=terminal), console(terminal=terminal)
    for screen, times in ((once, 1), (often, 100)):
        with showing(3, "job", console=screen, clock=Clock()) as update:
            for _ in range(times):
                update(Progress(3, done=3, hits=3))
    assert shown(once) == shown(often)


def test_what_failed_is_said_where_something_did() -> None:
    screen = console(terminal=False)
    with showing(2, "job", console=screen) as update:
        update(Progress(2, done=2, computed=1, failed=1))
    assert "2 of 2 · 0 hits · 1 computed · 1 failed · 0.0 s saved" in shown(screen)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_batch_that_stops_says_how_far_it_came(*, terminal: bool) -> None:
    screen = console(terminal=terminal)

    def interrupted() -> None:
        with showing(100, "job", console=screen, clock=Clock()) as update:
            update(Progress(100, done=3, hits=3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert shown(screen).endswith("job: 3 of 100 in 0.0 s · 3 hits · 0 computed · 0.0 s saved\n")


def test_it_is_shown_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(1, "job [bold]") as update:
        update(Progress(1, done=1, hits=1))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("job [bold]: 1 of 1")


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 's3memo\[cli\]'"), showing(1, "job"):
        pass


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (7.14, "7.1 s"),
        (12, "12 s"),
        (59.94, "59.9 s"),
        (59.96, "1:00"),
        (83, "1:23"),
        (7283, "2:01:23"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(hits=st.integers(0, 2000), computed=st.integers(101, 500), each=st.floats(0.001, 100), left=st.integers(0, 500))
def test_quick_hits_that_come_first_do_not_shorten_the_estimate(
    hits: int, computed: int, each: float, left: int
) -> None:
    estimate, progress = Estimate(0.0), Progress()
    for number in range(1, hits + 1):
        progress.done = progress.hits = number
        estimate.observe(progress, 0.0)
    for number in range(1, computed + 1):
        progress.done, progress.computed = hits + number, number
        estimate.observe(progress, number * each)
    seconds = estimate.seconds_left(progress.done + left)
    assert seconds is not None
    assert 0.6 * left * each <= seconds <= 1.001 * left * each


def test_hits_that_come_between_are_expected_to_go_on() -> None:
    estimate, progress, now = Estimate(0.0), Progress(), 0.0
    for number in range(1, 2001):
        progress.done = number
        if number % 10 == 0:
            progress.computed += 1
            now += 1
        else:
            progress.hits += 1
        estimate.observe(progress, now)
    assert estimate.seconds_left(4000) == pytest.approx(200, rel=0.1)


def test_with_hits_alone_there_is_no_estimate() -> None:
    estimate = Estimate(0.0)
    estimate.observe(Progress(done=5, hits=5), 1.0)
    assert estimate.seconds_left(10) is None
