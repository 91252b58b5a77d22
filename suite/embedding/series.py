"""The embedder's numbers as Prometheus series."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.embedding.embed import Embedder
from suite.monitoring.table import counter_family, gauge_family

COUNTERS = ("texts", "tokens", "cache_hits", "cache_misses", "cache_damaged", "cache_failures")


class EmbeddingSeries(Collector):
    """`suite_embedding_*`, read at the moment of the scrape."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def collect(self) -> Iterable[Metric]:
        """One family per number."""
        stats = self._embedder.stats()
        for name in COUNTERS:
            yield counter_family(f"suite_embedding_{name}_total", stats[name])
        yield gauge_family("suite_embedding_cache_bytes", stats["cache_bytes"])

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the cache."""
        return []
