"""The gateway's model servers as Prometheus series."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.gateway.breaker import CLOSED, HALF_OPEN, OPEN
from suite.gateway.gateway import Gateway
from suite.monitoring.table import counter, gauge, gauge_family, histogram
from suite.usage.record import Usage

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


class ReplySeries:
    """`suite_llm_*`: a row of usage is counted as it is noted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests, self._tokens = counter("suite_llm_requests_total", registry), counter("suite_llm_tokens_total", registry)
        self._seconds, self._first = (histogram(f"suite_llm_{name}_seconds", registry) for name in ("request", "first_token"))
        self._speed = gauge("suite_llm_tokens_per_second", registry)

    def observe(self, usage: Usage) -> None:
        """Count one reply."""
        self._requests.labels(usage.alias, usage.model, usage.outcome).inc()
        self._seconds.labels(usage.alias).observe(usage.seconds)
        if usage.first_seconds is not None:
            self._first.labels(usage.alias).observe(usage.first_seconds)
        if usage.tokens_per_second is not None:
            self._speed.labels(usage.alias).set(usage.tokens_per_second)
        for kind, tokens in (("prompt", usage.prompt_tokens - usage.cached), ("cached", usage.cached), ("predicted", usage.tokens)):
            self._tokens.labels(usage.alias, kind).inc(max(0, tokens))
