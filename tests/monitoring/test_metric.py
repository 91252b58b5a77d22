"""Numbers are kept per stack and told in Prometheus' own format."""

from __future__ import annotations

import threading
import time

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from suite.monitoring.metric import Metrics, ReadySeries
from suite.monitoring.probe import bad, good


def samples(metrics: Metrics, job: str = "rag") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition(job).decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def test_requests_are_counted_by_part_route_and_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 503):
        metrics.observe("rag", "rag", "/query", status, 0.02)
    seen = samples(metrics)
    labels = (("part", "rag"), ("route", "/query"))
    assert seen[("suite_requests_total", (*labels, ("status", "200")))] == 2 and seen[("suite_requests_total", (*labels, ("status", "503")))] == 1
    assert seen[("suite_request_seconds_count", labels)] == 3
    assert seen[("suite_request_seconds_bucket", (("le", "0.01"), *labels))] == 0
    assert seen[("suite_request_seconds_bucket", (("le", "0.03"), *labels))] == 3


def test_what_fails_first_is_counted_from_zero() -> None:
    """Else no rule can tell how fast the failures of a route grow that was only ever answered well."""
    metrics = Metrics()
    metrics.observe("rag", "rag", "/query", 200, 0.02)
    seen = samples(metrics)
    found = {dict(labels)["status"]: value for (name, labels), value in seen.items() if name == "suite_requests_total"}
    assert found == {"200": 1.0, "500": 0.0, "502": 0.0, "503": 0.0}
    metrics.observe("rag", "rag", "/query", 503, 0.02)
    metrics.observe("rag", "rag", "/query", 200, 0.02)
    assert samples(metrics)[("suite_requests_total", (("part", "rag"), ("route", "/query"), ("status", "503")))] == 1


def test_readiness_is_asked_at_the_moment_of_the_scrape() -> None:
    metrics, states = Metrics(), iter([good(), bad("The store is gone.")])
    metrics.registry("qdrant").register(ReadySeries("qdrant", lambda: next(states)))
    asked = [samples(metrics, "qdrant")[("suite_part_ready", (("part", "qdrant"),))] for _ in range(2)]
    assert asked == [1, 0]


def test_a_target_gives_its_own_numbers_only_and_the_whole_tells_them_apart() -> None:
    metrics = Metrics()
    metrics.observe("rag", "rag", "/query", 200, 0.1)
    metrics.observe("monitoring", "logs", "/ready", 200, 0.1)
    assert {dict(labels).get("part") for _, labels in samples(metrics, "monitoring")} == {"logs"}
    families = text_string_to_metric_families(metrics.everything(lambda job: f"{job}:1").decode())
    seen = {tuple(sample.labels[name] for name in ("job", "instance", "part")) for family in families for sample in family.samples}
    assert seen == {("rag", "rag:1", "rag"), ("monitoring", "monitoring:1", "logs")}


def test_what_was_just_given_can_be_had_without_reading_it_and_what_was_given_before_not() -> None:
    metrics = Metrics()
    metrics.observe("rag", "rag", "/query", 200, 0.1)
    before = time.monotonic()
    assert metrics.seen("rag", before) is None
    metrics.exposition("rag")
    assert {family.name for family in metrics.seen("rag", before) or ()} == {"suite_requests", "suite_request_seconds"}
    assert metrics.seen("rag", time.monotonic()) is None


def test_a_slow_answer_does_not_take_the_place_of_one_that_began_later() -> None:
    metrics, begun, go_on = Metrics(), threading.Event(), threading.Event()
    rounds = iter([True, False])

    class Slow:
        def collect(self) -> list[Metric]:
            if next(rounds):
                begun.set()
                go_on.wait(30)
            return []

    metrics.registry("rag").register(Slow())
    slow = threading.Thread(target=metrics.exposition, args=("rag",))
    slow.start()
    assert begun.wait(30)
    since = time.monotonic()
    metrics.exposition("rag")
    go_on.set()
    slow.join(30)
    assert metrics.seen("rag", since) is not None


def test_two_stacks_in_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.observe("rag", "rag", "/query", 200, 0.1)
    assert b"/query" in first.exposition("rag") and b"/query" not in second.exposition("rag")


def test_no_count_is_lost_between_threads() -> None:
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.observe("a", "a", "/b", 200, 0.001) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert samples(metrics, "a")[("suite_request_seconds_count", (("part", "a"), ("route", "/b")))] == 2000


def test_odd_labels_stay_readable_to_prometheus() -> None:
    metrics = Metrics()
    metrics.observe("rag", "rag", 'a"b\\c\n한글', 200, 0.1)
    assert any(dict(labels).get("route") == 'a"b\\c\n한글' for _, labels in samples(metrics))
