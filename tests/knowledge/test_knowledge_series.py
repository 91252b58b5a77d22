"""What the metrics of questions begin with."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from suite.knowledge.series import KnowledgeSeries


def test_the_first_failures_of_questions_are_counted_from_zero() -> None:
    """Else no rule can tell how fast they grow."""
    registry = CollectorRegistry()
    series = KnowledgeSeries(registry)

    def seen(outcome: str) -> float | None:
        return registry.get_sample_value("suite_retrieval_queries_total", {"outcome": outcome})

    assert [seen(outcome) for outcome in ("answered", "empty", "refused", "error")] == [0, 0, 0, 0]
    series.asked(None)
    assert seen("error") == 1
