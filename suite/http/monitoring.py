"""Port 9090: all metrics at once, how the targets are, and what was measured before.

`/metrics` and `/api/v1/targets` are in Prometheus' own form, so that what reads a Prometheus reads this port too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse

from suite import __version__
from suite.monitoring.dashboard import Line
from suite.monitoring.metric import CONTENT_TYPE, Metrics
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.notification import moment
from suite.monitoring.probe import State, guarded
from suite.monitoring.reading import APPLICATION
from suite.monitoring.rule import Matcher, duration
from suite.monitoring.samples import Series
from suite.monitoring.scrape import Scraped
from suite.monitoring.table import MONITORING


class Monitored(Protocol):
    """The monitoring of a stack."""

    metrics: Metrics

    @property
    def interval(self) -> float:
        """Seconds between two rounds."""

    def targets(self) -> list[Scraped]:
        """How each target was found last."""

    def rules(self) -> list[dict[str, Any]]:
        """Each rule and how it is, as Prometheus says it."""

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or fires, as Prometheus says it."""

    def names(self) -> list[str]:
        """The metrics there are."""

    def select(self, metric: str, matchers: Any = (), begin: float = 0.0, end: float | None = None) -> list[Series]:
        """Series of a metric."""

    def dashboards(self) -> list[dict[str, Any]]:
        """What there is to see."""

    def chart(self, uid: str, panel: int, begin: float, end: float, step: float) -> list[Line]:
        """The lines of a panel."""

    def memory(self) -> list[ModelMemory]:
        """What each loaded model holds."""

    def ready(self) -> State:
        """Whether it works."""


def app(monitor: Monitored, address: Callable[[str], str]) -> FastAPI:
    """The app; `address` gives host and port of a target."""
    served = FastAPI(title=MONITORING)

    @served.get("/metrics")
    def metrics() -> Response:
        return Response(monitor.metrics.everything(address), media_type=CONTENT_TYPE)

    @served.get(f"/metrics/{MONITORING}")
    def own() -> Response:
        return Response(monitor.metrics.exposition(MONITORING), media_type=CONTENT_TYPE)

    @served.get("/-/ready")
    def ready() -> JSONResponse:
        state = guarded(monitor.ready)
        return JSONResponse({"ok": state.ok, "reasons": list(state.reasons)}, 200 if state.ok else 503)

    @served.get("/api/v1/status/buildinfo")
    def build() -> dict[str, Any]:
        return {"status": "success", "data": {"application": APPLICATION, "version": __version__}}

    @served.get("/api/v1/targets")
    def targets() -> dict[str, Any]:
        return {"status": "success", "data": {"activeTargets": [_target(one, monitor.interval) for one in monitor.targets()], "droppedTargets": []}}

    @served.get("/api/v1/rules")
    def rules() -> dict[str, Any]:
        return {"status": "success", "data": {"groups": [{"name": "suite", "interval": monitor.interval, "file": "rules.toml",
                                                          "rules": monitor.rules()}]}}

    @served.get("/api/v1/alerts")
    def alerts() -> dict[str, Any]:
        return {"status": "success", "data": {"alerts": monitor.alerts()}}

    @served.get("/api/v1/label/__name__/values")
    def names() -> dict[str, Any]:
        return {"status": "success", "data": monitor.names()}

    @served.get("/v1/samples")
    def samples(metric: str, begin: float = 0.0, end: float | None = None, match: Annotated[list[str] | None, Query()] = None) -> dict[str, Any]:
        """Series of a metric; `match` is a matcher such as `job="rag"`. Values that are not finite are text."""
        found = monitor.select(metric, [Matcher.parse(text) for text in match or ()], begin, end)
        return {"series": [{"labels": dict(one.labels), "times": one.times.tolist(), "values": [_number(value) for value in one.values.tolist()]}
                           for one in found]}

    @served.get("/api/v1/dashboards")
    def dashboards() -> dict[str, Any]:
        return {"status": "success", "data": monitor.dashboards()}

    @served.get("/api/v1/dashboards/{uid}/panels/{id}")
    def chart(uid: str, id: int, begin: float, end: float, step: float) -> dict[str, Any]:
        """The lines of a panel, times in UTC seconds. Values that are not finite are text."""
        return {"status": "success", "data": [as_json(one) for one in monitor.chart(uid, id, begin, end, step)]}

    @served.get("/v1/model-memory")
    def memory() -> dict[str, Any]:
        """Bytes of each loaded model, planned and seen, and what belongs to none."""
        return {"rows": [row.to_dict() for row in monitor.memory()]}

    return served


def as_json(line: Line) -> dict[str, Any]:
    """JSON form of a chart's line."""
    return {"name": line.name, "labels": line.labels, "times": line.times.tolist(), "values": [_number(value) for value in line.values.tolist()]}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _target(one: Scraped, interval: float) -> dict[str, Any]:
    labels = {"instance": one.target.instance, "job": one.target.job}
    return {"labels": labels, "discoveredLabels": {}, "scrapePool": one.target.job, "scrapeUrl": one.target.url, "lastError": one.error,
            "lastScrape": moment(one.at), "lastScrapeDuration": one.seconds, "health": "up" if one.up else "down",
            "scrapeInterval": duration(interval)}
