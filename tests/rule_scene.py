"""A small store of series in memory, and a stand-in for the table of metrics, for the tests of rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from suite.monitoring.rule import Matcher
from suite.monitoring.samples import Series

GONE = float("nan")


class Scene:
    """Series that are given as one value every `every` seconds, from the moment 0; None is a scrape that was lost, NaN marks a series as gone."""

    def __init__(self, every: float = 15.0) -> None:
        self.every = every
        self._rows: list[tuple[str, dict[str, str], Any, Any]] = []

    def add(self, metric: str, values: Sequence[float | None], **labels: str) -> Scene:
        """Add a series; returns the scene, so that calls can be chained."""
        there = [place for place, value in enumerate(values) if value is not None]
        self._rows.append((metric, labels, np.array(there) * self.every, np.array([values[place] for place in there], dtype=np.float64)))
        return self

    def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
        """What the evaluator asks."""
        found = []
        for name, labels, times, values in self._rows:
            if name == metric and all(matcher.matches(labels) for matcher in matchers):
                within = (times >= begin) & (times <= end)
                found.append(Series(labels, times[within], values[within]))
        return found


@dataclass(frozen=True)
class Metric:
    """A row of the table of metrics."""

    kind: str
    unit: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# the metrics that the packaged rules speak of, as they are agreed
TABLE: dict[str, Metric] = {
    "suite_requests_total": Metric("counter", "count", ("part", "route", "status")),
    "suite_request_seconds": Metric("histogram", "seconds", ("part", "route"), (0.01, 0.1, 1, 3, 10, 30, 60)),
    "suite_part_ready": Metric("gauge", "state", ("part",)),
    "suite_llm_requests_total": Metric("counter", "count", ("alias", "model", "outcome")),
    "suite_llm_request_seconds": Metric("histogram", "seconds", ("alias",), (1, 10, 60, 120)),
    "suite_serving_first_token_seconds": Metric("histogram", "seconds", (), (0.1, 1, 10, 30)),
    "suite_gateway_breaker": Metric("gauge", "state", ("server",)),
    "suite_serving_queue_depth": Metric("gauge", "count"),
    "suite_serving_restarts_total": Metric("counter", "count"),
    "suite_retrieval_stage_seconds": Metric("histogram", "seconds", ("stage",), (0.1, 1, 3, 10)),
    "suite_retrieval_queries_total": Metric("counter", "count", ("outcome",)),
    "suite_retrieval_errors_total": Metric("counter", "count", ("stage",)),
    "suite_memory_sync_lag_seconds": Metric("gauge", "seconds"),
    "suite_access_decisions_total": Metric("counter", "count", ("outcome",)),
    "suite_approval_decision_seconds": Metric("histogram", "seconds", ("decision",), (1, 10, 60, 600)),
    "suite_approval_expired_total": Metric("counter", "count"),
    "suite_approval_oldest_pending_seconds": Metric("gauge", "seconds"),
    "suite_audit_failures_total": Metric("counter", "count"),
    "suite_maintainer_heartbeat_age_seconds": Metric("gauge", "seconds"),
    "suite_maintainer_job_failed": Metric("gauge", "state", ("task",)),
    "suite_backup_verified_age_seconds": Metric("gauge", "seconds"),
    "suite_host_cpu_ratio": Metric("gauge", "ratio"),
    "suite_host_memory_bytes": Metric("gauge", "bytes", ("kind",)),
    "suite_host_disk_bytes": Metric("gauge", "bytes", ("kind",)),
    "suite_check_state": Metric("gauge", "state", ("check", "phase", "state")),
    "suite_model_memory_bytes": Metric("gauge", "bytes", ("server", "model", "where", "kind")),
    "suite_gpu_memory_bytes": Metric("gauge", "bytes", ("gpu", "kind")),
    "suite_gpu_temperature_celsius": Metric("gauge", "celsius", ("gpu",)),
    "suite_log_last_line_age_seconds": Metric("gauge", "seconds"),
    "suite_log_lost_total": Metric("counter", "count"),
    "suite_notifications_total": Metric("counter", "count", ("sink", "outcome")),
    "suite_alert_rehearsal": Metric("gauge", "state", ("marker",)),
    "suite_evaluation_age_seconds": Metric("gauge", "seconds"),
    "suite_alert_rehearsal": Metric("gauge", "state", ("marker",)),
}
