"""A generated history of everything that the dashboards show: steady and jumping gauges, counters that begin anew, gaps, targets that go and come back."""

from __future__ import annotations

import random
from itertools import accumulate

import numpy as np
from rule_histories import HOST, SCRAPE, STALE, Labels, Memory, at

SCRAPES = 720  # three hours
GAUGES: dict[str, list[Labels]] = {
    "up": [at(job) for job in ("rag", "qdrant", "monitoring")], "suite_part_ready": [at("rag", part="rag"), {**HOST, "part": "memory-maintainer"}],
    "suite_host_memory_bytes": [{**HOST, "kind": "available"}, {**HOST, "kind": "total"}], "suite_host_cpu_ratio": [HOST],
    "suite_access_actors": [at("mcp-server", role=role) for role in ("guest", "admin")],
    "suite_approvals": [at("mcp-server", state=state) for state in ("pending", "approved", "expired")],
}
COUNTERS: dict[str, list[Labels]] = {
    "suite_requests_total": [at(job, part=job, route=route, status="200") for job in ("api-gateway", "rag") for route in ("/query", "/health", "/metrics")],
    "suite_retrieval_errors_total": [at("rag", stage="search"), at("rag", stage="llm")],
    "suite_access_decisions_total": [at("mcp-server", outcome=outcome) for outcome in ("allowed", "denied", "ask")],
    "suite_approval_expired_total": [at("mcp-server")],
    "suite_tool_calls_total": [at("mcp-server", tool=tool, outcome=outcome) for tool in ("a", "b") for outcome in ("done", "failed", "denied")],
}
HISTOGRAMS: dict[str, list[Labels]] = {
    "suite_llm_request_seconds": [at("api-gateway", alias="chat"), at("api-gateway", alias="code")],
    "suite_retrieval_stage_seconds": [at("rag", stage=stage) for stage in ("search", "total")],
    "suite_request_seconds": [at("api-gateway", part="api-gateway", route=route) for route in ("/v1/models", "/metrics", "/health")],
    "suite_approval_decision_seconds": [at("mcp-server", decision="approved"), at("mcp-server", decision="rejected")],
}
LIMITS = (0.01, 0.1, 1.0, 10.0, 60.0)


def chart_history(begin: int, seed: int) -> Memory:
    """The history of that seed, from `begin` (UTC seconds) on."""
    chance, store = random.Random(seed), Memory()
    late = {job: chance.randrange(SCRAPE * 1000) for job in ("rag", "qdrant", "monitoring", "api-gateway", "mcp-server")}
    away = {job: (start := chance.randrange(SCRAPES), start + chance.choice([0, 2, 20, 100])) for job in late}

    def add(metric: str, labels: Labels, values: list[float]) -> None:
        job = labels["job"]
        first, last = chance.choice([0, 0, chance.randrange(SCRAPES // 2)]), chance.choice([SCRAPES, SCRAPES, chance.randrange(SCRAPES // 2, SCRAPES)])
        lost = chance.choice([0.0, 0.0, 0.05, 0.4])
        there = [place for place in range(first, last) if chance.random() >= lost and not away[job][0] < place < away[job][1]]
        if away[job][0] < away[job][1]:
            values = [STALE if place == away[job][0] else value for place, value in enumerate(values)]
        ms = np.array([begin * 1000 + place * SCRAPE * 1000 + late[job] for place in there], dtype=np.int64)
        store.add(metric, labels, ms, np.array([values[place] for place in there], dtype=np.float64))

    for metric, rows in GAUGES.items():
        for labels in rows:
            level = chance.choice([1.0, 8.0e9])
            add(metric, labels, [level * chance.choice([1, 1, 1, 0.5, 0]) for _ in range(SCRAPES)])
    for metric, rows in COUNTERS.items():
        for labels in rows:
            add(metric, labels, _grown([chance.choice([0, 0, 0, 1, 7]) for _ in range(SCRAPES)], chance))
    for metric, rows in HISTOGRAMS.items():
        for labels in rows:
            _add_histogram(add, metric, labels, chance)
    return store


def _grown(steps: list[float], chance: random.Random) -> list[float]:
    value, values = float(chance.choice([0, 3, 1000])), []
    for step in steps:
        value = (0.0 if chance.random() < 0.005 else value) + step
        values.append(value)
    return values


def _add_histogram(add: object, metric: str, labels: Labels, chance: random.Random) -> None:
    seen = [chance.choice([0, 0, 1, 3]) for _ in range(SCRAPES)]
    columns = [[0.0] * SCRAPES for _ in range(len(LIMITS) + 1)]
    for place, count in enumerate(seen):
        columns[chance.randrange(len(columns))][place] += count
    rising = [list(accumulate(column)) for column in columns]
    buckets = [[sum(column[place] for column in rising[:width + 1]) for place in range(SCRAPES)] for width in range(len(columns))]
    for name, values in zip((*map(str, LIMITS), "+Inf"), buckets, strict=True):
        add(f"{metric}_bucket", {**labels, "le": name}, values)
    add(f"{metric}_count", labels, buckets[-1])
    add(f"{metric}_sum", labels, [1.7 * value for value in buckets[-1]])
