"""A panel that could never show anything is refused with one sentence that says which, what and what next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.errors import BadRequest, SettingsError
from suite.monitoring.load_dashboards import load_dashboards
from suite.monitoring.promql import query_expression
from suite.monitoring.table import ROWS

QUERY = {"legend": "{part}", "metric": "suite_requests_total", "function": "rate", "window": "5m", "aggregate": "sum", "by": ["part"]}
PANEL = {"id": 1, "title": "Rate", "sentence": "Requests.", "kind": "line", "unit": "per_second"}
LEVEL = {"legend": "cpu", "metric": "suite_host_cpu_ratio", "function": None, "window": None, "aggregate": None, "by": None}


def written(tmp_path: Path, query: dict | None = None, panel: dict | None = None, board: dict | None = None, again: str = "") -> Path:
    """A file with one dashboard of one panel of one query: good ones, changed."""
    made = {"uid": "one", "title": "One", "range": "1h"} | (board or {})
    lines = ["[[dashboard]]", *_lines(made), "[[dashboard.panel]]", *_lines(PANEL | (panel or {})), "[[dashboard.panel.query]]", *_lines(QUERY | (query or {}))]
    (tmp_path / "dashboards.toml").write_text("\n".join(lines) + "\n" + again, encoding="utf-8")
    return tmp_path / "dashboards.toml"


def _lines(row: dict) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in row.items() if value is not None]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def test_a_good_dashboard_is_read(tmp_path: Path) -> None:
    (board,) = load_dashboards(ROWS, written(tmp_path, panel={"thresholds": [{"level": "good"}, {"from": 2, "level": "warning"}]}))
    assert board.panel(1).queries[0].by == ("part",) and board.range == 3600
    assert board.to_dict()["panels"][0]["thresholds"] == [{"level": "good", "from": None}, {"level": "warning", "from": 2.0}]
    with pytest.raises(BadRequest, match="has no panel 2; its panels are 1 to 1"):
        board.panel(2)


@pytest.mark.parametrize(("query", "said"), [
    ({"metric": "suite_request_total"}, "speaks of the metric 'suite_request_total', which nothing gives"),
    ({"matchers": ['status_code="500"']}, "speaks of the label 'status_code', which suite_requests_total has not"),
    ({"by": ["endpoint"]}, "speaks of the label 'endpoint'"),
    ({"legend": "{route}"}, "names its lines by {route}, a label that they have not; use part"),
    ({"legend": None}, "has no legend"),
    ({"window": "30s"}, "has a window of 30 s, too short"),
    ({"function": None, "window": None}, "shows suite_requests_total, which only grows; add function and window"),
    ({"function": "increase"}, "is in per_second, but what it asks of suite_requests_total is in count"),
    ({"rest": True}, "only of a ratio there is a rest"),
    ({"ratio": {"metric": "suite_requests_total"}}, "is in per_second, but what it asks of suite_requests_total is in ratio"),
    ({"ratio": {"metric": "suite_requests_total", "plus": {"metric": "gone"}}}, "speaks of the metric 'gone'"),
    ({"threshold": 2}, "has 'threshold', which means nothing"),
    ({"rest": "yes"}, "has rest = 'yes'; it must be true or false"),
    ({"metric": "suite_request_seconds", "function": None, "quantile": 0.95}, "is in per_second, but what it asks of suite_request_seconds is in seconds"),
    (LEVEL, "is in per_second, but what it asks of suite_host_cpu_ratio is in ratio"),
    ({**LEVEL, "metric": "up"}, "is in per_second, but what it asks of up is in state"),
    ({"metric": "suite_request_seconds_sum"}, "is in ratio"),
])
def test_a_query_that_cannot_work_is_refused(tmp_path: Path, query: dict, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_dashboards(ROWS, written(tmp_path, query))
    assert said in raised.value.message and "Dashboard 'One' has a panel 'Rate' that" in raised.value.message


@pytest.mark.parametrize(("panel", "said"), [
    ({"kind": "heatmap"}, "has kind = 'heatmap'; use one of stat, line"), ({"unit": "ms"}, "has unit = 'ms'; use one of"), ({"id": 0}, "has id = 0"),
    ({"id": True}, "has id = True"), ({"sentence": ""}, "has no sentence"), ({"unit": "per_hour"}, "is in per_hour, but what it asks"),
    ({"thresholds": [{"level": "red"}]}, "has thresholds = "), ({"thresholds": [{"from": 1, "level": "good"}]}, "not just the first is without `from`"),
    ({"thresholds": [{"level": "good"}, {"from": 2, "level": "warning"}, {"from": 1, "level": "critical"}]}, "thresholds that do not rise"),
])
def test_a_panel_that_cannot_be_drawn_is_refused(tmp_path: Path, panel: dict, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_dashboards(ROWS, written(tmp_path, panel=panel))
    assert said in raised.value.message


@pytest.mark.parametrize(("board", "again", "said"), [
    ({"uid": "One"}, "", "has uid = 'One'"), ({"range": "soon"}, "", "The duration 'soon' cannot be read"), ({"colour": "red"}, "", "has 'colour', which"),
    ({}, '[[dashboard]]\nuid = "two"\n', "has no title"), ({}, "[[dashbord]]\n", "has 'dashbord', which means nothing"), ({}, "]", "cannot be read"),
    ({}, "[[dashboard.panel]]\n" + "\n".join(_lines(PANEL)) + "\n[[dashboard.panel.query]]\n" + "\n".join(_lines(QUERY)), "has the panel id '1' twice"),
    ({}, "[[dashboard.panel.query]]\n" + "\n".join(_lines(QUERY)), "has the legend '{part}' twice"),
])
def test_a_file_of_another_form_is_refused(tmp_path: Path, board: dict, again: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_dashboards(ROWS, written(tmp_path, board=board, again=again))
    assert said in raised.value.message


def test_an_hourly_number_is_an_increase_over_an_hour(tmp_path: Path) -> None:
    asked = {"function": "increase", "window": "1h"}
    assert load_dashboards(ROWS, written(tmp_path, asked, {"unit": "per_hour"}))
    with pytest.raises(SettingsError, match="is in per_hour, but what it asks of suite_requests_total is in count"):
        load_dashboards(ROWS, written(tmp_path, {**asked, "window": "30m"}, {"unit": "per_hour"}))


def test_the_packaged_dashboards_are_the_four_and_their_service_level_does_not_punish_denials() -> None:
    boards = load_dashboards(ROWS)
    assert [(board.title, len(board.panels)) for board in boards] == [
        ("AI Suite Overview", 6), ("RBAC Metrics", 5), ("Approval Workflow Metrics", 5), ("SLA Tracking", 5)]
    worked = next(panel for panel in boards[3].panels if panel.title == "Calls that worked")
    assert query_expression(worked.queries[0]) == ('sum by () (increase(suite_tool_calls_total{outcome="done"}[1d])) / '
                                                   'sum by () (increase(suite_tool_calls_total{outcome=~"done|failed"}[1d]))')
    waits = [query.metric for board in boards for panel in board.panels for query in panel.queries if "wait" in panel.title.lower()]
    assert waits and {one.removesuffix("_sum") for one in waits} == {"suite_approval_decision_seconds"}
    with pytest.raises(SettingsError, match="speaks of the metric 'suite_host_cpu_ratio', which nothing gives"):
        load_dashboards({name: row for name, row in ROWS.items() if name != "suite_host_cpu_ratio"})
