"""What is remembered, and how far its vectors are, as Prometheus series."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.errors import SuiteError
from suite.monitoring.table import gauge_family

GAUGES = {"memories": "turns", "projects": "projects", "pending": "sync_pending", "lag": "sync_lag_seconds"}


class MemorySeries(Collector):
    """`suite_memory_*`, read from `Memory.series` at the moment of the scrape; none while the database does not answer."""

    def __init__(self, series: Callable[[], dict[str, float]]) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        """One family per number."""
        try:
            found = self._series()
        except SuiteError:
            return
        for name, suffix in GAUGES.items():
            yield gauge_family(f"suite_memory_{suffix}", found[name])

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the database."""
        return []
