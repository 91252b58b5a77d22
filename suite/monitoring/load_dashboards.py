"""Reads dashboards from a TOML file, and refuses panels that could never show anything."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from suite.errors import SettingsError
from suite.monitoring.dashboard import KINDS, LEVELS, UNITS, Dashboard, Panel, Threshold
from suite.monitoring.load_rules import INTERVAL
from suite.monitoring.load_value import (
    KEYS,
    SCRAPED,
    TARGET,
    Known,
    check_choices,
    check_metrics,
    check_types,
    check_value,
    metric_unit,
    number,
    read_value,
)
from suite.monitoring.rule import Query, parse_duration
from suite.monitoring.sentence import fields

HOUR = 3600.0
_DASHBOARD = {"uid", "title", "range", "panel"}
_PANEL = {"id", "title", "sentence", "kind", "unit", "query", "thresholds"}
_QUERY = {*KEYS, "rest", "legend"}


def load_dashboards(table: Mapping[str, Known], file: Path | None = None, interval: float = INTERVAL) -> tuple[Dashboard, ...]:
    """Read a file of dashboards, the packaged one when none is named.

    `table` are the metrics that exist, by name; `interval` is the seconds between two scrapes.
    Raises SettingsError when the file is missing or malformed, or a panel in it asks for what no metric of the table gives.
    """
    where = str(file) if file else "the packaged dashboards.toml"
    try:
        found = file or resources.files("suite.monitoring").joinpath("dashboards.toml")
        data = tomllib.loads(found.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"The dashboards {where} cannot be read ({error}); mend the file or reinstall local-ai-suite.") from error
    try:
        _check_keys(data, {"dashboard"})
        made = tuple(_dashboard(row, table, interval) for row in _rows(data, "dashboard"))
        _check_once([one.uid for one in made], "uid")
        _check_once([one.title for one in made], "title")
    except SettingsError as error:
        raise SettingsError(f"What {where} holds cannot be shown: {error.message}") from error
    return made


def _dashboard(row: Mapping[str, Any], table: Mapping[str, Known], interval: float) -> Dashboard:
    title = row.get("title", "without a title")
    try:
        _check_keys(row, _DASHBOARD)
        _check_there(row, ("uid", "title", "range", "panel"))
        check_types(row, ("uid", "title"), ())
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", row["uid"]):
            raise SettingsError(f"has uid = {row['uid']!r}; use at most 40 small letters, digits and hyphens.")
        panels = tuple(_panel(one, table, interval) for one in _rows(row, "panel"))
        _check_once([str(panel.id) for panel in panels], "panel id")
        _check_once([panel.title for panel in panels], "panel title")
        return Dashboard(row["uid"], title, parse_duration(row["range"]), panels)
    except SettingsError as error:
        raise SettingsError(f"Dashboard {title!r} {error.message}") from error


def _panel(row: Mapping[str, Any], table: Mapping[str, Known], interval: float) -> Panel:
    try:
        _check_keys(row, _PANEL)
        _check_there(row, ("id", "title", "sentence", "kind", "unit", "query"))
        check_types(row, ("title", "sentence", "kind", "unit"), ())
        check_choices([(row["kind"], "kind", KINDS), (row["unit"], "unit", UNITS)])
        if not isinstance(row["id"], int) or isinstance(row["id"], bool) or row["id"] < 1:
            raise SettingsError(f"has id = {row['id']!r}; it must be a whole number from 1 on.")
        queries = tuple(_query(one) for one in _rows(row, "query"))
        _check_once([query.legend for query in queries], "legend")
        for query in queries:
            _check_query(query, row["unit"], table, interval)
        return Panel(row["id"], row["title"], row["sentence"], row["kind"], row["unit"], queries, _thresholds(row.get("thresholds", [])))
    except SettingsError as error:
        raise SettingsError(f"has a panel {row.get('title', 'without a title')!r} that {error.message}") from error


def _query(row: Mapping[str, Any]) -> Query:
    _check_keys(row, _QUERY)
    _check_there(row, ("metric", "legend"))
    check_types(row, ("legend",), ("rest",))
    return Query(**read_value(row), legend=row["legend"], rest=row.get("rest", False))


def _thresholds(rows: Any) -> tuple[Threshold, ...]:
    formed = isinstance(rows, list) and all(isinstance(row, dict) and row.keys() <= {"level", "from"} and row.get("level") in LEVELS for row in rows)
    if not formed:
        raise SettingsError(f"has thresholds = {rows!r}; write a list like [{{ level = \"good\" }}, {{ from = 0.8, level = \"warning\" }}].")
    if any(("from" in row) != bool(place) for place, row in enumerate(rows)):
        raise SettingsError("has thresholds of which not just the first is without `from`; it is the level below all others.")
    made = tuple(Threshold(row["level"], number(row, "from")) if place else Threshold(row["level"]) for place, row in enumerate(rows))
    if [one.begin for one in made] != sorted({one.begin for one in made}):
        raise SettingsError("has thresholds that do not rise; sort them by `from`.")
    return made


def _check_query(query: Query, unit: str, table: Mapping[str, Known], interval: float) -> None:
    check_value(query, interval)
    kind = check_metrics(query, (), table)
    if kind == "counter" and not query.function and query.quantile is None:
        raise SettingsError(f"shows {query.metric}, which only grows; add function and window.")
    there = _unit(query, table)
    hourly = unit == "per_hour" and there == "count" and query.function == "increase" and query.window == HOUR
    if there != unit and not hourly:
        raise SettingsError(f"is in {unit}, but what it asks of {query.metric} is in {there}; use that unit.")
    if query.rest and there != "ratio":
        raise SettingsError(f"shows what is missing to 1 from {query.metric}, which is in {there}; only of a ratio there is a rest.")
    known = {*query.by} if query.aggregate or query.quantile is not None else {*_labels(query.metric, table), *TARGET}
    for name in fields(query.legend):
        if name not in known:
            allowed = ", ".join(sorted(known)) or "a text without braces"
            raise SettingsError(f"names its lines by {{{name}}}, a label that they have not; use {allowed}.")


def _labels(metric: str, table: Mapping[str, Known]) -> Sequence[str]:
    return () if metric in SCRAPED or metric not in table else table[metric].labels


def _unit(query: Query, table: Mapping[str, Known]) -> str:
    if query.quantile is not None or query.age:
        return table[query.metric].unit if query.metric in table else "seconds"
    unit = metric_unit(query.metric, table)
    if query.ratio:
        below = metric_unit(query.ratio.metric, table)
        return "ratio" if below == unit else unit if below == "count" else f"{unit} per {below}"
    if query.function == "rate":
        return {"count": "per_second", "seconds": "ratio"}.get(unit, f"{unit} per second")
    return unit


def _rows(row: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = row.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(one, dict) for one in rows):
        raise SettingsError(f"holds no list of {key}; write each as a [[{key}]].")
    return rows


def _check_keys(row: Mapping[str, Any], allowed: set[str]) -> None:
    if strange := sorted(row.keys() - allowed):
        raise SettingsError(f"has {strange[0]!r}, which means nothing; remove it or use one of {', '.join(sorted(allowed))}.")


def _check_there(row: Mapping[str, Any], wanted: Sequence[str]) -> None:
    for key in wanted:
        if row.get(key) in (None, ""):
            raise SettingsError(f"has no {key}; add it.")


def _check_once(values: Sequence[str], what: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise SettingsError(f"has the {what} {twice[0]!r} twice; give one another.")
