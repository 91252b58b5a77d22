"""Who watches the stack under test: its own monitoring, or the Prometheus and Alertmanager that its settings name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from suite.checks.target import Target, told
from suite.errors import NotReady, SuiteError
from suite.monitoring.load_rules import load_rules
from suite.monitoring.reading import EmbeddedReading, Reading, reading
from suite.monitoring.rule import Matcher

ROUNDS = 3  # of looking that a check waits for what is new before it is stale
SLACK = 5.0  # seconds beyond, in which a round is made and kept
LONGEST = 900.0  # seconds that a check waits at most, however seldom the stack is looked at
NO_STACK = "this stack is of another make, and base_urls names no Prometheus of it (as monitoring) that could be asked"
UNMEASURED = ("alerts", "logs", "dashboard")  # ports that give no metrics of their own; their requests are counted at `monitoring`


@dataclass(frozen=True)
class Server:
    """A server that a check asks: `send(method, path, **options)` gives any answer."""

    name: str
    send: Callable[..., httpx.Response]

    def json(self, path: str, method: str = "GET", **options: Any) -> Any:
        """The JSON of a 2xx answer; raises UpstreamError for any other, NotReady when nobody answers."""
        return told(self.send(method, path, **options), f"{self.name} answered {method} {path}")


@dataclass(frozen=True)
class Watched:
    """Whoever watches: `store` keeps the samples, `reading` reads them; `real` says that it is a Prometheus.

    `alerts` is the stack's own port where alerts are told, `alertmanager` a real one. `ports` are those of a stack of ours, by name; `rules` the
    names and severities that it must be watched by.
    """

    store: Server
    reading: Reading
    alerts: Server | None
    alertmanager: Server | None
    ports: Mapping[str, int] | None
    rules: frozenset[tuple[str, str]]
    real: bool

    @property
    def patience(self) -> float:
        """Seconds to wait for something new."""
        return ROUNDS * self.reading.interval() + SLACK


def watched(target: Target) -> Watched | None:
    """Who watches the stack; None where it is of another make and no Prometheus was named. Raises NotReady where a stack of ours is not watched."""
    record = target.parts()
    if record is None:
        return _foreign(target)
    host = record["host"]
    if "monitoring" not in target.urls:
        raise NotReady("Monitoring is off in this stack; set MONITORING_ENABLED=true and start it again.")
    prometheus, alertmanager = _setting(host, "prometheus_url"), _setting(host, "alertmanager_url")
    store = _other(target, "Prometheus", prometheus) if prometheus else _own(target, "monitoring")
    manager = _other(target, "Alertmanager", alertmanager) if alertmanager else None
    rules = frozenset((rule.name, rule.severity) for rule in load_rules())
    return Watched(store, _reading(store), _own(target, "alerts") if "alerts" in target.urls else None, manager, host["ports"], rules,
                   bool(prometheus))


def moment_of(text: str) -> float:
    """UTC seconds of a moment as RFC 3339 writes it."""
    return datetime.fromisoformat(text).timestamp()


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it holds within so many seconds; a refusal meanwhile counts as no."""
    seconds = min(seconds, LONGEST)
    end, pause = time.monotonic() + seconds, max(0.1, seconds / 60)  # each question is a request that the stack answers, counts and notes
    while True:
        try:
            if condition():
                return True
        except SuiteError:
            pass
        if time.monotonic() >= end:
            return False
        time.sleep(pause)


def newest(found: Reading, metric: str, begin: float, *matchers: Matcher) -> dict[tuple[tuple[str, str], ...], tuple[float, float]]:
    """By labels: moment and value of the newest sample since `begin` of each series that is not gone; empty for a metric that is not there."""
    try:
        series = found.select(metric, matchers, begin)
    except SuiteError:
        return {}
    rows = {tuple(sorted(one.labels.items())): (float(one.times[-1]), float(one.values[-1])) for one in series if len(one.times)}
    return {labels: row for labels, row in rows.items() if math.isfinite(row[1])}


def _foreign(target: Target) -> Watched | None:
    if "monitoring" not in target.urls:
        return None
    store = _own(target, "monitoring")
    manager = _own(target, "alerts") if "alerts" in target.urls else None
    found = _reading(store)
    return Watched(store, found, None, manager, None, frozenset(), not isinstance(found, EmbeddedReading))


def _own(target: Target, part: str) -> Server:
    return Server(part, lambda method, path, **options: target.call(method, part, path, **options))


def _other(target: Target, name: str, url: str) -> Server:
    return Server(name, lambda method, path, **options: target.call_other(method, url.rstrip("/") + path, **options))


def _reading(store: Server) -> Reading:
    return reading(lambda path, parameters: store.json(path, params=dict(parameters)))


def _setting(host: Mapping[str, Any], name: str) -> str:
    url = str(host.get(name) or "")
    if url and not url.startswith("http"):
        raise NotReady(f"{name.upper()} holds a password, which no check is told; let it be reached without one from this machine.")
    return url
