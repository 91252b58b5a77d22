"""The numbers of one stack, as Prometheus metrics: a registry for each target that can be scraped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from suite.errors import SuiteError
from suite.monitoring.exposition import text
from suite.monitoring.probe import State
from suite.monitoring.table import counter, counter_family, gauge_family, histogram, histogram_family

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FAILED = ("500", "502", "503")  # what a part answers that cannot do its work


class Metrics:
    """The registries of one stack by target, which is a port's name or `monitoring`; two stacks in one process share none."""

    def __init__(self) -> None:
        self._registries: dict[str, CollectorRegistry] = {}
        self._requests: dict[str, tuple[Counter, Histogram]] = {}
        self._counted: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}
        self._making = threading.Lock()
        self._seen: dict[str, tuple[float, list[Metric]]] = {}

    def registry(self, job: str) -> CollectorRegistry:
        """The registry of a target; whoever gives numbers puts a collector into it."""
        with self._making:
            if job not in self._registries:
                made = CollectorRegistry()
                self._requests[job] = (counter("suite_requests_total", made), histogram("suite_request_seconds", made))
                self._registries[job] = made
        return self._registries[job]

    def observe(self, job: str, part: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request at a target. `route` is the route's template, never a path with names in it: each value is a series."""
        found = self._counted.get((job, part, route, status))
        if found is None:  # to find a series by its labels costs more than to count
            found = self._counted[job, part, route, status] = self._series(job, part, route, status)
        requests, lasted = found
        requests.inc()
        lasted.observe(seconds)

    def _series(self, job: str, part: str, route: str, status: int) -> tuple[Counter, Histogram]:
        if job not in self._requests:
            self.registry(job)
        requests, lasted = self._requests[job]
        for failed in FAILED:
            requests.labels(part, route, failed)  # a rate needs the zero before the first
        return requests.labels(part, route, str(status)), lasted.labels(part, route)

    def jobs(self) -> list[str]:
        """The targets that have a registry."""
        return list(self._registries)

    def exposition(self, job: str) -> bytes:
        """All series of a target in Prometheus' text format; its media type is `CONTENT_TYPE`."""
        began, families = time.monotonic(), self._collected(job)
        if began >= self._seen.get(job, (began, []))[0]:  # one that began before another, and ended after it, must not stand for it
            self._seen[job] = (began, families)
        return text(families)

    def seen(self, job: str, since: float) -> list[Metric] | None:
        """What `exposition` last gave, unless it began before that moment (time.monotonic): who asked for it need not read its text."""
        began, families = self._seen.get(job, (float("-inf"), []))
        return families if began >= since else None

    def everything(self, address: Callable[[str], str]) -> bytes:
        """All series of all targets, each with the labels `job` and `instance` (`address` of it) that Prometheus would have given it."""
        merged: dict[str, Metric] = {}
        for job in self.jobs():
            where = {"job": job, "instance": address(job)}
            for family in self._collected(job):
                into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                into.samples += [Sample(one.name, {**one.labels, **where}, one.value) for one in family.samples]
        return text(merged.values())

    def _collected(self, job: str) -> list[Metric]:
        """The families of a target, without the moments at which its series began: a quarter of all samples, and nobody asks for them."""
        families = list(self.registry(job).collect())
        for family in families:
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
        return families


class ReadySeries(Collector):
    """`suite_part_ready`, asked at the moment of the scrape."""

    def __init__(self, part: str, ready: Callable[[], State]) -> None:
        self._part, self._ready = part, ready

    def collect(self) -> Iterable[Metric]:
        """One sample."""
        family = gauge_family("suite_part_ready")
        family.add_metric((self._part,), float(self._ready().ok))
        yield family

    def describe(self) -> Iterable[Metric]:
        """Nothing: the name is known, and asking costs a look at the part."""
        return []


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
    for name, says, value in counters:
        yield CounterMetricFamily(f"llamacpp:{name}", says, value)
    for name, says, value in gauges:
        yield GaugeMetricFamily(f"llamacpp:{name}", says, value)


def _of_our_own(stats: dict[str, Any]) -> Iterator[Metric]:
    cached, read, first = stats["cached_tokens"], stats["prompt_tokens"], stats["first_token"]
    yield gauge_family("suite_serving_queue_depth", stats["waiting"])
    yield gauge_family("suite_serving_cache_hit_ratio", _ratio(cached, cached + read))
    yield counter_family("suite_serving_restarts_total", stats["restarts"])
    for name in ("requests", "refused", "cancelled", "failed"):
        yield counter_family(f"suite_serving_{name}_total", stats[name])
    yield counter_family("suite_serving_cached_tokens_total", cached)
    buckets = [(str(float(limit)), count) for limit, count in first["buckets"]] + [("+Inf", first["count"])]
    yield histogram_family("suite_serving_first_token_seconds", buckets, first["sum"])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
