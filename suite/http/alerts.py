"""Port 9093: what fires, and silences, in the form of Alertmanager's API (version 2), so that its clients read this port too."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse

from suite import __version__
from suite.errors import BadRequest
from suite.monitoring.alert import FIRING, Alert
from suite.monitoring.notification import Notification, fingerprint, moment
from suite.monitoring.probe import State, guarded
from suite.monitoring.rehearsal import Rehearsals
from suite.monitoring.rule import Matcher
from suite.monitoring.silence import Silence, Silences

HOURS = 2.0  # that a silence lasts when nobody says how long


class Alerting(Protocol):
    """The rules of a stack at work."""

    silences: Silences
    rehearsals: Rehearsals

    @property
    def looked(self) -> float | None:
        """When they were last looked at."""

    def ready(self) -> State:
        """Whether they are looked at."""

    def active(self) -> tuple[Alert, ...]:
        """The alerts that are pending or firing."""

    def notifications(self) -> tuple[Notification, ...]:
        """What was told."""

    def counts(self) -> dict[str, dict[str, int]]:
        """How many notifications were sent, by place."""


def app(watch: Alerting) -> FastAPI:
    """The app."""
    served = FastAPI(title="alerts")

    @served.get("/-/ready")
    def ready() -> JSONResponse:
        state = guarded(watch.ready)
        return JSONResponse({"ok": state.ok, "reasons": list(state.reasons)}, 200 if state.ok else 503)

    @served.get("/api/v2/status")
    def status() -> dict[str, Any]:
        return {"cluster": {"status": "disabled", "peers": []}, "versionInfo": {"version": __version__}, "config": {"original": ""}}

    @served.get("/api/v2/alerts")
    def alerts() -> list[dict[str, Any]]:
        return [_alert(watch, alert) for alert in watch.active() if alert.state == FIRING]

    @served.get("/api/v2/silences")
    def silences() -> list[dict[str, Any]]:
        return [_silence(one) for one in watch.silences.all()]

    @served.post("/api/v2/silences")
    def silence(body: Any = Body()) -> dict[str, str]:  # noqa: B008 - FastAPI's way
        made = watch.silences.add(_matchers(body), time.time(), _end(body), str(body.get("createdBy") or ""), str(body.get("comment") or ""))
        return {"silenceID": made.id}

    @served.delete("/api/v2/silence/{id:path}")
    def end(id: str) -> dict[str, str]:
        return {"silenceID": watch.silences.end(id, time.time()).id}

    @served.get("/v1/notifications")
    def notifications() -> dict[str, Any]:
        return {"notifications": [{**one.to_dict(), "at": one.at, "title": one.title, "text": one.text} for one in watch.notifications()],
                "counts": watch.counts()}

    @served.post("/v1/rehearsals", status_code=201)
    def begin(body: Any = Body()) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
        """Let the rule AlertRehearsal fire until it is ended, for ten minutes at most; `port` on 127.0.0.1 gets what is told of it."""
        asked = body if isinstance(body, dict) else {}
        marker, port = asked.get("marker"), asked.get("port", 0)
        if not isinstance(marker, str) or not isinstance(port, int) or isinstance(port, bool):
            raise BadRequest("A rehearsal needs a marker, which is text, and perhaps a port, which is a number.", param="marker")
        watch.rehearsals.begin(marker, port)
        return {"marker": marker}

    @served.delete("/v1/rehearsals/{marker}")
    def finish(marker: str) -> dict[str, Any]:
        watch.rehearsals.end(marker)
        return {"marker": marker}

    return served


def _matchers(body: Any) -> list[str]:
    rows = body.get("matchers") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and {"name", "value"} <= row.keys() for row in rows):
        raise BadRequest("A silence needs matchers, each with name and value; write them as Alertmanager does.", param="matchers")
    signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    return [str(Matcher(str(row["name"]), signs[bool(row.get("isRegex")), row.get("isEqual", True) is not False], str(row["value"]))) for row in rows]


def _end(body: dict[str, Any]) -> float:
    from datetime import datetime

    text = body.get("endsAt")
    if text is None:
        return time.time() + HOURS * 3600
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        raise BadRequest(f"endsAt is {str(text)[:40]!r} but must be a moment such as 2026-11-28T20:00:00Z.", param="endsAt") from None


def _alert(watch: Alerting, alert: Alert) -> dict[str, Any]:
    mute = watch.silences.muting(alert.labels, time.time())
    return {"labels": dict(alert.labels), "annotations": {"summary": alert.summary}, "startsAt": moment(alert.active_since),
            "updatedAt": moment(watch.looked or alert.active_since), "endsAt": moment((watch.looked or alert.active_since) + 300),
            "fingerprint": fingerprint(alert.labels), "receivers": [{"name": "suite"}],
            "status": {"state": "suppressed" if mute else "active", "silencedBy": [mute.id] if mute else [], "inhibitedBy": []}}


def _silence(one: Silence) -> dict[str, Any]:
    matchers = [Matcher.parse(text) for text in one.matchers]
    state = "active" if one.holds(time.time()) else "expired"
    return {"id": one.id, "startsAt": moment(one.begin), "endsAt": moment(one.until), "createdBy": one.by, "comment": one.reason,
            "status": {"state": state}, "matchers": [{"name": row.label, "value": row.value, "isRegex": "~" in row.op,
                                                      "isEqual": not row.op.startswith("!")} for row in matchers]}
