"""The embedded store's numbers as Prometheus metrics, read at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.errors import SuiteError

GAUGES = (("points", "Points in the collection."), ("indexed_vectors", "Vectors in an index, as the engine counts them."),
          ("unoptimized_points", "Points written or deleted since the index was last brought up to date."),
          ("optimizing", "1 while the index is brought up to date, else 0."))


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
        for name, text in GAUGES:
            gauge = GaugeMetricFamily(f"suite_vectors_{name}", text, labels=("collection",))
            for collection, row in stats.items():
                gauge.add_metric((collection,), row[name])
            yield gauge
        runs = CounterMetricFamily("suite_vectors_optimizations", "Runs that brought an index up to date, or failed to.",
                                   labels=("collection", "outcome"))
        seconds = CounterMetricFamily("suite_vectors_optimize_seconds", "Seconds spent on such runs.", labels=("collection",))
        for collection, row in stats.items():
            runs.add_metric((collection, "done"), row["done"])
            runs.add_metric((collection, "failed"), row["failed"])
            seconds.add_metric((collection,), row["seconds"])
        yield runs
        yield seconds

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at every collection."""
        return []
