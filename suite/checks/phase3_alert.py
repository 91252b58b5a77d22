"""Phase 3, the part about alerts: the rules are counted and looked at, and one alert goes the whole way to whoever is told, and is over again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from suite.checks.check import Observation
from suite.checks.listen import Listener, listening
from suite.checks.target import Target
from suite.checks.trace import marker
from suite.checks.watched import NO_STACK, Server, Watched, moment_of, wait_for, watched
from suite.errors import NotReady
from suite.monitoring.reading import Reading
from suite.monitoring.rehearsal import NAME

GROUPED = 60.0  # seconds that an Alertmanager may wait for more of a group before it tells anybody
DELIVERED = ("alertmanager_notification_requests_total", "alertmanager_notification_requests_failed_total")
Place = Callable[[], bool]


def alert_delivery(target: Target, seen: Observation) -> None:
    """P3.6: every rule is there, whole and looked at without error; a rehearsed alert fires, reaches every place, and is over."""
    there = watched(target)
    if there is None:
        seen.not_applicable = NO_STACK
        return
    rules = there.reading.rules()
    known = {(rule["name"], rule["labels"].get("severity", "")) for rule in rules}
    incomplete = [rule["name"] for rule in rules if not _whole(rule)]
    seen.values |= {"rules": len(rules), "rules_missing": len(there.rules - known), "rules_incomplete": len(incomplete)}
    seen.note("rules", missing=sorted(map(list, there.rules - known)), incomplete=incomplete)
    if there.real:  # one that has just read its configuration knows its Alertmanagers some seconds later
        wait_for(lambda: _known_managers(there) > 0, there.patience)
        seen.values["alertmanagers"] = _known_managers(there)
    if there.ports is None:
        _post_one(there, seen)
    else:
        _rehearse(target, there, seen)
    failing = {rule["name"]: rule["lastError"] or rule["health"] for rule in there.reading.rules() if rule["health"] != "ok"}
    oldest = min((moment_of(rule["lastEvaluation"]) for rule in there.reading.rules()), default=None)
    interval = there.reading.interval()
    seen.values |= {"rules_failing": len(failing), "evaluation_age": None if oldest is None else round((time.time() - oldest) / interval, 3)}
    seen.note("evaluation", failing=failing, interval_s=interval)


def _known_managers(there: Watched) -> int:
    return len(there.store.json("/api/v1/alertmanagers")["data"]["activeAlertmanagers"])


def _whole(rule: dict[str, Any]) -> bool:
    return isinstance(rule.get("duration"), (int, float)) and bool(rule["labels"].get("severity") and rule["annotations"].get("summary"))


def _rehearse(target: Target, there: Watched, seen: Observation) -> None:
    """On a stack of ours: the number that the rule AlertRehearsal fires on is set, looked at, and taken back."""
    alerts, name = there.alerts, marker()
    if alerts is None:
        raise NotReady("Nobody is told of alerts in this stack; set ALERTMANAGER_ENABLED=true and start it again.")
    with listening() as listener:
        near = _near(target.urls["alerts"])
        places = _places(alerts, there, listener if near else None, name)
        began = target.clock()
        alerts.json("/v1/rehearsals", "POST", json={"marker": name, "port": listener.port if near else 0})
        try:
            _follow(there, seen, target, began, lambda: _fires(there.reading, name), places)
        finally:
            alerts.send("DELETE", f"/v1/rehearsals/{name}")
        over = [lambda: not _fires(there.reading, name), *([lambda: listener.told("resolved", name)] if near else []),
                *([lambda: not _listed(there.alertmanager, name)] if there.alertmanager else [])]
        seen.values["resolved"] = wait_for(lambda: all(is_over() for is_over in over), there.patience)


def _near(url: str) -> bool:
    """Whether the stack is on this machine, so that it reaches a listener of ours."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _post_one(there: Watched, seen: Observation) -> None:
    """On a stack of another make: an alert is given to its Alertmanager itself, since nobody can make a rule of it fire."""
    manager, name = there.alertmanager, marker()
    if manager is None:
        raise NotReady("There is no URL of the Alertmanager; name it as alerts in base_urls.")
    before = _delivered(manager)
    began = time.monotonic()
    _post(manager, name, minutes=5)
    places: dict[str, Place] = {"listed": lambda: _listed(manager, name), "delivered": lambda: _delivered(manager) > before}
    try:
        wait_for(lambda: all(place() for place in places.values()), GROUPED)
        _graded(seen, places, time.monotonic() - began)
    finally:
        _post(manager, name, minutes=0)
    seen.values["resolved"] = wait_for(lambda: not _listed(manager, name), there.patience)


def _follow(there: Watched, seen: Observation, target: Target, began: float, fires: Place, places: dict[str, Place]) -> None:
    seen.values["fired"] = wait_for(fires, there.patience)
    seen.note("fired", seconds=round(target.clock() - began, 3))
    if seen.values["fired"]:
        wait_for(lambda: all(place() for place in places.values()), there.patience + (GROUPED if there.alertmanager else 0.0))
    _graded(seen, places, target.clock() - began)


def _graded(seen: Observation, places: dict[str, Place], seconds: float) -> None:
    silent = [name for name, place in places.items() if not place()]
    seen.values |= {"places": len(places), "places_silent": len(silent), "delivered": None if silent else round(seconds, 3)}
    seen.note("delivery", places=sorted(places), silent=silent, seconds=round(seconds, 3))


def _places(alerts: Server, there: Watched, listener: Listener | None, name: str) -> dict[str, Place]:
    """Where the alert must arrive: at each place that the stack tells, at a listener of this check's own, and at the Alertmanager and beyond."""
    before = _sent(alerts)
    places: dict[str, Place] = {place: lambda place=place: _sent(alerts).get(place, 0) > before[place] for place in before}  # type: ignore[misc]
    if listener is not None:
        places["listener of this check"] = lambda: listener.told("firing", name)
    if there.alertmanager is not None:
        manager, count = there.alertmanager, _delivered(there.alertmanager)
        places |= {"Alertmanager": lambda: _listed(manager, name), "receiver of the Alertmanager": lambda: _delivered(manager) > count}
    return places


def _fires(found: Reading, name: str) -> bool:
    return any(alert["labels"].get("marker") == name and alert["state"] == "firing" for alert in found.alerts())


def _sent(alerts: Server) -> dict[str, int]:
    """How many notifications each place got."""
    return {place: counts["sent"] for place, counts in alerts.json("/v1/notifications")["counts"].items()}


def _listed(manager: Server, name: str) -> bool:
    return any(alert["labels"].get("marker") == name and alert["status"]["state"] == "active" for alert in manager.json("/api/v2/alerts"))


def _delivered(manager: Server) -> float:
    """How often a receiver of the Alertmanager has taken something, as it counts itself: tried, less those that failed."""
    sums = dict.fromkeys(DELIVERED, 0.0)
    for line in manager.send("GET", "/metrics").text.splitlines():
        name = line.partition("{")[0]
        if name in sums:
            sums[name] += float(line.rpartition(" ")[2])
    return sums[DELIVERED[0]] - sums[DELIVERED[1]]


def _post(manager: Server, name: str, minutes: int) -> None:
    now = datetime.now(UTC)
    row = {"labels": {"alertname": NAME, "severity": "warning", "marker": name}, "startsAt": now.isoformat(),
           "endsAt": (now + timedelta(minutes=minutes)).isoformat(),
           "annotations": {"summary": "A release check looks whether alerts arrive; there is nothing to do."}}
    answer = manager.send("POST", "/api/v2/alerts", json=[row])
    if not answer.is_success:
        raise NotReady(f"{manager.name} answered POST /api/v2/alerts with status {answer.status_code}: {answer.text[:200]}")
