"""The embedded store's numbers as Prometheus metrics, read at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.errors import SuiteError
from suite.monitoring.table import counter_family, gauge_family

GAUGES = ("points", "indexed_vectors", "unoptimized_points", "optimizing")


class VectorSeries(Collector):
    """One series per collection; `stats` is the store's. They begin anew when the store is opened."""

    def __init__(self, stats: Callable[[], dict[str, Any]]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """The families; none of a store that is closed."""
        try:
            stats = self._stats()
        except SuiteError:
            return
        for name in GAUGES:
            gauge = gauge_family(f"suite_vectors_{name}")
            for collection, row in stats.items():
                gauge.add_metric((collection,), row[name])
            yield gauge
        runs = counter_family("suite_vectors_optimizations_total")
        seconds = counter_family("suite_vectors_optimize_seconds_total")
        for collection, row in stats.items():
            runs.add_metric((collection, "done"), row["done"])
            runs.add_metric((collection, "failed"), row["failed"])
            seconds.add_metric((collection,), row["seconds"])
        yield runs
        yield seconds

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at every collection."""
        return []
