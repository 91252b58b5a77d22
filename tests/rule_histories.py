"""Random histories of everything the alert rules look at: values near limits, gaps, counters that begin anew, series and targets that go and come back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from suite.monitoring.rule import Divisor, Matcher, Rule
from suite.monitoring.samples import Series

SCRAPE, SCRAPES, STEP = 15, 160, 60  # seconds between scrapes, scrapes of a history (40 minutes), seconds between evaluations
GROUP, THEME, CHOSEN = 20, 16, 7  # histories that share a theme, rules in a theme, rules of its theme that a history is about
STALE = float("nan")
HOST = {"job": "monitoring", "instance": "127.0.0.1:9090"}
PARTS = {"api-gateway": 8000, "inference-chat": 8001, "rag": 8002, "embedding": 8003, "inference-code": 8004, "memory-api": 8005, "mcp-server": 8020,
         "qdrant": 6333, "monitoring": 9090}
LIMITS = {"suite_request_seconds": (0.1, 0.5, 1, 2, 3, 5), "suite_llm_request_seconds": (1, 10, 30, 60, 120),
          "suite_serving_first_token_seconds": (0.5, 2.5, 5, 10, 30), "suite_retrieval_stage_seconds": (0.1, 0.5, 1, 2, 5)}

TIED = ("suite_requests_total", "suite_llm_requests_total", "suite_retrieval_queries_total")
MOMENTS = ("probe_started_seconds",)  # their values are seconds since the history's begin
PROBES = (  # what the packaged rules do not need of the language, but a rule file may say
    Rule("ProbeOld", "{job} began {value} ago.", "info", "probe_started_seconds", age=True, threshold=600, unit="seconds", hold=120),
    Rule("ProbeHighest", "The highest level of {job} is {value}.", "info", "probe_level", aggregate="max", by=("job",), op=">=", threshold=5),
    Rule("ProbeLowest", "The lowest level is {value}.", "info", "probe_level", aggregate="min", op="<=", threshold=5, hold=60),
    Rule("ProbeLevel", "A level of {shelf} is not 1 but {value}.", "info", "probe_level", (Matcher("shelf", "=~", "a|c"), Matcher("job", "!=", "qdrant")),
         op="!=", threshold=1),
    Rule("ProbeShare", "The quotient is {value}.", "info", "probe_level", (Matcher("shelf", "=", "a"),), aggregate="sum", by=("job",),
         ratio=Divisor("probe_level"), op="!=", threshold=0.5, unit="ratio"),
    Rule("ProbePart", "The part is {value}.", "info", "probe_level", (Matcher("shelf", "=", "a"),), aggregate="sum", by=("job",), unit="ratio",
         ratio=Divisor("probe_level", (Matcher("shelf", "=", "ab"),), plus=Divisor("probe_level", (Matcher("shelf", "=", "b"),))), threshold=0.5),
    Rule("ProbeRate", "{value} in a second at {instance}.", "info", "suite_requests_total", function="rate", window=300, threshold=0.2, unit="per_second",
         hold=180),
    Rule("ProbeQuick", "Half of {job} begins within {value}.", "info", "suite_serving_first_token_seconds", quantile=0.5, window=120, by=("job",), op="<",
         threshold=5, unit="seconds", minimum=3),
    Rule("ProbeGone", "No {shelf} at {job}.", "info", "probe_level", (Matcher("job", "=", "rag"),), absent=True, each=("shelf", ("a", "b")), hold=60),
)

Labels = dict[str, str]
Key = tuple[str, tuple[tuple[str, str], ...]]


def at(job: str, **labels: str) -> Labels:
    """The labels of a series of one target."""
    return {"job": job, "instance": f"127.0.0.1:{PARTS[job]}", **labels}


SERIES: dict[str, list[Labels]] = {
    "up": [at(job) for job in PARTS],
    "suite_part_ready": [at(job, part=job) for job in ("rag", "qdrant")],
    "suite_serving_restarts_total": [at("inference-chat"), at("inference-code")],
    "suite_requests_total": [at(job, part=job, route=route, status=status) for job in ("api-gateway", "rag") for route in ("/query", "/health")
                             for status in ("200", "404", "500", "503")],
    "suite_request_seconds": [at("api-gateway", part="api-gateway", route=route) for route in ("/v1/models", "/v1/embeddings", "/v1/completions")],
    "suite_llm_requests_total": [at("api-gateway", alias=alias, model="smoke", outcome=outcome) for alias in ("chat", "code")
                                 for outcome in ("ok", "cancelled", "NotReady")],
    "suite_llm_request_seconds": [at("api-gateway", alias="chat"), at("api-gateway", alias="code")],
    "suite_serving_first_token_seconds": [at("inference-chat"), at("inference-code")],
    "suite_gateway_breaker": [at("api-gateway", server="chat"), at("api-gateway", server="code")],
    "suite_serving_queue_depth": [at("inference-chat"), at("inference-code")],
    "suite_retrieval_stage_seconds": [at("rag", stage="search"), at("rag", stage="llm")],
    "suite_retrieval_queries_total": [at("rag", outcome=outcome) for outcome in ("answered", "empty", "error")],
    "suite_retrieval_errors_total": [at("rag", stage="search"), at("rag", stage="llm")],
    "suite_memory_sync_lag_seconds": [at("memory-api")],
    "suite_maintainer_heartbeat_age_seconds": [HOST],
    "suite_maintainer_job_failed": [{**HOST, "task": "sync"}, {**HOST, "task": "backup"}],
    "suite_backup_verified_age_seconds": [HOST],
    "suite_approval_expired_total": [at("mcp-server")],
    "suite_approval_oldest_pending_seconds": [at("mcp-server")],
    "suite_approval_decision_seconds_count": [at("mcp-server", decision="approved"), at("mcp-server", decision="rejected")],
    "suite_access_decisions_total": [at("mcp-server", outcome=outcome) for outcome in ("allowed", "denied", "ask")],
    "suite_audit_failures_total": [at("mcp-server")],
    "suite_host_memory_bytes": [{**HOST, "kind": "available"}, {**HOST, "kind": "total"}],
    "suite_host_cpu_ratio": [HOST],
    "suite_host_disk_bytes": [{**HOST, "kind": "free"}, {**HOST, "kind": "total"}],
    "suite_check_state": [{**HOST, "check": check, "phase": "2", "state": state} for check in ("P2.1", "P2.2") for state in ("pass", "fail")],
    "suite_model_memory_bytes": [{**HOST, "server": f"inference-{role}", "model": "m", "where": where, "kind": kind} for role in ("chat", "code")
                                 for where in ("ram", "gpu") for kind in ("seen", "planned")],
    "suite_gpu_memory_bytes": [{**HOST, "gpu": gpu, "kind": kind} for gpu in ("0", "1") for kind in ("used", "total")],
    "suite_gpu_temperature_celsius": [{**HOST, "gpu": "0"}],
    "suite_log_last_line_age_seconds": [HOST],
    "suite_log_lost_total": [HOST],
    "suite_notifications_total": [{**HOST, "sink": sink, "outcome": outcome} for sink in ("mail", "webhook") for outcome in ("sent", "failed")],
    "suite_alert_rehearsal": [{**HOST, "marker": "m"}],
    "suite_evaluation_age_seconds": [HOST],
    "suite_alert_rehearsal": [{**HOST, "marker": "c0ffee"}],
    "probe_started_seconds": [at("rag"), at("qdrant")],
    "probe_level": [at("rag", shelf="a"), at("rag", shelf="b"), at("rag", shelf="ab"), at("qdrant", shelf="a")],
}


@dataclass
class History:
    """One history: `series` by metric name and labels, each a value per scrape; None where nothing was scraped, NaN where the series is marked as gone."""

    number: int
    series: dict[Key, list[float | None]] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)  # ms by which a target's scrapes come after the full quarter minute

    def untied(self) -> History:
        """The same with counters of many series stretched, each by its own factor.

        promtool adds series up in random order, and where a sum of integers hits a limit exactly the last bit then decides, differently each time.
        """
        chance = random.Random(f"untied {self.number}")
        return History(self.number, {key: _stretched(values, chance.uniform(1, 1.001)) if key[0] in TIED else values
                                     for key, values in self.series.items()}, self.late)

    def samples(self, begin: float, late: bool) -> Memory:
        """The history as a store whose first scrape was at `begin`; with `late`, targets are scraped at their own moments."""
        store = Memory()
        for (metric, labels), values in self.series.items():
            there = [place for place, value in enumerate(values) if value is not None]
            shift = self.late[dict(labels)["job"]] if late else 0
            zero = begin if metric in MOMENTS else 0.0
            ms = np.array([round(begin * 1000) + place * SCRAPE * 1000 + shift for place in there], dtype=np.int64)
            store.add(metric, dict(labels), ms, np.array([values[place] for place in there], dtype=np.float64) + zero)
        return store


class Memory:
    """Samples in memory, behind the face that the evaluator reads."""

    def __init__(self) -> None:
        self.series: dict[str, list[tuple[Labels, Any, Any]]] = {}
        self._found: dict[tuple[str, tuple[Matcher, ...]], list[tuple[Labels, Any, Any]]] = {}

    def add(self, metric: str, labels: Labels, ms: Any, values: Any) -> None:
        """Keep a series; `ms` are milliseconds since 1970."""
        self.series.setdefault(metric, []).append((labels, ms / 1000, values))

    def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
        """The series that meet the matchers, cut to the time."""
        key = (metric, tuple(matchers))
        if key not in self._found:
            self._found[key] = [row for row in self.series.get(metric, []) if all(matcher.matches(row[0]) for matcher in matchers)]
        cut = []
        for labels, times, values in self._found[key]:
            first, last = times.searchsorted(begin, "left"), times.searchsorted(end, "right")
            cut.append(Series(labels, times[first:last], values[first:last]))
        return cut


def theme(rules: Sequence[Rule], seed: int, number: int) -> list[Rule]:
    """The rules that histories of this number's group can move: those that look at targets, and some of the others, dealt like cards so that all come."""
    cards = [rule for rule in rules if not _steady(rule)]
    random.Random(f"{seed}/theme").shuffle(cards)
    first = number // GROUP * THEME
    return [*(cards[place % len(cards)] for place in range(first, first + THEME)), *(rule for rule in rules if _steady(rule))]


def _steady(rule: Rule) -> bool:
    return rule.always or rule.metric == "up"


def history(rules: Sequence[Rule], seed: int, number: int) -> History:
    """The history of that number; the same for the same seed."""
    chance = random.Random(f"{seed}/{number}")
    made = History(number, late={job: chance.choice([0, 0, chance.randrange(SCRAPE * 1000)]) for job in PARTS})
    chosen = chance.sample([rule for rule in theme(rules, seed, number) if not _steady(rule)], CHOSEN)
    _add(made, "up", SERIES["up"], [[1.0 if chance.random() < 0.998 else 0.0 for _ in range(SCRAPES)] for _ in PARTS])
    for rule in chosen:
        if rule.quantile is not None:
            _histogram(made, rule, chance)
        else:
            _plain(made, rule, chance)
    for job in PARTS:
        for _ in range(chance.choice([0, 0, 1, 2])):
            _outage(made, job, chance)
    for values in made.series.values():
        _tear(values, chance)
    return made


def _add(made: History, metric: str, labels: Iterable[Labels], values: Iterable[list[float | None]]) -> None:
    for one, row in zip(labels, values, strict=True):
        made.series.setdefault((metric, tuple(sorted(one.items()))), list(row))


def _plain(made: History, rule: Rule, chance: random.Random) -> None:
    metrics = {rule.metric: rule.matchers} | ({rule.ratio.metric: rule.ratio.matchers} if rule.ratio and rule.ratio.metric != rule.metric else {})
    size = chance.choice([1.0, 8.0e9, 6.4e10]) if rule.unit == "ratio" and not rule.function else 1.0
    for metric, matchers in metrics.items():
        for labels in SERIES[metric]:
            counted = all(matcher.matches(labels) for matcher in matchers)
            if rule.function:
                values = _counter(rule, counted, chance)
            elif rule.ratio:
                values = _part(rule, size, counted and metric == rule.metric, chance)
            else:
                values = _gauge(rule, chance)
            _add(made, metric, [labels], [values])


def _spells(chance: random.Random, choices: Sequence[float]) -> list[float]:
    """One choice per scrape, each for a spell of 1 to 60 scrapes."""
    values: list[float] = []
    while len(values) < SCRAPES:
        values += [chance.choice(choices)] * chance.randint(1, 60)
    return values[:SCRAPES]


def _gauge(rule: Rule, chance: random.Random) -> list[float | None]:
    limit = rule.threshold
    if rule.op in ("==", "!="):
        return list(_spells(chance, [0.0, 1.0, 2.0, limit]))
    near = [limit, limit * 1.001, limit * 0.999, limit / 2, limit * 2, 0.0] if limit else [0.0, 1.0]
    if rule.age:
        return [-round(value) for value in _spells(chance, near)]
    return [round(value * chance.choice([1.0, 1.0, chance.uniform(0.98, 1.02)]), 6) for value in _spells(chance, near)]


def _part(rule: Rule, size: float, part: bool, chance: random.Random) -> list[float | None]:
    if not part:
        return list(_spells(chance, [size, size, size, size, 0.0])) if chance.random() < 0.2 else [size] * SCRAPES
    limit = rule.threshold
    return [round(value * size, 6) for value in _spells(chance, [limit, limit * 1.01, limit * 0.99, limit / 2, limit * 1.5, 0.0])]


def _counter(rule: Rule, bad: bool, chance: random.Random) -> list[float | None]:
    per_scrape = SCRAPE / rule.window
    if rule.ratio:
        traffic = _spells(chance, [0.0, rule.minimum * per_scrape / 2, rule.minimum * per_scrape, 2.0, 10.0])
        share = _spells(chance, [0.0, rule.threshold, rule.threshold * 1.1, rule.threshold * 0.9, 2 * rule.threshold])
        steps = [count * (part if bad else 1 - part) for count, part in zip(traffic, share, strict=True)]
    else:
        most = max(rule.threshold, 1.0) * (rule.window if rule.function == "rate" else 1.0)
        steps = [most * per_scrape * part for part in _spells(chance, [0.0, 0.0, 0.5, 1.0, 1.05, 3.0] if rule.threshold else [0.0, 0.0, 0.0, 0.02, 1.0])]
    return _grown([int(step) + (chance.random() < step % 1) for step in steps], chance)


def _grown(steps: Sequence[float], chance: random.Random) -> list[float | None]:
    """A counter that grows by these steps, and now and then begins anew."""
    value, values = float(chance.choice([0, 0, 3, 1000])), []
    for step in steps:
        value = (0.0 if chance.random() < 0.01 else value) + step
        values.append(value)
    return values


def _histogram(made: History, rule: Rule, chance: random.Random) -> None:
    limits = LIMITS[rule.metric]
    for labels in SERIES[rule.metric]:
        traffic = _spells(chance, [0, 0, 1, 2, 5, 30])
        slow = _spells(chance, [0.0, 0.04, 0.05, 0.06, 0.5, 1.0])
        place = next(index for index, limit in enumerate(limits) if limit >= rule.threshold)
        steps = []
        for count, part in zip(traffic, slow, strict=True):
            late = int(count * part) + (chance.random() < count * part % 1)
            row = [0] * (len(limits) + 1)
            row[chance.choice([0, place - 1, place])] += int(count) - late
            row[chance.choice([place, place + 1, len(limits)])] += late
            steps.append(row)
        again = chance.random() < 0.3 and chance.randrange(SCRAPES)
        columns = [_begun_anew(column, again) for column in zip(*(list(accumulate(row)) for row in steps), strict=True)]
        names = [*(str(float(limit)) for limit in limits), "+Inf"]
        _add(made, f"{rule.metric}_bucket", [{**labels, "le": name} for name in names], columns)
        _add(made, f"{rule.metric}_count", [labels], [columns[-1]])


def _begun_anew(steps: Sequence[float], again: int) -> list[float | None]:
    first = list(accumulate(float(step) for step in steps[:again]))
    return [*first, *accumulate(float(step) for step in steps[again:])]


def _stretched(values: Sequence[float | None], factor: float) -> list[float | None]:
    return [None if value is None else value * factor for value in values]


def _outage(made: History, job: str, chance: random.Random) -> None:
    """A target that is down, taken from the list, or not scraped for a while: its series are marked as gone, or merely have no samples."""
    begin = chance.randrange(SCRAPES)
    end = min(SCRAPES, begin + chance.choice([1, 2, 4, 8, 20, 40, 80]))
    kind = chance.choice(["down", "down", "removed", "paused"])
    for (metric, labels), values in made.series.items():
        if dict(labels)["job"] != job:
            continue
        for place in range(begin, end):
            values[place] = 0.0 if kind == "down" and metric == "up" else None
        if kind == "removed" or (kind == "down" and metric != "up"):
            values[begin] = STALE


def _tear(values: list[float | None], chance: random.Random) -> None:
    """Single lost samples; a series that begins late, ends early, or goes for a while and comes back."""
    lost = chance.choice([0.0, 0.0, 0.0, 0.02, 0.2])
    for place in range(SCRAPES):
        if lost and chance.random() < lost:
            values[place] = None
    fate = chance.choice(["whole"] * 6 + ["late", "early", "away"])
    cut = chance.randrange(1, SCRAPES)
    back = min(SCRAPES, cut + chance.choice([1, 3, 10, 30]))
    if fate == "late":
        values[:cut] = [None] * cut
    elif fate == "early":
        values[cut:] = [STALE, *[None] * (SCRAPES - cut - 1)]
    elif fate == "away":
        values[cut:back] = [STALE, *[None] * (back - cut - 1)]
