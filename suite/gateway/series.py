"""The gateway's model servers as Prometheus series."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.gateway.breaker import CLOSED, HALF_OPEN, OPEN
from suite.gateway.gateway import Gateway
from suite.monitoring.table import counter, gauge, gauge_family, histogram
from suite.usage.record import Usage

FAILED = ("NotReady", "UpstreamError")  # how most replies fail; such a one names no model
KINDS = ("prompt", "cached", "predicted")
STATES = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}


class BreakerSeries(Collector):
    """`suite_gateway_breaker{server}`: 0 closed, 1 half-open, 2 open; read at the moment of the scrape."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterable[Metric]:
        """One sample per server."""
        family = gauge_family("suite_gateway_breaker")
        for server in self._gateway.servers():
            family.add_metric([server.name], STATES[server.breaker.state])
        return [family]


class _Series(NamedTuple):
    requests: Counter
    seconds: Histogram
    first: Histogram
    tokens: tuple[Counter, ...]


class ReplySeries:
    """`suite_llm_*`: a row of usage is counted as it is noted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests, self._tokens = counter("suite_llm_requests_total", registry), counter("suite_llm_tokens_total", registry)
        self._seconds, self._first = (histogram(f"suite_llm_{name}_seconds", registry) for name in ("request", "first_token"))
        self._speed = gauge("suite_llm_tokens_per_second", registry)
        self._found: dict[tuple[str, str, str], _Series] = {}

    def observe(self, usage: Usage) -> None:
        """Count one reply."""
        key = (usage.alias, usage.model, usage.outcome)
        found = self._found.get(key)
        if found is None:  # to find a series by its labels costs more than to count
            found = self._found[key] = self._series(*key)
        found.requests.inc()
        found.seconds.observe(usage.seconds)
        if usage.first_seconds is not None:
            found.first.observe(usage.first_seconds)
        if usage.tokens_per_second is not None:
            self._speed.labels(usage.alias).set(usage.tokens_per_second)
        for series, tokens in zip(found.tokens, (usage.prompt_tokens - usage.cached, usage.cached, usage.tokens), strict=True):
            series.inc(max(0, tokens))

    def _series(self, alias: str, model: str, outcome: str) -> _Series:
        for failed in FAILED:
            self._requests.labels(alias, "", failed)  # a rate needs the zero before the first
        return _Series(self._requests.labels(alias, model, outcome), self._seconds.labels(alias), self._first.labels(alias),
                       tuple(self._tokens.labels(alias, kind) for kind in KINDS))
