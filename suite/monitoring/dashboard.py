"""Dashboards as data: panels, what each shows, in which form and unit, and from which value on it is a worry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from suite.errors import BadRequest
from suite.monitoring.promql import query_expression
from suite.monitoring.rule import UNITS as RULE_UNITS
from suite.monitoring.rule import Query

KINDS = ("stat", "line", "pie", "gauge", "bar")
UNITS = (*RULE_UNITS, "per_hour")
LEVELS = ("good", "warning", "critical")


@dataclass(frozen=True)
class Threshold:
    """From this value on a panel is at this level; the first of a panel has no lower end."""

    level: str
    begin: float = -math.inf


@dataclass(frozen=True)
class Panel:
    """One chart: `line` shows a range of time, the other kinds (stat, pie, gauge, bar) the newest values."""

    id: int
    title: str
    sentence: str
    kind: str
    unit: str
    queries: tuple[Query, ...]
    thresholds: tuple[Threshold, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form; the queries in PromQL."""
        return {"id": self.id, "title": self.title, "sentence": self.sentence, "kind": self.kind, "unit": self.unit,
                "queries": [{"expression": query_expression(query), "legend": query.legend} for query in self.queries],
                "thresholds": [{"level": one.level, "from": one.begin if math.isfinite(one.begin) else None} for one in self.thresholds]}


@dataclass(frozen=True)
class Dashboard:
    """Panels that belong together; `range` is the seconds that they show when nobody says otherwise."""

    uid: str
    title: str
    range: float
    panels: tuple[Panel, ...]

    def panel(self, id: int) -> Panel:
        """One of the panels. Raises BadRequest."""
        found = next((panel for panel in self.panels if panel.id == id), None)
        if found is None:
            raise BadRequest(f"The dashboard {self.title!r} has no panel {id}; its panels are 1 to {len(self.panels)}.", param="panel")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"uid": self.uid, "title": self.title, "range": self.range, "panels": [panel.to_dict() for panel in self.panels]}


@dataclass(frozen=True)
class Line:
    """One series of a chart: its name in the legend, labels, and values (float64) at times (UTC seconds); where nothing is, there is no time."""

    name: str
    labels: dict[str, str]
    times: Any
    values: Any
