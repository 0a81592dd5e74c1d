"""When a store that has failed is asked again, by a clock that the tests turn."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from s3memo.breaker import LONGEST_PAUSE, Breaker
from s3memo.errors import NotFoundError, StoreAccessError, StoreUnavailableError
from tests.stores.contract import start_together

TROUBLE = [StoreUnavailableError("gone"), ConnectionResetError("reset"), TimeoutError("slow")]
ANSWERS = [None, NotFoundError("no such object"), StoreAccessError("403"), ValueError("a store of somebody else's")]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def ask(breaker: Breaker, outcome: Exception | None = TROUBLE[0]) -> str | None:
    """Ask as one caller does, if the store may be asked."""
    breaker.check()
    return breaker.learn(outcome, since=breaker.changes)


def may_ask(breaker: Breaker) -> bool:
    """Whether a caller may ask; who may, and fails to do so, is the probe."""
    try:
        breaker.check()
    except StoreUnavailableError:
        return False
    return True


@pytest.mark.parametrize("trouble", TROUBLE, ids=repr)
def test_the_first_operation_that_fails_opens_it(breaker: Breaker, trouble: Exception) -> None:
    breaker.check()
    assert ask(breaker, trouble) == "opened"
    with pytest.raises(StoreUnavailableError, match=rf"left alone for another 1\.0 s, because it failed: {trouble}"):
        breaker.check()


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_any_answer_leaves_it_closed_and_closes_it(breaker: Breaker, clock: Clock, answer: Exception | None) -> None:
    assert ask(breaker, answer) is None
    assert ask(breaker) == "opened"
    clock.now += 1
    assert ask(breaker, answer) == "closed"
    assert [may_ask(breaker) for _ in range(3)] == [True] * 3
    assert ask(breaker, answer) is None


def test_the_pause_doubles_from_a_second_to_a_minute_and_starts_anew_after_an_answer(
    breaker: Breaker, clock: Clock
) -> None:
    pauses = []
    for _ in range(1200):  # beyond the greatest float, were it only doubled
        assert ask(breaker) == "opened"
        pauses.append(breaker.pause)
        clock.now += breaker.pause - 0.001
        assert not may_ask(breaker)
        clock.now += 0.002
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(pauses[8:]) == {60}
    ask(breaker, None)
    ask(breaker)
    assert breaker.pause == 1


def test_one_caller_probes_for_as_long_as_it_takes_and_the_others_leave_the_store_alone(
    breaker: Breaker, clock: Clock
) -> None:
    ask(breaker)
    clock.now += 1
    assert may_ask(breaker)
    for seconds in (0, 1, 14):
        clock.now += seconds
        with pytest.raises(StoreUnavailableError, match="left alone while another call asks it"):
            breaker.check()
    assert breaker.learn(TROUBLE[0], since=breaker.changes) == "opened"
    with pytest.raises(StoreUnavailableError, match=r"left alone for another 2\.0 s"):
        breaker.check()


def test_of_threads_that_come_at_once_one_probes(breaker: Breaker, clock: Clock) -> None:
    ask(breaker)
    clock.now += 1
    assert sum(outcome is None for outcome in start_together([breaker.check] * 16)) == 1


def test_a_probe_that_nothing_is_heard_of_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    ask(breaker)
    clock.now += 1
    assert may_ask(breaker)
    clock.now += LONGEST_PAUSE - 0.001
    assert not may_ask(breaker)
    clock.now += 0.002
    assert may_ask(breaker)


def test_failures_of_what_was_under_way_together_count_once(breaker: Breaker, clock: Clock) -> None:
    since = breaker.changes
    changes = start_together([lambda: breaker.learn(TROUBLE[0], since=since)] * 16)
    clock.now += 30
    changes.append(breaker.learn(TROUBLE[0], since=since))
    assert sorted(changes, key=str) == [None] * 16 + ["opened"]
    assert breaker.pause == 1


def test_a_failure_of_what_began_before_the_store_answered_again_is_no_news(breaker: Breaker, clock: Clock) -> None:
    ask(breaker)
    since = breaker.changes
    clock.now += 1
    ask(breaker, None)
    assert breaker.learn(TROUBLE[0], since=since) is None
    assert may_ask(breaker)


def test_an_answer_to_what_began_before_the_store_failed_closes_it(breaker: Breaker) -> None:
    since = breaker.changes
    ask(breaker)
    assert breaker.learn(None, since=since) == "closed"


def test_a_caller_that_asks_a_store_left_alone_counts_too(breaker: Breaker) -> None:
    ask(breaker)
    assert breaker.learn(TROUBLE[0], since=breaker.changes) == "opened"
    assert breaker.pause == 2
    assert breaker.learn(None, since=breaker.changes) == "closed"


@pytest.mark.parametrize(("is_probed", "back"), [(False, 1), (False, 500), (True, 1), (True, 500)])
def test_a_clock_set_back_lets_the_store_be_asked(breaker: Breaker, clock: Clock, is_probed: bool, back: float) -> None:
    ask(breaker)
    if is_probed:
        clock.now += 1
        assert may_ask(breaker)
    clock.now -= back
    assert [may_ask(breaker) for _ in range(3)] == [True, False, False]
    assert breaker.learn(TROUBLE[0], since=breaker.changes) == "opened"
    clock.now += 2
    assert may_ask(breaker)


class Callers(RuleBasedStateMachine):
    """Callers ask, take their time and get an answer, fail, or are never heard of again, in any order."""

    under_way = Bundle("under_way")

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(self.clock)
        self.failures = 0
        self.news = 0
        self.left_alone_until = self.probed_until = -math.inf

    @rule(target=under_way)
    def call(self) -> int | None:
        """Return what was known when it asked the store, or None if it left it alone."""
        is_left_alone = self.clock.now < max(self.left_alone_until, self.probed_until)
        assert may_ask(self.breaker) != (self.failures > 0 and is_left_alone)
        if self.failures and is_left_alone:
            return None
        if self.failures:
            self.probed_until = self.clock.now + LONGEST_PAUSE
        return self.news

    @rule(target=under_way)
    def ask_all_the_same(self) -> int:
        """As what is asked of the store explicitly does."""
        return self.news

    @rule(since=consumes(under_way), outcome=st.sampled_from(ANSWERS + TROUBLE))
    def end(self, since: int | None, outcome: Exception | None) -> None:
        if since is None:
            return
        change = self.breaker.learn(outcome, since=since)
        if outcome in TROUBLE:
            assert change == ("opened" if since == self.news else None)
        else:
            assert change == ("closed" if self.failures else None)
        if change is not None:
            self.news += 1
            self.failures = self.failures + 1 if change == "opened" else 0
            self.left_alone_until = self.clock.now + min(2.0 ** (self.failures - 1), LONGEST_PAUSE)
            self.probed_until = -math.inf

    @rule(seconds=st.sampled_from([0.25, 1, 15, 100]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds


TestCallers = Callers.TestCase
TestCallers.settings = settings(stateful_step_count=30)
