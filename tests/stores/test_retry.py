from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.errors import SettingsError
from s3memo.stores.retry import Deadline, Progress, RetryPolicy

seconds = st.floats(0.001, 100)
policies = st.builds(
    lambda attempts, connect, read, spare: RetryPolicy(attempts, (connect + read) * 1.001 + spare, connect, read),
    st.integers(1, 10),
    seconds,
    seconds,
    st.floats(0, 1000),
)


@given(policy=policies, jitters=st.lists(st.floats(0, 1, exclude_max=True), min_size=10), took=st.floats(0, 1))
def test_attempts_that_each_take_their_longest_end_in_time(
    policy: RetryPolicy, jitters: list[float], took: float
) -> None:
    elapsed = 0.0
    tried = 0
    pause: float | None = 0.0
    while pause is not None:
        elapsed += pause + took * policy.longest_silence
        tried += 1
        pause = policy.pause(tried=tried, elapsed=elapsed, jitter=jitters[tried - 1])

    assert elapsed <= policy.operation_timeout
    assert tried <= policy.attempts


def test_pauses_are_random_and_their_bound_doubles() -> None:
    policy = RetryPolicy(attempts=4)

    assert [policy.pause(tried=tried, elapsed=0, jitter=0.5) for tried in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, None]
    assert policy.pause(tried=3, elapsed=0, jitter=0) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "attempts=0 must be at least 1"),
        ({"connect_timeout": 0}, "must be above 0 seconds"),
        ({"read_timeout": -1}, "must be above 0 seconds"),
        ({"operation_timeout": 12}, "together must not exceed operation_timeout=12"),
    ],
)
def test_a_policy_that_cannot_be_kept(options: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RetryPolicy(**options)  # type: ignore[arg-type]


def test_deadline() -> None:
    now = [100.0]
    deadline = Deadline(lambda: now[0], RetryPolicy())
    now[0] += 4

    assert (deadline.elapsed, deadline.left()) == (4, 11)
    now[0] += 11
    with pytest.raises(TimeoutError, match="operation_timeout=15 seconds"):
        deadline.left()


def test_time_begins_anew_with_each_step_that_was_moved() -> None:
    now = [100.0]
    progress = Progress(lambda: now[0], RetryPolicy(), step=1000)
    for _ in range(5):
        now[0] += 14
        progress.moved(600)
        assert progress.left() == 1
        now[0] += 0.5
        progress.moved(400)
        assert progress.left() == 15

    progress.moved(999)
    now[0] += 15
    with pytest.raises(TimeoutError, match="no more than 999 bytes moved within operation_timeout=15 seconds"):
        progress.left()


def test_nothing_moves_on_what_is_cancelled() -> None:
    progress = Progress(lambda: 100.0, RetryPolicy(), step=1000)
    progress.cancel()
    progress.moved(1000)

    with pytest.raises(TimeoutError):
        progress.left()
    assert progress.policy.pause(tried=1, elapsed=progress.elapsed, jitter=0.0) is None
