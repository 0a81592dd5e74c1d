"""Serve a cache's metrics to Prometheus, at http://localhost:9464/metrics.

pip install 's3memo[otel]' opentelemetry-sdk opentelemetry-exporter-prometheus
python examples/prometheus.py
"""

from __future__ import annotations

import argparse
import time
from urllib.request import urlopen

from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from s3memo import Cache
from s3memo.otel import OpenTelemetryHook

metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
cache = Cache("memory://", hooks=[OpenTelemetryHook()])


@cache.cached(name="slow.square")
def square(number: int) -> int:
    time.sleep(0.1)
    return number * number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9464)
    port = parser.parse_args().port
    start_http_server(port, addr="localhost")
    for number in (1, 2, 3, 1, 2):
        square(number)
    with urlopen(f"http://localhost:{port}/metrics") as page:
        for line in page.read().decode().splitlines():
            if line.startswith("s3memo_"):
                print(line)


if __name__ == "__main__":
    main()
