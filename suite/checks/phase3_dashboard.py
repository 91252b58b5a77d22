"""Phase 3, the part about dashboards: who gets in, and whether every panel of the overview shows something that was measured just now."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from suite.checks.check import Observation
from suite.checks.target import Target
from suite.checks.watched import Server, Watched, newest, wait_for, watched
from suite.errors import NotReady, SuiteError
from suite.monitoring.dashboard import Panel
from suite.monitoring.load_dashboards import load_dashboards
from suite.monitoring.rule import Query
from suite.monitoring.table import ROWS

OVERVIEW = "ai-suite-overview"
SINCE = "15m"  # the range of time in which panels are looked at
KNOWN = ("admin", "password", "grafana", "prom-operator", "")  # passwords that dashboards come with
FOREIGN = "this stack is of another make, whose dashboard is asked otherwise; look at it in a browser, and try admin with the password admin"


def access(target: Target, seen: Observation) -> None:
    """P3.2: the dashboard opens to the token alone, says its version, lists what it must, and its source answers."""
    server = _dashboard(target, seen)
    if server is None:
        return
    seen.values["ready"] = server.send("GET", "/health").is_success
    listed = server.send("GET", "/api/dashboards")
    seen.values["with_token"] = listed.status_code
    body = listed.json() if listed.is_success else {}
    served = {board["uid"] for board in body.get("dashboards", [])}
    missing = sorted({board.uid for board in load_dashboards(ROWS)} - served)
    seen.values |= {"version": bool(body.get("version")), "dashboards_missing": len(missing)}
    opened = _opened(target, server)
    seen.values["opened_by_others"] = sum(opened.values())
    try:
        seen.values["source_lines"] = len(_lines(server, OVERVIEW, 1))
    except SuiteError as error:
        seen.note("refused", reason=str(error))
    seen.note("dashboard", version=body.get("version"), missing=missing, opened=[who for who, inside in opened.items() if inside])


def panels(target: Target, seen: Observation) -> None:
    """P3.3: every panel of the overview has lines, of finite numbers, that end now, and what they are made of is newer than this check."""
    began, server = time.time(), _dashboard(target, seen)
    if server is None:
        return
    there = watched(target)
    if there is None:
        raise NotReady("Nobody watches this stack; set MONITORING_ENABLED=true and start it again.")
    overview = next(board for board in load_dashboards(ROWS) if board.uid == OVERVIEW)
    found: dict[int, dict[str, Any]] = {}

    def all_good() -> bool:
        found.update({panel.id: _looked_at(panel, server, there, began) for panel in overview.panels})
        return all(row["lines"] and row["finite"] and row["fresh"] and row["age"] <= 1.0 for row in found.values())

    wait_for(all_good, there.patience)
    rows = [found.get(panel.id, {}) for panel in overview.panels]
    served = {panel["title"] for board in server.json("/api/dashboards")["dashboards"] if board["uid"] == OVERVIEW for panel in board["panels"]}
    seen.values |= {
        "panels": len(served), "panels_missing": len({panel.title for panel in overview.panels} - served),
        "panels_empty": sum(not row.get("lines") for row in rows), "panels_not_finite": sum(not row.get("finite") for row in rows),
        "panels_stale": sum(not row.get("fresh") for row in rows),
        "age": max((row["age"] for row in rows if row.get("age") is not None), default=None),
    }
    for panel, row in zip(overview.panels, rows, strict=True):
        seen.note("panel", panel=panel.id, title=panel.title, **row)


def _dashboard(target: Target, seen: Observation) -> Server | None:
    if target.parts() is None:
        seen.not_applicable = FOREIGN
        return None
    if "dashboard" not in target.urls:
        raise NotReady("This stack has no dashboard; set MONITORING_ENABLED=true and start it again, or name it as dashboard in base_urls.")
    return Server("dashboard", lambda method, path, **options: target.call(method, "dashboard", path, **options))


def _opened(target: Target, server: Server) -> dict[str, bool]:
    """By who tries: whether the dashboard lets them see anything, or signs them in."""
    url = target.urls["dashboard"].rstrip("/")
    ways: Mapping[str, dict[str, Any]] = {"nobody": {}, "a wrong token": {"headers": {"Authorization": "Bearer wrong"}},
                                          "admin with the password admin": {"auth": ("admin", "admin")}}
    tried = {who: target.call_other("GET", f"{url}/api/dashboards", **how).is_success for who, how in ways.items()}
    return tried | {f"the form with {word!r}": target.call_other("POST", f"{url}/login", data={"token": word}).status_code < 400 for word in KNOWN}


def _lines(server: Server, uid: str, panel: int) -> list[dict[str, Any]]:
    return list(server.json(f"/api/dashboards/{uid}/panels/{panel}/data", params={"since": SINCE})["lines"])


def _looked_at(panel: Panel, server: Server, there: Watched, began: float) -> dict[str, Any]:
    """What a panel shows: its lines, whether all numbers are finite, how many rounds ago it ends, and whether what it is made of is new."""
    try:
        lines = [line for line in _lines(server, OVERVIEW, panel.id) if line["times"]]
    except SuiteError as error:
        return {"lines": 0, "finite": False, "fresh": False, "age": math.inf, "error": str(error)[:200]}
    values = [float(value) for line in lines for value in line["values"]]
    last = max((line["times"][-1] for line in lines), default=-math.inf)
    return {"lines": len(lines), "finite": all(map(math.isfinite, values)), "fresh": any(_new(query, there, began) for query in panel.queries),
            "age": round((time.time() - last) / there.reading.interval(), 3), "latest": {line["name"]: line["values"][-1] for line in lines[:8]}}


def _new(query: Query, there: Watched, began: float) -> bool:
    """Whether anything that the query reads was measured since then: a chart carries old numbers on for minutes."""
    metric = f"{query.metric}_bucket" if query.quantile is not None else query.metric
    return bool(newest(there.reading, metric, began, *query.matchers))
