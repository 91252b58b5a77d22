"""Each packaged rule fires at the moment it should, and not where it should not."""

from __future__ import annotations

from itertools import accumulate

import pytest
from rule_scene import GONE, Scene

from suite.monitoring.alerts import Alerts
from suite.monitoring.load_rules import load_rules

LONG, EVERY, CHANGE = 240, 15, 20  # scrapes, seconds between two, the scrape at which things change (300 s)
HOST = {"job": "monitoring", "instance": "host:9090"}
RULES = {rule.key: rule for rule in load_rules()}
Row = tuple[str, list[float | None], dict[str, str]]  # metric, values, labels beside job and instance


def level(before: float, after: float | None = None) -> list[float | None]:
    """A gauge that changes once."""
    return [before] * CHANGE + [before if after is None else after] * (LONG - CHANGE)


def growth(before: float, after: float) -> list[float | None]:
    """A counter that grows by so much per scrape, from the change on by so much."""
    return list(accumulate([0.0, *[before] * CHANGE, *[after] * (LONG - CHANGE - 1)]))


def once(count: float) -> list[float | None]:
    """A counter that jumps at the change."""
    return level(0, count)


def histogram(metric: str, limits: tuple[float, ...], quick: float, before: float, after: float, slow: float, **labels: str) -> list[Row]:
    """`before` observations of `quick` seconds per scrape, and from the change on `after` of `slow` seconds beside them."""
    rows = [(f"{metric}_bucket", growth(before * (quick <= limit), before * (quick <= limit) + after * (slow <= limit)), {**labels, "le": str(limit)})
            for limit in (*limits, float("inf"))]
    rows = [(name, values, {**more, "le": "+Inf"} if more["le"] == "inf" else more) for name, values, more in rows]
    return [*rows, (f"{metric}_count", growth(before, before + after), labels)]


def share(metric: str, label: str, good: str, bad: str, count: float, of_it: float, **labels: str) -> list[Row]:
    """`count` events per scrape, of which a part is bad from the change on."""
    return [(metric, growth(count, count * (1 - of_it)), {**labels, label: good}), (metric, growth(0, count * of_it), {**labels, label: bad})]


ROUTE = {"part": "rag", "route": "/query"}
GATEWAY = {"part": "api-gateway", "route": "/v1/models"}
REQUEST, REPLY, FIRST, STAGE = (0.1, 1, 2, 3), (10, 60, 120), (1, 10, 30), (0.1, 1, 2)
DISK, MEMORY, CARD = "suite_host_disk_bytes", "suite_host_memory_bytes", "suite_gpu_memory_bytes"
HELD = "suite_model_memory_bytes"
ON_CARD, IN_RAM = ({"server": "inference-chat", "model": "m", "where": where} for where in ("gpu", "ram"))
CHECK = {"check": "P2.4", "phase": "2"}
DAY = 86_400
# Where a part of the events turns bad at 300 s, their share of a window of w seconds passes a limit L after w * L / part seconds; then comes `for`.
# It is not above the limit by much: the good series is continued to the window's left edge, the bad one was 0 there and is not.
CASES: dict[str, tuple[list[Row], float, list[Row]]] = {
    "PartDown/critical": ([("up", level(1, 0), {})], 360, [("up", [1.0] * 20 + [0.0] * 3 + [1.0] * 100, {})]),
    "PartMissing/critical": ([("up", [1.0] * 20 + [GONE], {})], 420, []),
    "PartNotReady/warning": ([("suite_part_ready", level(1, 0), {"part": "rag"})], 420, [("suite_part_ready", level(1), {"part": "rag"})]),
    "PartRestarts/warning": ([("suite_serving_restarts_total", once(3), {})], 300, [("suite_serving_restarts_total", once(2), {})]),
    "RequestErrors/warning": (share("suite_requests_total", "status", "200", "500", 10, 0.1, **ROUTE), 300 + 150 + 120,
                              share("suite_requests_total", "status", "200", "500", 0.9, 1.0, **ROUTE)),
    "RequestErrors/critical": (share("suite_requests_total", "status", "200", "500", 10, 0.5, **ROUTE), 300 + 150 + 120,
                               share("suite_requests_total", "status", "200", "500", 10, 0.2, **ROUTE)),
    # 8 a scrape are quick, 160 in 5 minutes; 2 more a scrape are slow, above 5 % of all after 5 scrapes. In 10 minutes all since the begin count: 6 scrapes
    "RequestsSlow/warning": (histogram("suite_request_seconds", REQUEST, 0.05, 8, 2, 2.5, **GATEWAY), 300 + 75 + 120,
                             histogram("suite_request_seconds", REQUEST, 0.05, 0, 0.9, 2.5, **GATEWAY)),
    "ModelErrors/warning": (share("suite_llm_requests_total", "outcome", "ok", "NotReady", 10, 0.1, alias="chat"), 300 + 150 + 120,
                            share("suite_llm_requests_total", "outcome", "ok", "cancelled", 10, 0.5, alias="chat")),
    "RepliesSlow/warning": (histogram("suite_llm_request_seconds", REPLY, 5, 8, 2, 90, alias="chat"), 300 + 90 + 120,
                            histogram("suite_llm_request_seconds", REPLY, 5, 8, 2, 50, alias="chat")),
    "FirstTokenSlow/warning": (histogram("suite_serving_first_token_seconds", FIRST, 0.5, 8, 2, 20), 300 + 90 + 120,
                               histogram("suite_serving_first_token_seconds", FIRST, 0.5, 0, 0.4, 20)),
    "BreakerOpen/critical": ([("suite_gateway_breaker", level(0, 2), {"server": "chat"})], 360, [("suite_gateway_breaker", level(0, 1), {"server": "chat"})]),
    "QueueDeep/warning": ([("suite_serving_queue_depth", level(0, 33), {})], 420, [("suite_serving_queue_depth", level(0, 32), {})]),
    "SearchSlow/warning": (histogram("suite_retrieval_stage_seconds", STAGE, 0.05, 8, 2, 1.5, stage="search"), 300 + 75 + 120,
                           histogram("suite_retrieval_stage_seconds", STAGE, 0.05, 8, 2, 1.5, stage="llm")),
    "QueryErrors/warning": (share("suite_retrieval_queries_total", "outcome", "answered", "error", 10, 0.1), 300 + 300 + 120,
                            share("suite_retrieval_queries_total", "outcome", "answered", "empty", 10, 0.5)),
    "VectorErrors/warning": ([("suite_retrieval_errors_total", once(11), {"stage": "search"})], 360,
                             [("suite_retrieval_errors_total", [40.0] * LONG, {"stage": "search"})]),
    "MemoryNotSynced/warning": ([("suite_memory_sync_lag_seconds", level(0, 901), {})], 600, [("suite_memory_sync_lag_seconds", level(0, 900), {})]),
    "MaintainerStalled/critical": ([("suite_maintainer_heartbeat_age_seconds", level(1, 301), {})], 360,
                                   [("suite_maintainer_heartbeat_age_seconds", level(1, 300), {})]),
    "MaintainerJobFailed/warning": ([("suite_maintainer_job_failed", level(0, 1), {"task": "sync"})], 360,
                                    [("suite_maintainer_job_failed", level(0), {"task": "sync"})]),
    "BackupNotVerified/warning": ([("suite_backup_verified_age_seconds", level(0, 26 * 3600 + 1), {})], 600,
                                  [("suite_backup_verified_age_seconds", level(0, 26 * 3600), {})]),
    "BackupNotVerified/critical": ([("suite_backup_verified_age_seconds", level(0, 7 * DAY + 1), {})], 600,
                                   [("suite_backup_verified_age_seconds", level(0, 7 * DAY), {})]),
    "BackupMissing/warning": ([("suite_backup_verified_age_seconds", [5.0] * 20 + [GONE], {})], 1200, [("suite_backup_verified_age_seconds", level(5), {})]),
    "ApprovalsExpired/warning": ([("suite_approval_expired_total", once(1), {})], 360, [("suite_approval_expired_total", [3.0] * LONG, {})]),
    "ApprovalOverdue/warning": ([("suite_approval_oldest_pending_seconds", level(0, 301), {})], 360,
                                [("suite_approval_oldest_pending_seconds", level(0, 300), {})]),
    "ApprovalsRejected/warning": ([("suite_approval_decision_seconds_count", once(4), {"decision": "approved"}),
                                   ("suite_approval_decision_seconds_count", once(2), {"decision": "rejected"})], 600,
                                  [("suite_approval_decision_seconds_count", once(2), {"decision": "approved"}),
                                   ("suite_approval_decision_seconds_count", once(2), {"decision": "rejected"})]),
    "DeniedSpike/warning": ([("suite_access_decisions_total", once(21), {"outcome": "denied"})], 300,
                            [("suite_access_decisions_total", once(21), {"outcome": "ask"})]),
    "AuditFailing/critical": ([("suite_audit_failures_total", once(1), {})], 300, [("suite_audit_failures_total", level(0), {})]),
    "HostMemoryLow/warning": ([(MEMORY, level(8e9, 2e9), {"kind": "available"}), (MEMORY, level(16e9), {"kind": "total"})], 600,
                              [(MEMORY, level(8e9, 2.4e9), {"kind": "available"}), (MEMORY, level(16e9), {"kind": "total"})]),
    "HostMemoryLow/critical": ([(MEMORY, level(8e9, 0.7e9), {"kind": "available"}), (MEMORY, level(16e9), {"kind": "total"})], 360,
                               [(MEMORY, level(8e9, 0.9e9), {"kind": "available"}), (MEMORY, level(16e9), {"kind": "total"})]),
    "HostBusy/warning": ([("suite_host_cpu_ratio", level(0.1, 0.81), {})], 600, [("suite_host_cpu_ratio", [0.9, 0.9, 0.9, 0.1] * 50, {})]),
    "DiskSpaceLow/warning": ([(DISK, level(5e11, 1.9e11), {"kind": "free"}), (DISK, level(1e12), {"kind": "total"})], 600,
                             [(DISK, level(5e11, 2e11), {"kind": "free"}), (DISK, level(1e12), {"kind": "total"})]),
    "DiskBytesLow/warning": ([(DISK, level(5e10, 1.9e10), {"kind": "free"})], 600, [(DISK, level(5e10, 2e10), {"kind": "free"}),
                                                                                      (DISK, level(1e10), {"kind": "total"})]),
    "DiskBytesLow/critical": ([(DISK, level(5e10, 1.9e9), {"kind": "free"})], 360, [(DISK, level(5e10, 2e9), {"kind": "free"})]),
    "GpuMemoryHigh/warning": ([(CARD, level(4e9, 7.3e9), {"gpu": "0", "kind": "used"}), (CARD, level(8e9), {"gpu": "0", "kind": "total"})], 360,
                              [(CARD, level(4e9, 7.2e9), {"gpu": "0", "kind": "used"}), (CARD, level(8e9), {"gpu": "0", "kind": "total"})]),
    "GpuHot/warning": ([("suite_gpu_temperature_celsius", level(40, 88), {"gpu": "0"})], 600, [("suite_gpu_temperature_celsius", level(40, 87), {"gpu": "0"})]),
    "CheckFailed/warning": ([("suite_check_state", [1.0] * 20 + [GONE], {**CHECK, "state": "pass"}),
                             ("suite_check_state", [None] * 20 + [1.0] * 100, {**CHECK, "state": "fail"})], 300,
                            [("suite_check_state", [None] * 20 + [1.0] * 100, {**CHECK, "state": "not-run"})]),
    "GpuNotUsed/warning": ([(HELD, level(9e9, 4.4e9), {**ON_CARD, "kind": "seen"}), (HELD, level(9e9), {**ON_CARD, "kind": "planned"}),
                            (HELD, level(9e9), {**IN_RAM, "kind": "seen"}), (HELD, level(1e9), {**IN_RAM, "kind": "planned"})], 420,
                           [(HELD, level(9e9, 4.5e9), {**ON_CARD, "kind": "seen"}), (HELD, level(9e9), {**ON_CARD, "kind": "planned"}),
                            (HELD, level(0), {**IN_RAM, "kind": "seen"}), (HELD, level(9e9), {**IN_RAM, "kind": "planned"})]),
    "LogSilent/warning": ([("suite_log_last_line_age_seconds", level(0, 301), {})], 300, [("suite_log_last_line_age_seconds", level(0, 300), {})]),
    "LogLinesLost/warning": ([("suite_log_lost_total", once(1), {})], 300, [("suite_log_lost_total", level(7), {})]),
    "NotificationsFailing/warning": ([("suite_notifications_total", once(1), {"sink": "mail", "outcome": "failed"})], 300,
                                     [("suite_notifications_total", once(1), {"sink": "mail", "outcome": "sent"})]),
    "AlertRehearsal/warning": ([("suite_alert_rehearsal", level(0, 1), {"marker": "c0ffee"})], 300, [("suite_alert_rehearsal", level(0), {"marker": ""})]),
    "EvaluationStalled/critical": ([("suite_evaluation_age_seconds", level(1, 121), {})], 300, [("suite_evaluation_age_seconds", level(1, 120), {})]),
}


def scene(rows: list[Row]) -> Scene:
    made = Scene(EVERY)
    for metric, values, labels in rows:
        made.add(metric, values, **HOST, **labels)
    return made


def first_firing(key: str, rows: list[Row]) -> float | None:
    alerts, store = Alerts([RULES[key]]), scene(rows)
    return next((moment for moment in range(0, LONG * EVERY, EVERY) if alerts.evaluate(store, moment).fired), None)


@pytest.mark.parametrize("key", [key for key in CASES if key != "PartMissing/critical"])
def test_a_rule_fires_when_it_should_and_only_then(key: str) -> None:
    fires, moment, quiet = CASES[key]
    assert first_firing(key, fires) == moment
    assert first_firing(key, quiet) is None


def test_a_target_that_is_gone_is_named() -> None:
    jobs = RULES["PartMissing/critical"].each[1]
    alerts, store = Alerts([RULES["PartMissing/critical"]]), Scene(EVERY)
    for job in jobs:
        store.add("up", [1.0] * 20 + [GONE] if job == "rag" else [1.0] * LONG, job=job, instance="x")
    moments = {moment: alerts.evaluate(store, moment).fired for moment in range(0, 900, EVERY)}
    assert [(moment, [alert.labels["job"] for alert in fired]) for moment, fired in moments.items() if fired] == [(300 + 120, ["rag"])]
    assert len(jobs) == 9


def test_the_dead_mans_switch_fires_from_the_first_evaluation_on() -> None:
    alerts = Alerts([RULES["Watchdog/none"]])
    assert [alert.name for alert in alerts.evaluate(Scene(), 0).fired] == ["Watchdog"]
    assert not alerts.evaluate(Scene(), 1e6).resolved


def test_every_rule_is_tested() -> None:
    assert RULES.keys() == CASES.keys() | {"Watchdog/none"}
