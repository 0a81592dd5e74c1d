"""Metrics and spans for OpenTelemetry, from the events of a cache (extra `otel`).

Names, units and attributes follow OpenTelemetry's semantic conventions; docs/operating.md lists them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from s3memo._about import __version__
from s3memo.errors import SettingsError
from s3memo.events import Event, RequestKind

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

FUNCTION = "code.function.name"
ERROR = "error.type"
TIER = "s3memo.tier"
REQUEST = "s3memo.request.kind"
DIRECTION = "s3memo.io.direction"

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Bucket bounds for durations of computations, which are longer than those of web requests."""


class OpenTelemetryHook:
    """A hook, `Cache(…, hooks=[OpenTelemetryHook()])`, that reports to OpenTelemetry.

    Without providers it uses the global ones, whenever they are set. Each process reports for itself: set them up in an
    executor's workers, too. One hook may serve many caches. It can be pickled unless it was given providers. Raises
    SettingsError without the extra.
    """

    def __init__(
        self, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415  an extra
        except ImportError as error:
            raise SettingsError("OpenTelemetryHook needs opentelemetry-api: pip install 's3memo[otel]'") from error
        self._is_global = meter_provider is None and tracer_provider is None
        self._current_span = trace.get_current_span
        self._tracer = trace.get_tracer("s3memo", __version__, tracer_provider)
        meter = metrics.get_meter("s3memo", __version__, meter_provider)
        self._hits = meter.create_counter(
            "s3memo.cache.hits", "{hit}", "Calls that were served what is remembered, stale or not"
        )
        self._stale_hits = meter.create_counter(
            "s3memo.cache.stale_hits", "{hit}", "Those of the hits whose result had expired"
        )
        self._misses = meter.create_counter("s3memo.cache.misses", "{miss}", "Looks that found nothing")
        self._errors = meter.create_counter("s3memo.errors", "{error}", "Errors that were survived")
        self._requests = meter.create_counter("s3memo.requests", "{request}", "Requests sent to stores")
        self._io = meter.create_counter("s3memo.io", "By", "Bytes of entries read from stores and written to them")
        self._saved = meter.create_counter("s3memo.time_saved", "s", "What the hits had taken to compute")
        self._computed = meter.create_histogram(
            "s3memo.compute.duration", "s", "What computations took", explicit_bucket_boundaries_advisory=_SECONDS
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._is_global:
            raise TypeError(
                f"cannot pickle {self!r}: it was given providers, which are of this process; "
                "set the global ones in each process instead"
            )
        return OpenTelemetryHook, ()

    def __call__(self, event: Event) -> None:
        """Report an event."""
        function = {FUNCTION: event.function}
        match event.kind:
            case "hit" | "stale":
                self._report_hit(event, function)
            case "miss":
                self._misses.add(1, function)
            case "store":
                self._io.add(event.size, {**function, DIRECTION: "write"})
            case "compute":
                self._report_computation(event, function)
            case "error":
                self._report_error(event, function)

    def count_request(self, function: str, kind: RequestKind) -> None:
        """Report a request."""
        self._requests.add(1, {FUNCTION: function, REQUEST: kind})

    def _report_hit(self, event: Event, function: dict[str, str]) -> None:
        attributes = {**function, TIER: event.tier or ""}
        self._hits.add(1, attributes)
        if event.kind == "stale":
            self._stale_hits.add(1, attributes)
        self._saved.add(event.seconds, function)
        if event.tier == "store":
            self._io.add(event.size, {**function, DIRECTION: "read"})

    def _report_computation(self, event: Event, function: dict[str, str]) -> None:
        """Record a computation that has just ended; the event says how long it took."""
        self._computed.record(event.seconds, function)
        end = time.time_ns()
        start = end - round(event.seconds * 1e9)
        attributes = {**function, "s3memo.key": event.key}
        self._tracer.start_span(f"compute {event.function}", attributes=attributes, start_time=start).end(end)

    def _report_error(self, event: Event, function: dict[str, str]) -> None:
        kind = type(event.error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        self._errors.add(1, {**function, ERROR: name})
        self._current_span().add_event("s3memo.error", {**function, ERROR: name, "s3memo.message": event.message})
