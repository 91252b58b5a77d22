"""The embedder's numbers as Prometheus series."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.embedding.embed import Embedder

COUNTERS = {
    "texts": "Texts that the embedding model read.",
    "tokens": "Tokens that the embedding model read.",
    "cache_hits": "Vectors that were found in the cache instead.",
    "cache_misses": "Vectors that were looked for in the cache and not there.",
    "cache_damaged": "Vectors of the cache that were not what had been put there; they were computed anew.",
    "cache_failures": "Times that the cache could not be read or written.",
}


class EmbeddingSeries(Collector):
    """`suite_embedding_*`, read at the moment of the scrape."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def collect(self) -> Iterable[Metric]:
        """One family per number."""
        stats = self._embedder.stats()
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(f"suite_embedding_{name}", text, stats[name])
        yield GaugeMetricFamily("suite_embedding_cache_bytes", "Bytes that the cache of vectors takes on disk.", stats["cache_bytes"])

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the cache."""
        return []
