"""The numbers of one stack, as Prometheus metrics in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)  # a health answer takes 1 ms, a long reply a minute


class Metrics:
    """Requests and readiness of one stack. Two stacks in one process each have a registry; pass one to share or to read it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._requests = Counter("suite_requests", "Requests answered.", ("part", "route", "status"), registry=self.registry)
        self._seconds = Histogram("suite_request_seconds", "Seconds until a request was answered.", ("part", "route"), buckets=SECONDS,
                                  registry=self.registry)
        self._ready = Gauge("suite_part_ready", "1 when a part would serve a request now, else 0.", ("part",), registry=self.registry)

    def observe(self, part: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is the route's template, never a path with names in it: each value is a series."""
        self._requests.labels(part, route, str(status)).inc()
        self._seconds.labels(part, route).observe(seconds)

    def ready(self, part: str, ok: bool) -> None:
        """Note whether a part is ready."""
        self._ready.labels(part).set(1 if ok else 0)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format; its media type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)
