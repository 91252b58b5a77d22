"""What is said about a group of alerts at one moment, as words and in the form in which Alertmanager calls webhooks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from suite.monitoring.alert import FIRING, RESOLVED, Alert

NEVER = "0001-01-01T00:00:00Z"  # how Go writes that a moment has not come


@dataclass(frozen=True)
class Notification:
    """Alerts of one name and severity: those that fire, and those that are over since the last time; `at` is UTC seconds."""

    name: str
    severity: str
    firing: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    at: float

    @property
    def status(self) -> str:
        """`firing` while any alert of the group fires, else `resolved`."""
        return FIRING if self.firing else RESOLVED

    @property
    def title(self) -> str:
        """One line: how many, how severe, what."""
        return f"[{self.status.upper()}{f':{len(self.firing)}' if self.firing else ''}] {self.severity} {self.name}"

    @property
    def text(self) -> str:
        """A line for each alert, those that are over last."""
        return "\n".join([alert.summary for alert in self.firing] + [f"Over: {alert.summary}" for alert in self.resolved])

    def to_dict(self) -> dict[str, Any]:
        """The body of Alertmanager's webhooks, version 4."""
        alerts = [*self.firing, *self.resolved]
        shared = dict(set.intersection(*({*alert.labels.items()} for alert in alerts))) if alerts else {}
        group = {"alertname": self.name, "severity": self.severity}
        return {"version": "4", "groupKey": json.dumps(group, sort_keys=True), "truncatedAlerts": 0, "status": self.status, "receiver": "suite",
                "groupLabels": group, "commonLabels": shared, "commonAnnotations": {}, "externalURL": "", "alerts": [_row(alert) for alert in alerts]}


def moment(seconds: float) -> str:
    """A moment as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fingerprint(labels: Mapping[str, str]) -> str:
    """A short name for a label set, the same every time."""
    return hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()[:16]


def _row(alert: Alert) -> dict[str, Any]:
    return {"status": RESOLVED if alert.state == RESOLVED else FIRING, "labels": dict(alert.labels), "annotations": {"summary": alert.summary},
            "startsAt": moment(alert.active_since), "endsAt": NEVER if alert.resolved_at is None else moment(alert.resolved_at), "generatorURL": "",
            "fingerprint": fingerprint(alert.labels)}
