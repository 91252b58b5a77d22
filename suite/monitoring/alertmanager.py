"""Forwards alerts to an Alertmanager by its API, the way Prometheus does; grouping, silences and repeats are then its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from suite.monitoring.alert import FIRING, RESOLVED, Alert
from suite.monitoring.deliver import PAUSE, Outlet
from suite.monitoring.evaluate import Pairs
from suite.monitoring.notification import moment
from suite.monitoring.sink import SECONDS, address, post

EVERY = 60.0  # seconds after which alerts that last are sent again
LASTS = 4 * EVERY  # seconds after which Alertmanager takes an alert for over when it hears no more
KEPT = 900.0  # seconds that the end of an alert is sent again and again, as somebody may have been away


class Alertmanager:
    """One Alertmanager, by base URL. `update` is called with each evaluation and never waits; the sending has a thread of its own."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, seconds: float = SECONDS, pause: float = PAUSE) -> None:
        """Raises SettingsError for an address that cannot be one."""
        self._url, self._headers, self._seconds = address(url).rstrip("/") + "/api/v2/alerts", dict(headers or {}), seconds
        self._outlet = Outlet("alertmanager", self._post, pause)
        self._known: dict[Pairs, Alert] = {}
        self._sent_at: float | None = None

    def update(self, active: Sequence[Alert], at: float) -> None:
        """Forward all that fires when something began or ended, and every EVERY seconds."""
        now = {alert.key: alert for alert in active if alert.state == FIRING}
        before = {key: alert.state for key, alert in self._known.items()}
        over = {key: alert if alert.state == RESOLVED else replace(alert, state=RESOLVED, resolved_at=at)
                for key, alert in self._known.items() if key not in now}
        self._known = now | {key: alert for key, alert in over.items() if at - (alert.resolved_at or at) <= KEPT}
        changed = before != {key: alert.state for key, alert in self._known.items()}
        if self._known and (changed or self._sent_at is None or not 0 <= at - self._sent_at < EVERY):
            self._sent_at = at
            self._outlet.offer([_row(alert, at) for alert in self._known.values()])

    def counts(self) -> dict[str, dict[str, int]]:
        """How many messages were `sent` and how many `failed`."""
        return {self._outlet.name: {"sent": self._outlet.sent, "failed": self._outlet.failed}}

    def close(self) -> None:
        """Send what still waits, for some seconds at most."""
        self._outlet.close()

    def _post(self, rows: list[dict[str, Any]]) -> None:
        post(self._url, rows, self._headers, self._seconds)


def _row(alert: Alert, at: float) -> dict[str, Any]:
    ends = at + LASTS if alert.resolved_at is None else alert.resolved_at
    return {"labels": dict(alert.labels), "annotations": {"summary": alert.summary}, "startsAt": moment(alert.active_since), "endsAt": moment(ends)}
