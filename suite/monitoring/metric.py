"""The numbers of one stack, as Prometheus metrics in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.errors import SuiteError

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

    def exposition(self, *others: Collector) -> bytes:
        """All series, and those of other collectors, in Prometheus' text format; its media type is `CONTENT_TYPE`."""
        own = CollectorRegistry()
        for collector in others:
            own.register(collector)
        return generate_latest(self.registry) + (generate_latest(own) if others else b"")


class ServingSeries(Collector):
    """A model server's numbers under llama-server's names, and a few that it has not; read from `stats()` at the moment of the scrape.

    They begin anew when another model is loaded, as they would with a new llama-server.
    """

    def __init__(self, stats: Callable[[], dict[str, Any]]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """One family per name; rates are those since the model was loaded. Of a server that cannot say there is nothing, as of one that is down."""
        try:
            stats = self._stats()
        except SuiteError:
            return
        yield from _like_llama_server(stats)
        yield from _of_our_own(stats)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the server."""
        return []


def _like_llama_server(stats: dict[str, Any]) -> Iterator[Metric]:
    counters = [
        ("prompt_tokens", "Prompt tokens that were read (not those found in the cache).", stats["prompt_tokens"]),
        ("prompt_seconds", "Seconds spent reading prompts.", stats["prompt_seconds"]),
        ("tokens_predicted", "Tokens written.", stats["tokens"]),
        ("tokens_predicted_seconds", "Seconds spent writing.", stats["predicted_seconds"]),
        ("n_decode", "Steps computed, each for all replies that were being written.", stats["decodes"]),
    ]
    gauges = [
        ("n_busy_slots_per_decode", "Replies per step, on average.", _ratio(stats["busy_slots"], stats["decodes"])),
        ("prompt_tokens_seconds", "Prompt tokens read per second, on average.", _ratio(stats["prompt_tokens"], stats["prompt_seconds"])),
        ("predicted_tokens_seconds", "Tokens written per second of a reply, on average.", _ratio(stats["tokens"], stats["predicted_seconds"])),
        ("kv_cache_usage_ratio", "The part of the cache that holds tokens, 1 is all of it.", _ratio(stats["kv_used"], stats["kv_tokens"])),
        ("kv_cache_tokens", "Tokens in the cache.", stats["kv_used"]),
        ("requests_processing", "Replies that are being written.", stats["busy"]),
        ("requests_deferred", "Requests that wait for their turn.", stats["waiting"]),
    ]
    for name, text, value in counters:
        yield CounterMetricFamily(f"llamacpp:{name}", text, value)
    for name, text, value in gauges:
        yield GaugeMetricFamily(f"llamacpp:{name}", text, value)


def _of_our_own(stats: dict[str, Any]) -> Iterator[Metric]:
    cached, read, first = stats["cached_tokens"], stats["prompt_tokens"], stats["first_token"]
    yield GaugeMetricFamily("suite_serving_queue_depth", "Requests that wait for their turn.", stats["waiting"])
    yield GaugeMetricFamily("suite_serving_cache_hit_ratio", "The part of all prompt tokens found in the cache.", _ratio(cached, cached + read))
    for name, text, value in (
        ("cached_tokens", "Prompt tokens that were found in the cache.", cached),
        ("requests", "Replies that ended, however they ended.", stats["requests"]),
        ("refused", "Requests refused because the queue was full.", stats["refused"]),
        ("cancelled", "Replies whose reader went away.", stats["cancelled"]),
        ("failed", "Replies that ended with an error.", stats["failed"]),
    ):
        yield CounterMetricFamily(f"suite_serving_{name}", text, value)
    buckets = [(str(float(limit)), count) for limit, count in first["buckets"]] + [("+Inf", first["count"])]
    yield HistogramMetricFamily("suite_serving_first_token_seconds", "Seconds from a request to the first token of its reply.", buckets=buckets,
                                sum_value=first["sum"])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
