"""Which alerts are told, when and to whom: grouped by name and severity, muted by silences and by more severe ones, repeated while they last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from suite.monitoring.alert import FIRING, RESOLVED, Alert
from suite.monitoring.evaluate import Pairs
from suite.monitoring.notification import Notification
from suite.monitoring.rehearsal import NAME as REHEARSAL
from suite.monitoring.silence import Silences

DOWN = "PartDown"  # while a part does not answer, warnings about it say nothing new
_RANK = {"critical": 0, "warning": 1, "info": 2, "none": 3}


@dataclass(frozen=True)
class Pace:
    """Seconds: `wait` before a group is told first, so that what fails together is told together.

    `interval` lies between what is told of two changes, `repeat` between two times that the same is told.
    """

    wait: float
    interval: float
    repeat: float


PACES: Mapping[str, Pace] = {
    "critical": Pace(10, 300, 3600),
    "warning": Pace(30, 300, 43_200),
    "info": Pace(30, 300, 86_400),
    "none": Pace(0, 60, 300),  # the dead man's switch: who listens for it must hear it often
}
REHEARSED = Pace(0, 0, 3600)  # somebody waits for it


@dataclass
class _Group:
    since: float
    told_at: float | None = None
    told: dict[Pairs, Alert] = field(default_factory=dict)


class Notify:
    """Decides what is to be told. It keeps no clock of its own: `update` is called with each evaluation."""

    def __init__(self, silences: Silences | None = None, paces: Mapping[str, Pace] = PACES) -> None:
        self.silences = silences or Silences()
        self._paces = paces
        self._groups: dict[tuple[str, str], _Group] = {}

    def update(self, active: Sequence[Alert], at: float) -> tuple[Notification, ...]:
        """What is to be told at the moment `at`, given all alerts that are pending or firing then."""
        firing = [alert for alert in active if alert.state == FIRING]
        keys = {alert.key for alert in firing}
        now: dict[tuple[str, str], dict[Pairs, Alert]] = {group: {} for group in self._groups}
        for alert in firing:
            if self.silences.muting(alert.labels, at) is None and not _outranked(alert, firing):
                now.setdefault((alert.name, alert.severity), {})[alert.key] = alert
        told = [self._step(group, alerts, keys, at) for group, alerts in now.items()]
        return tuple(one for one in told if one is not None)

    def state(self) -> list[dict[str, Any]]:
        """What was told already, as JSON, so that a restart does not tell it again."""
        return [{"name": name, "severity": severity, "since": group.since, "told_at": group.told_at,
                 "told": [alert.to_dict() for alert in group.told.values()]} for (name, severity), group in self._groups.items()]

    def restore(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Go on from what `state` gave before a restart."""
        for row in state:
            told = [Alert.from_dict(alert) for alert in row["told"]]
            self._groups[row["name"], row["severity"]] = _Group(row["since"], row["told_at"], {alert.key: alert for alert in told})

    def _step(self, key: tuple[str, str], now: dict[Pairs, Alert], firing: set[Pairs], at: float) -> Notification | None:
        group = self._groups.setdefault(key, _Group(at))
        group.since = min(group.since, at)  # a clock that was put back must not keep anything quiet
        group.told_at = None if group.told_at is None else min(group.told_at, at)
        group.told = {one: alert for one, alert in group.told.items() if one in now or one not in firing}  # what was muted meanwhile is not over
        if not now and not group.told:
            del self._groups[key]
            return None
        if not self._due(key, group, now, at):
            return None
        over = tuple(replace(alert, state=RESOLVED, resolved_at=at) for one, alert in group.told.items() if one not in now)
        group.told_at, group.told = at, dict(now)
        return Notification(*key, firing=tuple(now.values()), resolved=over, at=at)

    def _due(self, key: tuple[str, str], group: _Group, now: dict[Pairs, Alert], at: float) -> bool:
        pace = REHEARSED if key[0] == REHEARSAL else self._paces[key[1]]
        if group.told_at is None:
            return at - group.since >= pace.wait
        return at - group.told_at >= (pace.repeat if now.keys() == group.told.keys() else pace.interval)


def _outranked(alert: Alert, firing: Sequence[Alert]) -> bool:
    """Whether a more severe alert says the same or more: one of the same name about the same target, or that the target is down."""
    return any(_RANK[other.severity] < _RANK[alert.severity] and (_same(other, alert) or _covers(other, alert)) for other in firing)


def _same(one: Alert, other: Alert) -> bool:
    return {**one.labels, "severity": ""} == {**other.labels, "severity": ""}


def _covers(down: Alert, other: Alert) -> bool:
    target = [other.labels.get(name) for name in ("job", "instance")]
    return down.name == DOWN and None not in target and [down.labels.get(name) for name in ("job", "instance")] == target
