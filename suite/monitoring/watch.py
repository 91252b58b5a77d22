"""The rules of one stack at work: looked at after every round, told to whoever is to know, gone on with after a restart."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.monitoring.alert import FIRING, Alert
from suite.monitoring.alertmanager import Alertmanager
from suite.monitoring.alerts import Alerts
from suite.monitoring.deliver import Deliver, Outlet, Sink
from suite.monitoring.notification import Notification, moment
from suite.monitoring.notify import Notify
from suite.monitoring.probe import State, bad, good
from suite.monitoring.promql import expression
from suite.monitoring.rehearsal import NAME as REHEARSAL
from suite.monitoring.rehearsal import Rehearsals
from suite.monitoring.rule import Rule
from suite.monitoring.samples import Samples
from suite.monitoring.silence import Silences
from suite.monitoring.sink import NotebookSink
from suite.monitoring.table import counter_family, gauge_family

FILE = "alerts.json"
log = logging.getLogger("suite.monitoring")


@dataclass(frozen=True)
class Told:
    """Who is told of alerts besides the notebook; without `telling` nobody is, and the alerts are there all the same."""

    sinks: tuple[Sink, ...] = ()
    alertmanager: Alertmanager | None = None
    telling: bool = True


NOBODY = Told()


class Watch:
    """`look` evaluates the rules over `samples` and tells what fires. What fires and what was told is kept in `folder`."""

    def __init__(self, rules: Sequence[Rule], samples: Samples, folder: Path, told: Told = NOBODY, clock: Callable[[], float] = time.time) -> None:
        """Go on from what the folder holds; raises StorageError when its silences are damaged."""
        self.notebook, self.silences, self.rehearsals = NotebookSink(), Silences(folder), Rehearsals(clock)
        self._alerts, self._samples, self._clock, self.telling = Alerts(rules), samples, clock, told.telling
        self._notify, self._alertmanager = Notify(self.silences), told.alertmanager
        self._deliver, self._listeners = Deliver([self.notebook, *told.sinks]), Outlet("rehearsal", self.rehearsals.send)
        self._file, self._written = folder / FILE, ""
        self._failed: dict[str, str] = {}
        self._looked: float | None = None
        self._restore()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are looked at."""
        return self._alerts.rules

    @property
    def looked(self) -> float | None:
        """When they were last looked at (UTC seconds)."""
        return self._looked

    def active(self) -> tuple[Alert, ...]:
        """The alerts that are pending or firing."""
        return self._alerts.active()

    def failed(self) -> dict[str, str]:
        """Why a rule could not be evaluated, by its key."""
        return dict(self._failed)

    def ready(self) -> State:
        """Whether the rules are looked at, each of them."""
        if self._looked is None:
            return bad("The rules have not been looked at yet; ask again in a moment.", rules=len(self.rules))
        reasons = [f"Rule {key} cannot be evaluated: {why}" for key, why in self._failed.items()]
        facts = {"rules": len(self.rules), "active": len(self.active()), "looked": self._looked}
        return bad(*reasons, **facts) if reasons else good(**facts)

    def notifications(self) -> tuple[Notification, ...]:
        """What was told, newest first."""
        return self.notebook.rows()

    def counts(self) -> dict[str, dict[str, int]]:
        """By place: how many notifications were sent, and how many could not be."""
        return self._deliver.counts() | (self._alertmanager.counts() if self._alertmanager else {})

    def described(self) -> list[dict[str, Any]]:
        """Each rule and how it is, as Prometheus' API says it."""
        active = self.active()
        return [_described(self, rule, [alert for alert in active if alert.rule == rule.key]) for rule in self.rules]

    def look(self, at: float) -> None:
        """Evaluate every rule at that moment, tell what is to be told, and keep how far it is."""
        changes = self._alerts.evaluate(self._samples, at)
        for key, why in (changes.failed or {}).items():
            if self._failed.get(key) != why:
                log.error("rule %s cannot be evaluated: %s", key, why)
        self._failed = dict(changes.failed or {})
        active = self._alerts.active()
        if self.telling:
            notifications = self._notify.update(active, at)
            self._deliver.tell(notifications)
            for one in notifications:
                if one.name == REHEARSAL:
                    self._listeners.offer(one)
            if self._alertmanager is not None:
                self._alertmanager.update(active, at)
        self._looked = at
        self._keep()

    def close(self) -> None:
        """Send what still waits, for some seconds at most."""
        self._deliver.close()
        self._listeners.close()
        if self._alertmanager is not None:
            self._alertmanager.close()

    def _restore(self) -> None:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            self._alerts.restore(kept["alerts"], self._clock())
            self._notify.restore(kept["told"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("what fired before the start is not known: %s cannot be read (%s: %s)", self._file, type(error).__name__, error)

    def _keep(self) -> None:
        state = self._alerts.state()
        text = json.dumps({"alerts": {"evaluated_at": state["evaluated_at"], "alerts": state["alerts"]}, "told": self._notify.state()})
        partial = self._file.with_suffix(".partial")
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(partial, self._file)
        except OSError as error:
            if self._written != error.strerror:
                log.error("which alerts fire cannot be kept in %s (%s)", self._file, error.strerror)
            self._written = error.strerror or ""


def _described(watch: Watch, rule: Rule, alerts: list[Alert]) -> dict[str, Any]:
    state = "firing" if any(alert.state == FIRING for alert in alerts) else "pending" if alerts else "inactive"
    why = watch.failed().get(rule.key, "")
    return {"type": "alerting", "name": rule.name, "query": expression(rule), "duration": rule.hold, "labels": {"severity": rule.severity},
            "annotations": {"summary": rule.sentence}, "state": state, "health": "err" if why else "ok" if watch.looked else "unknown",
            "lastError": why, "lastEvaluation": moment(watch.looked or 0.0), "alerts": [as_prometheus(alert) for alert in alerts]}


def as_prometheus(alert: Alert) -> dict[str, Any]:
    """An alert as Prometheus' API says it."""
    return {"labels": dict(alert.labels), "annotations": {"summary": alert.summary}, "state": alert.state, "activeAt": moment(alert.active_since),
            "value": repr(alert.value)}


class WatchSeries(Collector):
    """`suite_alerts`, `suite_notifications_total` and `suite_evaluation_age_seconds`, read at the moment of the scrape."""

    def __init__(self, watch: Watch, clock: Callable[[], float] = time.time) -> None:
        self._watch, self._clock = watch, clock

    def collect(self) -> Iterable[Metric]:
        """The families."""
        alerts = gauge_family("suite_alerts")
        found: Counter[tuple[Any, ...]] = Counter((alert.severity, alert.state) for alert in self._watch.active())
        for severity in ("critical", "warning", "info"):
            for state in ("pending", "firing"):
                alerts.add_metric((severity, state), found[(severity, state)])
        yield alerts
        told = counter_family("suite_notifications_total")
        for sink, numbers in self._watch.counts().items():
            for outcome, number in numbers.items():
                told.add_metric((sink, outcome), number)
        yield told
        if self._watch.looked is not None:
            yield gauge_family("suite_evaluation_age_seconds", max(0.0, self._clock() - self._watch.looked))

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known."""
        return []
