"""All alerts of one stack as they go from pending to firing to resolved, by the same steps as in Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from suite.errors import SuiteError
from suite.monitoring.alert import FIRING, PENDING, RESOLVED, Alert
from suite.monitoring.evaluate import PROMETHEUS_3, Held, Pairs, evaluate
from suite.monitoring.rule import Rule
from suite.monitoring.samples import Samples
from suite.monitoring.sentence import fill
from suite.monitoring.window import Semantics

OUTAGE = 3600.0  # seconds without evaluation after which a pending alert has to begin anew


@dataclass(frozen=True)
class Changes:
    """What one evaluation brought: alerts that began to fire, alerts that are over (told this once), and per rule why it could not be evaluated."""

    fired: tuple[Alert, ...] = ()
    resolved: tuple[Alert, ...] = ()
    failed: Mapping[str, str] | None = None


class Alerts:
    """The state of all rules' alerts. `evaluate` moves it on; it may be read from other threads meanwhile."""

    def __init__(self, rules: Sequence[Rule], semantics: Semantics = PROMETHEUS_3) -> None:
        self.rules = tuple(rules)
        self._semantics = semantics
        self._active: dict[str, dict[Pairs, Alert]] = {rule.key: {} for rule in self.rules}
        self._evaluated_at: float | None = None
        self._lock = threading.Lock()

    def evaluate(self, samples: Samples, at: float) -> Changes:
        """Evaluate all rules at the moment `at` (UTC seconds). A rule whose samples cannot be read keeps its alerts as they are."""
        fired: list[Alert] = []
        resolved: list[Alert] = []
        failed: dict[str, str] = {}
        for rule in self.rules:
            try:
                held = evaluate(rule, samples, at, self._semantics)
            except SuiteError as error:
                failed[rule.key] = error.message
                continue
            began, ended = self._advance(rule, held, at)
            fired += began
            resolved += ended
        with self._lock:
            self._evaluated_at = at
        return Changes(tuple(fired), tuple(resolved), failed)

    def active(self) -> tuple[Alert, ...]:
        """The alerts that are pending or firing, the most severe first within each state."""
        with self._lock:
            found = [alert for alerts in self._active.values() for alert in alerts.values()]
        order = ("critical", "warning", "info", "none")
        return tuple(sorted(found, key=lambda alert: (alert.state != FIRING, order.index(alert.severity), alert.key)))

    def state(self) -> dict[str, Any]:
        """All that must outlive a restart, as JSON."""
        return {"evaluated_at": self._evaluated_at, "alerts": [alert.to_dict() for alert in self.active()]}

    def restore(self, state: Mapping[str, Any], at: float) -> tuple[Alert, ...]:
        """Go on from what `state` gave before a restart, and return the alerts whose rule is gone, as resolved.

        A pending alert begins anew when nothing was evaluated for more than OUTAGE seconds.
        """
        before = state.get("evaluated_at")
        lasting = before is not None and at - before <= OUTAGE
        gone = []
        for row in state.get("alerts", []):
            alert = Alert.from_dict(row)
            if alert.rule not in self._active:
                gone += [replace(alert, state=RESOLVED, resolved_at=at)] if alert.state == FIRING else []
            elif alert.state == FIRING or lasting:
                with self._lock:
                    self._active[alert.rule][alert.key] = alert
        return tuple(gone)

    def _advance(self, rule: Rule, held: Sequence[Held], at: float) -> tuple[list[Alert], list[Alert]]:
        before, now, fired = self._active[rule.key], {}, []
        for one in held:
            alert = _alert(rule, one, at)
            known = before.get(alert.key)
            if known:
                since = min(known.active_since, at)  # a clock that was put back must not hold an alert off
                alert = replace(alert, state=known.state, active_since=since, fired_at=known.fired_at)
            if alert.state == PENDING and at - alert.active_since >= rule.hold:
                alert = replace(alert, state=FIRING, fired_at=at)
                fired.append(alert)
            now[alert.key] = alert
        resolved = [replace(alert, state=RESOLVED, resolved_at=at) for key, alert in before.items() if key not in now and alert.state == FIRING]
        with self._lock:
            self._active[rule.key] = now
        return fired, resolved


def _alert(rule: Rule, held: Held, at: float) -> Alert:
    labels = {**held.labels, "alertname": rule.name, "severity": rule.severity}
    return Alert(rule=rule.key, labels=labels, state=PENDING, active_since=at, value=held.value, unit=rule.unit,
                 summary=fill(rule.sentence, rule.unit, held.labels, held.value))
