"""What a call of a cached function does, step by step, independent of threads and tasks.

Each procedure is a generator of steps, carried out by a thread or a task: COMPUTE runs the user's function, a callable
may wait for the store, a Pause waits. The result of a step is sent back to the generator.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from s3memo.cache import Cache
from s3memo.entry import Hit, Miss
from s3memo.errors import S3MemoError
from s3memo.flight import Flight, Outcome
from s3memo.names import NOTHING_READ, Reading
from s3memo.terms import Terms
from s3memo.versions import Key

COMPUTE: Final = object()

Work: TypeAlias = Generator[Any, Any, Outcome[Any]]


class GivenUpError(S3MemoError):
    """A refresh in the background became pointless, which was reported; any caller waiting for it does its own work."""


class StoppedError(Exception):
    """Carries a StopIteration of the user's function through a procedure: a generator cannot raise one."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__(error)
        self.error = error


class Call(NamedTuple):
    """One call of a cached function.

    `compute` runs the function. `key_again` derives the key anew, to see whether the arguments were changed. `reading`
    tells which names, known from listings, the call may rely on.
    """

    cache: Cache
    key: Key
    terms: Terms
    compute: Callable[[], Any]
    key_again: Callable[[], Key]
    reading: Reading = NOTHING_READ


def is_frozen_between_calls() -> bool:
    """Whether this process is frozen between calls, as on AWS Lambda, so that nothing can run in the background."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def find(call: Call, flight: Flight) -> Hit | Miss:
    """Look up the call's value: the first step of each call."""
    return call.cache.find(call.key, call.terms, flight, serves_stale=_serves_stale(call), reading=call.reading)


def fetching(call: Call, flight: Flight) -> Work:
    """Return the call's value: cached, or computed and then stored."""
    found = yield partial(find, call, flight)
    if isinstance(found, Hit):
        return found.outcome()
    return (yield from missing(call, flight, found))


def missing(call: Call, flight: Flight, found: Miss) -> Work:
    """Compute and store a value that was not found, unless another machine does so first."""
    if call.terms.fleet and found.listing is not None and not call.cache.read_only:
        from s3memo.fleet import Turn  # noqa: PLC0415  loads leases, which most functions never use

        look = partial(call.cache.recall, call.key, call.terms, flight, serves_stale=_serves_stale(call), lists=True)
        turn = Turn(call.cache, call.key, call.terms, call.terms.fleet)
        brought = yield from turn.computing(found, look, partial(_computing, call, flight))
        if not isinstance(brought, Hit):
            return brought
        call.cache.tell(call.key, call.terms, brought)
        return brought.outcome()
    return (yield from _computing(call, flight, found))


def refreshing(call: Call, flight: Flight) -> Work:
    """Compute and store the call's value, whatever is cached."""
    found = yield partial(call.cache.look_for_refresh, call.key, call.terms)
    call.terms.recorder.emit("refresh", key=call.key)
    return (yield from _computing(call, flight, found))


def refreshing_behind(call: Call, flight: Flight) -> Work:
    """Bring memory a fresh value while callers are served the stale one: stored by another process, or computed here.

    Raises GivenUpError if the result could not be stored, or if the arguments were changed and no longer have this key.
    """
    found = yield partial(call.cache.find_behind, call.key, call.terms, flight)
    if isinstance(found, Hit):
        return found.outcome()
    if found.listing is None:
        raise GivenUpError("the store cannot be read")
    call.terms.recorder.emit("refresh", key=call.key)
    return (yield from _computing(call, flight, found, is_behind=True))


def tell_behind(call: Call, error: Exception) -> None:
    """Report the error of a background refresh, unless the callers will see it themselves."""
    if type(error) not in call.terms.exceptions:
        call.terms.recorder.trouble(error, "a stale result could not be refreshed", key=str(call.key))


def _serves_stale(call: Call) -> bool:
    """Whether an expired result may be served, because it can be refreshed in the background."""
    return not (call.terms.policy.stale_while_revalidate and is_frozen_between_calls())


def _computing(call: Call, flight: Flight, found: Miss, *, is_behind: bool = False) -> Work:
    cache, terms = call.cache, call.terms
    started = time.perf_counter()
    try:
        if is_behind:
            _check_arguments(call)
        value = yield COMPUTE
        elapsed = time.perf_counter() - started
        if is_behind:
            _check_arguments(call)
    except GivenUpError:
        raise
    except Exception as error:
        elapsed = time.perf_counter() - started
        if type(error) in terms.exceptions:
            if is_behind:
                _check_arguments(call)
            yield partial(cache.keep_error, flight, terms, found, error, elapsed)
            raise
        if is_behind:
            raise
        old: Hit | None = yield partial(cache.fall_back, flight, terms, found, error)
        if old is None:
            raise
        return old.outcome()
    return (yield partial(cache.keep, flight, terms, found, value, elapsed))  # type: ignore[no-any-return]


def _check_arguments(call: Call) -> None:
    """Give up if the arguments were changed: the caller has its result and may do with them as it likes."""
    if call.key_again() != call.key:
        error = GivenUpError("the arguments were changed meanwhile")
        tell_behind(call, error)
        raise error
