"""Reads how a value is calculated, for alert rules and charts alike, and refuses what no metric of the table can give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from suite.errors import SettingsError
from suite.monitoring.rule import Divisor, Matcher, Query, Rule, parse_duration

SCRAPES = 4  # that a window must hold, so that one that fails leaves two samples at each end of a gap
TARGET = ("job", "instance")  # the labels that every scraped series gets
SCRAPED = {"up": "state", "scrape_duration_seconds": "seconds"}  # what the scraper itself adds: unit
TEXT = ("metric", "function", "aggregate")
KEYS = {*TEXT, "matchers", "window", "by", "ratio", "quantile", "age"}
_FUNCTIONS, _AGGREGATES = ("rate", "increase"), ("sum", "max", "min")
_PARTS = ("_bucket", "_count", "_sum")


class Known(Protocol):
    """What the table of metrics says of one: kind (counter, gauge, histogram), unit, labels, and a histogram's finite bucket limits in its unit."""

    kind: str
    unit: str
    labels: Sequence[str]
    buckets: Sequence[float]


def read_value(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a Rule and a Query share. Raises SettingsError, which goes on from the name of whose they are."""
    check_types(row, TEXT, ("age",))
    ratio = row.get("ratio")
    return {**{key: row[key] for key in (*TEXT, "age") if key in row}, "matchers": _matchers(row.get("matchers", [])),
            "window": parse_duration(row["window"]) if "window" in row else 0.0, "by": names(row, "by"),
            "ratio": None if ratio is None else _divisor(ratio), "quantile": number(row, "quantile") if "quantile" in row else None}


def check_types(row: Mapping[str, Any], texts: Sequence[str], flags: Sequence[str]) -> None:
    """Raises SettingsError for a key whose value is not text, or not true or false."""
    for key in texts:
        if not isinstance(row.get(key, ""), str):
            raise SettingsError(f"has {key} = {row[key]!r}; it must be text.")
    for key in flags:
        if not isinstance(row.get(key, False), bool):
            raise SettingsError(f"has {key} = {row[key]!r}; it must be true or false.")


def names(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of names."""
    found = row.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise SettingsError(f"has {key} = {found!r}; it must be a list of names.")
    return tuple(found)


def number(row: Mapping[str, Any], key: str) -> float:
    """A finite number, 0 when there is none."""
    value = row.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingsError(f"has {key} = {value!r}; it must be a number.")
    return float(value)


def check_choices(rows: Sequence[tuple[str, str, Sequence[str]]]) -> None:
    """Raises SettingsError for a (value, key, allowed values) that is not allowed."""
    for value, key, allowed in rows:
        if value not in allowed:
            raise SettingsError(f"has {key} = {value!r}; use one of {', '.join(name for name in allowed if name)}.")


def check_value(value: Rule | Query, interval: float) -> None:
    """Raises SettingsError for what cannot be calculated; `interval` is the seconds between two scrapes."""
    check_choices([(value.function, "function", ("", *_FUNCTIONS)), (value.aggregate, "aggregate", ("", *_AGGREGATES))])
    if value.by and not (value.aggregate or value.quantile is not None):
        raise SettingsError(f"has by = {', '.join(value.by)} and no aggregate; add sum, max or min.")
    if value.ratio and (not value.aggregate or value.quantile is not None or value.age):
        raise SettingsError("divides series whose labels may differ; add an aggregate, and neither quantile nor age.")
    ranged = bool(value.function) or value.quantile is not None
    if value.function and value.quantile is not None:
        raise SettingsError("has a quantile and a function; a quantile is always of the rate, remove the function.")
    if ranged != bool(value.window):
        raise SettingsError("has a window and no function; add rate or increase." if value.window else "has no window; add one, like 5m.")
    if ranged and value.window < SCRAPES * interval:
        raise SettingsError(f"has a window of {value.window:g} s, too short for samples every {interval:g} s; use {SCRAPES * interval:g}s or more.")
    if value.quantile is not None and not 0 < value.quantile < 1:
        raise SettingsError(f"has quantile = {value.quantile:g}; it must be between 0 and 1.")


def check_metrics(value: Rule | Query, labels: Sequence[str], table: Mapping[str, Known]) -> str:
    """The kind of the value's metric; raises SettingsError for a metric or a label (those in `labels` too) that the table has not."""
    wanted = f"{value.metric}_bucket" if value.quantile is not None else value.metric
    kind = _check_metric(wanted, value.matchers, (*value.by, *labels), table)
    for one in value.ratio.sums() if value.ratio else ():
        _check_metric(one.metric, one.matchers, value.by, table)
    if value.function and kind == "gauge":
        raise SettingsError(f"takes the {value.function} of {value.metric}, which is no counter; remove function and window.")
    return kind


def metric_unit(metric: str, table: Mapping[str, Known]) -> str:
    """The unit of a metric that the table has."""
    family = _family(metric, table)
    return SCRAPED.get(metric) or ("count" if family != metric and not metric.endswith("_sum") else table[family].unit)


def _check_metric(metric: str, matchers: Sequence[Matcher], by: Sequence[str], table: Mapping[str, Known]) -> str:
    """The metric's kind."""
    if metric in SCRAPED:
        kind, labels = "gauge", set(TARGET)
    else:
        family = _family(metric, table)
        if not family:
            raise SettingsError(f"speaks of the metric {metric!r}, which nothing gives; mend the name or add it to the table of metrics.")
        kind = "counter" if family != metric else table[family].kind
        labels = {*table[family].labels, *TARGET}
        if kind == "histogram":
            raise SettingsError(f"compares the histogram {metric}; add a quantile, or speak of its _count or _sum.")
    for label in [matcher.label for matcher in matchers] + [name for name in by if name]:
        if label not in labels:
            raise SettingsError(f"speaks of the label {label!r}, which {metric} has not; its labels are {', '.join(sorted(labels))}.")
    return kind


def _family(metric: str, table: Mapping[str, Known]) -> str:
    """The metric's name in the table, where a histogram stands for its buckets, count and sum; empty when there is none."""
    if metric in table:
        return metric
    stem = next((metric.removesuffix(part) for part in _PARTS if metric.endswith(part)), "")
    return stem if stem in table and table[stem].kind == "histogram" else ""


def _divisor(ratio: Any) -> Divisor:
    if not isinstance(ratio, dict) or "metric" not in ratio or ratio.keys() - {"metric", "matchers", "plus"}:
        raise SettingsError(f"has ratio = {ratio!r}; write {{ metric = \"…\", matchers = […] }}.")
    return Divisor(str(ratio["metric"]), _matchers(ratio.get("matchers", [])), _divisor(ratio["plus"]) if "plus" in ratio else None)


def _matchers(texts: Any) -> tuple[Matcher, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SettingsError(f"has matchers = {texts!r}; write a list like ['status=~\"5..\"'].")
    return tuple(Matcher.parse(text) for text in texts)
