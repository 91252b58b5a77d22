"""Numbers are kept per stack and told in Prometheus' own format."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from suite.monitoring.metric import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def test_requests_are_counted_by_part_route_and_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 503):
        metrics.observe("rag", "/query", status, 0.02)
    seen = samples(metrics)
    labels = (("part", "rag"), ("route", "/query"))
    assert seen[("suite_requests_total", (*labels, ("status", "200")))] == 2 and seen[("suite_requests_total", (*labels, ("status", "503")))] == 1
    assert seen[("suite_request_seconds_count", labels)] == 3
    assert seen[("suite_request_seconds_bucket", (("le", "0.01"), *labels))] == 0
    assert seen[("suite_request_seconds_bucket", (("le", "0.03"), *labels))] == 3


def test_readiness_is_a_gauge_that_follows() -> None:
    metrics = Metrics()
    metrics.ready("qdrant", True)
    metrics.ready("qdrant", False)
    assert samples(metrics)[("suite_part_ready", (("part", "qdrant"),))] == 0


def test_two_stacks_in_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.observe("rag", "/query", 200, 0.1)
    assert b"/query" in first.exposition() and b"/query" not in second.exposition()


def test_a_registry_can_be_handed_in() -> None:
    registry = CollectorRegistry()
    Metrics(registry).observe("rag", "/x", 200, 0.1)
    assert registry.get_sample_value("suite_requests_total", {"part": "rag", "route": "/x", "status": "200"}) == 1


def test_no_count_is_lost_between_threads() -> None:
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.observe("a", "/b", 200, 0.001) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert samples(metrics)[("suite_request_seconds_count", (("part", "a"), ("route", "/b")))] == 2000


def test_odd_labels_stay_readable_to_prometheus() -> None:
    metrics = Metrics()
    metrics.observe("rag", 'a"b\\c\n한글', 200, 0.1)
    assert any(dict(labels).get("route") == 'a"b\\c\n한글' for _, labels in samples(metrics))
