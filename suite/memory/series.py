"""What is remembered, and how far its vectors are, as Prometheus series."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.errors import SuiteError

GAUGES = {
    "memories": ("turns", "Turns that are remembered."),
    "projects": ("projects", "Projects that there are."),
    "pending": ("sync_pending", "Vectors that are not written yet, and removals that are not made."),
    "lag": ("sync_lag_seconds", "Age of the oldest of them; 0 when there is none."),
}


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
        for name, (suffix, text) in GAUGES.items():
            yield GaugeMetricFamily(f"suite_memory_{suffix}", text, found[name])

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the database."""
        return []
