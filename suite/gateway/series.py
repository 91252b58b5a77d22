"""The gateway's model servers as Prometheus series."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.gateway.breaker import CLOSED, HALF_OPEN, OPEN
from suite.gateway.gateway import Gateway

STATES = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}


class BreakerSeries(Collector):
    """`suite_gateway_breaker{server}`: 0 closed, 1 half-open, 2 open; read at the moment of the scrape."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterable[Metric]:
        """One sample per server."""
        family = GaugeMetricFamily("suite_gateway_breaker", "A model server's breaker: 0 closed, 1 half-open, 2 open.", labels=["server"])
        for server in self._gateway.servers():
            family.add_metric([server.name], STATES[server.breaker.state])
        return [family]
