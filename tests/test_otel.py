"""What the hook reports to OpenTelemetry is what `cache_info` counts, by OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from s3memo import Cache, CacheInfo
from s3memo.errors import SettingsError, StoreUnavailableError
from s3memo.events import RequestHook
from s3memo.otel import OpenTelemetryHook
from tests.troubled import Clock, TroubledStore, raising


class Told:
    """A hook, and what OpenTelemetry was told by it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self.hook = OpenTelemetryHook(
            meter_provider=MeterProvider(metric_readers=[self._reader]), tracer_provider=self.tracing
        )

    def points(self) -> dict[tuple[str, ...], Any]:
        """Return each data point, by the metric's name and the values of its attributes besides the function's name."""
        data: Any = self._reader.get_metrics_data()
        found = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            for point in metric.data.data_points:
                others = {name: value for name, value in point.attributes.items() if name != "code.function.name"}
                found[metric.name, *others.values()] = point
        return found

    def numbers(self) -> dict[tuple[str, ...], float]:
        return {name: point.value for name, point in self.points().items() if hasattr(point, "value")}

    def units(self) -> dict[str, str]:
        data: Any = self._reader.get_metrics_data()
        return {metric.name: metric.unit for metric in data.resource_metrics[0].scope_metrics[0].metrics}

    def spans(self) -> list[Any]:
        return [*self._spans.get_finished_spans()]


@pytest.fixture
def told() -> Told:
    return Told()


def as_counted(info: CacheInfo) -> dict[tuple[str, ...], float]:
    """Return the numbers that a function's `cache_info` tells, by the names that OpenTelemetry has for them."""
    numbers: dict[tuple[str, ...], float] = {
        ("s3memo.cache.hits", "memory"): info.memory_hits,
        ("s3memo.cache.hits", "store"): info.store_hits,
        ("s3memo.cache.misses",): info.misses,
        ("s3memo.io", "read"): info.bytes_read,
        ("s3memo.io", "write"): info.bytes_written,
        **{("s3memo.requests", kind): count for kind, count in info.requests.items()},
    }
    return {name: number for name, number in numbers.items() if number}


def test_what_is_reported_is_what_is_counted(store: TroubledStore, told: Told) -> None:
    with Cache(store, hooks=[told.hook]) as cache:
        square = cache.cached(ttl=60, stale_while_revalidate=600, name="square", version="1")(lambda number: number**2)
        for number in (1, 2, 1):
            square(number)
        square.cache_clear(memory_only=True)
        for number in (1, 2, 3):
            square(number)
        square.cache_invalidate(3)
        square.cache_get(4)
        info = square.cache_info()
        numbers = told.numbers()
        saved = numbers.pop(("s3memo.time_saved",))
        assert numbers == as_counted(info)
        assert saved == pytest.approx(info.seconds_saved)
        assert (info.memory_hits, info.store_hits, info.misses, info.errors) == (1, 2, 4, 0)


@pytest.mark.parametrize("threads", [0, 4])
def test_batches_are_reported_once(store: TroubledStore, told: Told, threads: int) -> None:
    with Cache(store, hooks=[told.hook]) as cache, ThreadPoolExecutor(threads or 1) as pool:
        square = cache.cached(name="square", version="1")(lambda number: number**2)
        for _ in range(2):
            list(square.map(range(20), executor=pool if threads else None))
            square.cache_clear(memory_only=True)
        numbers = told.numbers()
        numbers.pop(("s3memo.time_saved",))
        assert numbers == as_counted(square.cache_info())
        assert square.cache_info().misses == 20
    assert len(told.spans()) == 20


def test_stale_hits_are_hits_and_counted_apart(store: TroubledStore, clock: Clock, told: Told) -> None:
    with Cache(store, hooks=[told.hook]) as cache:
        one = cache.cached(ttl=60, stale_while_revalidate=600, name="one", version="1")(lambda: 1)
        one()
        clock.now += 61
        one()
        assert one.cache_info().stale_hits == 1
    hits = {name: number for name, number in told.numbers().items() if "hits" in name[0]}
    assert hits[("s3memo.cache.stale_hits", "memory")] == 1
    assert hits[("s3memo.cache.hits", "memory")] == 1


def test_units_and_attributes_are_those_of_the_conventions(store: TroubledStore, told: Told) -> None:
    with Cache(store, hooks=[told.hook]) as cache:
        one = cache.cached(name="package.one", version="1")(lambda: 1)
        one()
        one()
    assert told.units() == {
        "s3memo.cache.hits": "{hit}",
        "s3memo.cache.misses": "{miss}",
        "s3memo.requests": "{request}",
        "s3memo.io": "By",
        "s3memo.time_saved": "s",
        "s3memo.compute.duration": "s",
    }
    assert all(point.attributes["code.function.name"] == "package.one" for point in told.points().values())
    assert told.points()[("s3memo.cache.hits", "memory")].attributes.keys() == {"code.function.name", "s3memo.tier"}


def test_a_computation_is_a_span_below_the_callers(store: TroubledStore, told: Told) -> None:
    with Cache(store, hooks=[told.hook]) as cache:
        nap = cache.cached(name="nap", version="1")(lambda: time.sleep(0.05))
        before = time.time_ns()
        with told.tracing.get_tracer("job").start_as_current_span("job") as job:
            nap()
            nap()
        key = str(nap.cache_key())
        nap.cache_refresh()
    span, caller, refresh = told.spans()
    assert (span.name, span.parent, caller.name) == ("compute nap", job.get_span_context(), "job")
    assert dict(span.attributes) == {"code.function.name": "nap", "s3memo.key": key}
    assert before <= span.start_time < span.end_time <= caller.end_time
    assert 0.05e9 <= span.end_time - span.start_time < 5e9
    assert (refresh.name, refresh.parent) == ("compute nap", None)
    duration = told.points()[("s3memo.compute.duration",)]
    assert duration.count == 2
    assert duration.sum == pytest.approx(sum(each.end_time - each.start_time for each in (span, refresh)) / 1e9)
    assert max(duration.explicit_bounds) == 10_000  # computations take longer than what the default is for


def test_a_computation_of_a_task_is_a_span_below_the_tasks(store: TroubledStore, told: Told) -> None:
    async def main() -> None:
        with Cache(store, hooks=[told.hook]) as cache:

            @cache.cached(name="nap", version="1")
            async def nap() -> None:
                await asyncio.sleep(0.01)

            with told.tracing.get_tracer("job").start_as_current_span("job"):
                await nap()

    asyncio.run(main())
    span, caller = told.spans()
    assert (span.name, span.parent) == ("compute nap", caller.context)


@pytest.mark.parametrize(("remembered", "spans"), [({}, 0), ({ValueError: "60s"}, 1)])
def test_a_computation_that_raised_is_a_span_if_it_is_remembered(
    store: TroubledStore, told: Told, remembered: dict[type[Exception], str], spans: int
) -> None:
    with Cache(store, hooks=[told.hook]) as cache:
        fail: Callable[[], None] = cache.cached(name="fail", version="1", cache_exceptions=remembered)(
            raising(ValueError("no"))
        )
        with pytest.raises(ValueError, match="no"):
            fail()
    assert len(told.spans()) == spans


def test_a_survived_error_is_counted_by_its_type_and_seen_in_the_callers_span(store: TroubledStore, told: Told) -> None:
    store.before_put = raising(StoreUnavailableError("503"))
    with Cache(store, hooks=[told.hook]) as cache:
        one = cache.cached(name="one", version="1")(lambda: 1)
        with told.tracing.get_tracer("job").start_as_current_span("job"):
            assert one() == 1
        assert one.cache_info().errors == 1
    assert told.numbers()[("s3memo.errors", "s3memo.errors.StoreUnavailableError")] == 1
    (event,) = next(span for span in told.spans() if span.name == "job").events
    assert event.name == "s3memo.error"
    assert event.attributes["error.type"] == "s3memo.errors.StoreUnavailableError"
    assert "could not be stored" in event.attributes["s3memo.message"]


def test_it_is_pickled_with_its_cache_unless_it_has_providers_of_its_own(told: Told) -> None:
    assert isinstance(pickle.loads(pickle.dumps(OpenTelemetryHook())), OpenTelemetryHook)
    with pytest.raises(TypeError, match=r"cannot pickle <.*OpenTelemetryHook.*>: it was given providers"):
        pickle.dumps(told.hook)


def test_it_asks_for_requests() -> None:
    assert isinstance(OpenTelemetryHook(), RequestHook)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"pip install 's3memo\[otel\]'"):
        OpenTelemetryHook()
