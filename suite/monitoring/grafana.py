"""The dashboards in the form in which Grafana reads files: a bare dashboard object each, and what tells it where they and the data are."""

from __future__ import annotations

from typing import Any

from suite.monitoring.dashboard import Dashboard, Panel
from suite.monitoring.promql import query_expression
from suite.monitoring.rule import Query

PROMETHEUS, LOKI = "suite-prometheus", "suite-loki"  # uids of the two data sources
SCHEMA = 36  # Grafana's version of this form; newer ones raise it when they read the file
COLUMNS, WIDE, HIGH = 24, 12, 8  # of Grafana's grid: all, those of a panel, and the rows of one
_TYPES = {"stat": "stat", "line": "timeseries", "pie": "piechart", "gauge": "gauge", "bar": "bargauge"}
_UNITS = {"count": "none", "state": "none", "ratio": "percentunit", "seconds": "s", "bytes": "bytes", "celsius": "celsius", "watts": "watt",
          "per_second": "suffix: /s", "per_hour": "suffix: /h"}
_COLOURS = {"good": "green", "warning": "orange", "critical": "red"}
_STATES = [{"type": "value", "options": {"0": {"text": "DOWN", "color": "red"}, "1": {"text": "UP", "color": "green"}}}]
_NEWEST = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def dashboard_json(board: Dashboard) -> dict[str, Any]:
    """One dashboard, without the envelope that Grafana's HTTP API takes: its file reader refuses that."""
    return {
        "id": None, "uid": board.uid, "title": board.title, "tags": ["ai-suite"], "timezone": "browser", "schemaVersion": SCHEMA, "version": 1,
        "editable": True, "refresh": "30s", "time": {"from": f"now-{round(board.range)}s", "to": "now"}, "templating": {"list": []},
        "annotations": {"list": []}, "panels": [_panel(panel, place) for place, panel in enumerate(board.panels)],
    }


def datasources(prometheus: str, loki: dict[str, Any], interval: str) -> dict[str, Any]:
    """The provisioning file of data sources; `prometheus` is its URL, `loki` what is special about that one (url, who may read)."""
    return {"apiVersion": 1, "datasources": [
        {"name": "Suite Prometheus", "uid": PROMETHEUS, "type": "prometheus", "access": "proxy", "url": prometheus, "isDefault": True,
         "jsonData": {"timeInterval": interval, "httpMethod": "POST"}},
        {"name": "Suite Loki", "uid": LOKI, "type": "loki", "access": "proxy", **loki},
    ]}


def provider(folder: str) -> dict[str, Any]:
    """The provisioning file that names the folder of the dashboards."""
    return {"apiVersion": 1, "providers": [{"name": "Local AI Suite", "folder": "AI Suite", "type": "file", "disableDeletion": True,
                                            "allowUiUpdates": False, "updateIntervalSeconds": 30, "options": {"path": folder}}]}


def _panel(panel: Panel, place: int) -> dict[str, Any]:
    return {
        "id": panel.id, "type": _TYPES[panel.kind], "title": panel.title, "description": panel.sentence, "datasource": _source(),
        "gridPos": {"x": place * WIDE % COLUMNS, "y": place * WIDE // COLUMNS * HIGH, "w": WIDE, "h": HIGH},
        "targets": [_target(query, panel.kind, number) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []}, "options": _options(panel),
    }


def _source() -> dict[str, str]:
    return {"type": "prometheus", "uid": PROMETHEUS}


def _target(query: Query, kind: str, number: int) -> dict[str, Any]:
    ranged = kind == "line"
    return {"refId": chr(ord("A") + number), "datasource": _source(), "expr": query_expression(query), "range": ranged, "instant": not ranged,
            "legendFormat": query.legend.replace("{", "{{").replace("}", "}}")}


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": _COLOURS[one.level], "value": None if not place else one.begin} for place, one in enumerate(panel.thresholds)]
    made: dict[str, Any] = {"unit": _UNITS[panel.unit], "color": {"mode": "thresholds" if steps and panel.kind != "line" else "palette-classic"},
                            "thresholds": {"mode": "absolute", "steps": steps or [{"color": "text", "value": None}]},
                            "mappings": _STATES if panel.unit == "state" else []}
    if panel.unit == "ratio":
        made |= {"min": 0, "max": 1}
    if panel.unit == "count":
        made |= {"decimals": 0}
    if panel.kind == "line":
        made |= {"custom": {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "spanNulls": False,
                            "thresholdsStyle": {"mode": "dashed" if steps else "off"}}}
    return made


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "line":
        return {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]}, "tooltip": {"mode": "multi"}}
    if panel.kind == "pie":
        legend = {"displayMode": "list", "placement": "right", "showLegend": True, "values": ["value"]}
        return {"reduceOptions": _NEWEST, "pieType": "pie", "legend": legend}
    if panel.kind == "bar":
        return {"reduceOptions": _NEWEST, "orientation": "horizontal", "displayMode": "basic"}
    return {"reduceOptions": _NEWEST, "colorMode": "value", "textMode": "value_and_name"} if panel.kind == "stat" else {"reduceOptions": _NEWEST}
