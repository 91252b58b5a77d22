"""Questions about documents as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from suite.knowledge.record import Answer
from suite.knowledge.stage import STAGES
from suite.monitoring.table import counter, histogram


class KnowledgeSeries:
    """`suite_retrieval_*`, counted as it happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queries = counter("suite_retrieval_queries_total", registry)
        self._stages = histogram("suite_retrieval_stage_seconds", registry)
        self._errors = counter("suite_retrieval_errors_total", registry)
        for stage in STAGES:
            self._errors.labels(stage)  # a rate needs the zero before the first
            self._stages.labels(stage)
        self._chunks = counter("suite_retrieval_chunks_indexed_total", registry)

    def stage(self, stage: str, seconds: float, failed: bool) -> None:
        """A stage has ended."""
        self._stages.labels(stage).observe(seconds)
        if failed:
            self._errors.labels(stage).inc()

    def asked(self, answer: Answer | None) -> None:
        """A question has ended; None: with an error."""
        self._queries.labels("error" if answer is None else "empty" if not answer.hits else "refused" if answer.refused else "answered").inc()

    def indexed(self, chunks: int) -> None:
        """So many chunks were written."""
        self._chunks.inc(chunks)
