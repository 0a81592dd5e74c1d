"""What a call of a cached function does, step by step: who looks, who computes, what is served meanwhile.

Each procedure is a generator of steps, so that threads and tasks can carry out one and the same: a step is COMPUTE, to
run the user's function, or something to call that may wait for the store, or a Pause. It is sent what the step brought.
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
    """A refresh that nobody waits for is pointless, which was told; whoever came to wait for it does its own work."""


class StoppedError(Exception):
    """Carries a StopIteration of the user's function through a procedure, which as a generator cannot let it pass."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__(error)
        self.error = error


class Call(NamedTuple):
    """One call of a cached function.

    `compute` runs the function; `key_again` derives the key anew, to see whether somebody has changed the arguments.
    `reading` tells which names, known from listings, it may rest on.
    """

    cache: Cache
    key: Key
    terms: Terms
    compute: Callable[[], Any]
    key_again: Callable[[], Key]
    reading: Reading = NOTHING_READ


def is_frozen_between_calls() -> bool:
    """Whether this process does not run while nobody calls it, so that nothing can be done behind the callers."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def find(call: Call, flight: Flight) -> Hit | Miss:
    """Look for the call's value, which is what each call begins with."""
    return call.cache.find(call.key, call.terms, flight, serves_stale=_serves_stale(call), reading=call.reading)


def fetching(call: Call, flight: Flight) -> Work:
    """Bring the call's value: remembered, or computed and then remembered."""
    found = yield partial(find, call, flight)
    if isinstance(found, Hit):
        return found.outcome()
    return (yield from missing(call, flight, found))


def missing(call: Call, flight: Flight, found: Miss) -> Work:
    """Compute the call's value, which was not found, and remember it; unless another machine brings it first."""
    if call.terms.fleet and found.listing is not None and not call.cache.read_only:
        from s3memo.fleet import Turn  # noqa: PLC0415  it loads leases, of which most functions have none

        look = partial(call.cache.recall, call.key, call.terms, flight, serves_stale=_serves_stale(call), lists=True)
        turn = Turn(call.cache, call.key, call.terms, call.terms.fleet)
        brought = yield from turn.computing(found, look, partial(_computing, call, flight))
        if not isinstance(brought, Hit):
            return brought
        call.cache.tell(call.key, call.terms, brought)
        return brought.outcome()
    return (yield from _computing(call, flight, found))


def refreshing(call: Call, flight: Flight) -> Work:
    """Compute the call's value whatever is remembered, and remember it."""
    found = yield partial(call.cache.look_for_refresh, call.key, call.terms)
    call.terms.recorder.emit("refresh", key=call.key)
    return (yield from _computing(call, flight, found))


def refreshing_behind(call: Call, flight: Flight) -> Work:
    """Bring memory a fresh value while the callers get the stale one: what another process stored, or a computed one.

    Raises GivenUpError where that could not be stored, or would be under a key that its arguments no longer have.
    """
    found = yield partial(call.cache.find_behind, call.key, call.terms, flight)
    if isinstance(found, Hit):
        return found.outcome()
    if found.listing is None:
        raise GivenUpError("the store cannot be read")
    call.terms.recorder.emit("refresh", key=call.key)
    return (yield from _computing(call, flight, found, is_behind=True))


def tell_behind(call: Call, error: Exception) -> None:
    """Make visible what a refresh raised that nobody waits for, unless the callers will see it themselves."""
    if type(error) not in call.terms.exceptions:
        call.terms.recorder.trouble(error, "a stale result could not be refreshed", key=str(call.key))


def _serves_stale(call: Call) -> bool:
    """Whether what has expired may be served, because it can be refreshed behind the caller."""
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
    """The caller has its result and goes on, and may do with its arguments what it likes."""
    if call.key_again() != call.key:
        error = GivenUpError("the arguments were changed meanwhile")
        tell_behind(call, error)
        raise error
