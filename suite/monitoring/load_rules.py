"""Reads alert rules from a TOML file, and refuses those that could never fire, or always would."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from suite.errors import SettingsError
from suite.monitoring.rule import OPS, SEVERITIES, UNITS, Divisor, Matcher, Rule, parse_duration
from suite.monitoring.sentence import fields, without_fields

INTERVAL = 15.0  # seconds between two scrapes
SCRAPES = 4  # that a window must hold, so that one that fails leaves two samples at each end of a gap
REACH = 1.5  # times a quantile's limit that the highest bucket must reach: above it nothing is told apart
TARGET = ("job", "instance")  # the labels that every scraped series gets
SCRAPED = {"up": "state", "scrape_duration_seconds": "seconds"}  # what the scraper itself adds: unit
_FUNCTIONS, _AGGREGATES = ("rate", "increase"), ("sum", "max", "min")
_TEXT = ("name", "sentence", "severity", "metric", "function", "aggregate", "op", "unit")
_KEYS = {*_TEXT, "matchers", "window", "by", "ratio", "quantile", "absent", "each", "age", "always", "threshold", "for", "minimum"}
_PARTS = ("_bucket", "_count", "_sum")


class Known(Protocol):
    """What the table of metrics says of one: kind (counter, gauge, histogram), unit, labels, and a histogram's finite bucket limits in its unit."""

    kind: str
    unit: str
    labels: Sequence[str]
    buckets: Sequence[float]


def load_rules(file: Path | None = None, table: Mapping[str, Known] | None = None, interval: float = INTERVAL,
               thresholds: Mapping[str, float] | None = None) -> tuple[Rule, ...]:
    """Read a rule file, the packaged one when none is named.

    `table` are the metrics that exist, by name; without one their names, labels and kinds are not checked. `interval` is the seconds between two
    scrapes. `thresholds` replaces limits by rule name, for those that follow a setting.
    Raises SettingsError when the file is missing or malformed, or a rule in it cannot do what it says.
    """
    where = str(file) if file else "the packaged rules.toml"
    try:
        text = file.read_text(encoding="utf-8") if file else resources.files("suite.monitoring").joinpath("rules.toml").read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"The rules {where} cannot be read ({error}); mend the file or reinstall local-ai-suite.") from error
    if strange := sorted(data.keys() - {"rule"}):
        raise SettingsError(f"The rules {where} hold {strange[0]!r}, which means nothing; each rule is a [[rule]].")
    rows = data.get("rule", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"The rules {where} hold no list of rules; write each as a [[rule]].")
    rules = tuple(_rule(row, place, where) for place, row in enumerate(rows, 1))
    for strange in sorted((thresholds or {}).keys() - {rule.name for rule in rules}):
        raise SettingsError(f"A limit is given for the rule {strange!r}, which {where} does not hold; mend the name.")
    rules = tuple(replace(rule, threshold=float((thresholds or {}).get(rule.name, rule.threshold))) for rule in rules)
    check_rules(rules, table, interval, where)
    return rules


def check_rules(rules: Sequence[Rule], table: Mapping[str, Known] | None = None, interval: float = INTERVAL, where: str = "the rules") -> None:
    """Raises SettingsError, which names the rule, for the first one that could never fire, always would, or is there twice."""
    seen: set[str] = set()
    for rule in rules:
        try:
            if rule.key in seen:
                raise SettingsError("is there twice with one severity; give one another name.")
            seen.add(rule.key)
            _check_form(rule)
            _check_window(rule, interval)
            _check_threshold(rule)
            _check_sentence(rule)
            if table is not None and not rule.always:
                _check_metrics(rule, table)
        except SettingsError as error:
            raise SettingsError(f"Rule {rule.name!r} in {where} {error.message}") from error


def _rule(row: Mapping[str, Any], place: int, where: str) -> Rule:
    name = row.get("name", f"number {place}")
    try:
        if strange := sorted(row.keys() - _KEYS):
            raise SettingsError(f"has {strange[0]!r}, which means nothing; remove it or use one of {', '.join(sorted(_KEYS))}.")
        for key in ("name", "sentence", "severity"):
            if not row.get(key):
                raise SettingsError(f"has no {key}; add it.")
        for key in _TEXT:
            if not isinstance(row.get(key, ""), str):
                raise SettingsError(f"has {key} = {row[key]!r}; it must be text.")
        for key in ("absent", "age", "always"):
            if not isinstance(row.get(key, False), bool):
                raise SettingsError(f"has {key} = {row[key]!r}; it must be true or false.")
        return _read(row)
    except SettingsError as error:
        raise SettingsError(f"Rule {name!r} in {where} {error.message}") from error


def _read(row: Mapping[str, Any]) -> Rule:
    ratio, each = row.get("ratio"), row.get("each", {})
    if ratio is not None and (not isinstance(ratio, dict) or "metric" not in ratio or ratio.keys() - {"metric", "matchers"}):
        raise SettingsError(f"has ratio = {ratio!r}; write {{ metric = \"…\", matchers = […] }}.")
    if not isinstance(each, dict) or len(each) > 1:
        raise SettingsError(f"has each = {each!r}; write one label and its values: {{ job = [\"rag\", …] }}.")
    compared = not row.get("absent") and not row.get("always")
    if compared and ("op" not in row or "threshold" not in row or "unit" not in row):
        raise SettingsError("compares with nothing; add op, threshold and unit.")
    return Rule(**{key: row[key] for key in _TEXT if key in row}, **{key: row[key] for key in ("absent", "age", "always") if key in row},
                matchers=_matchers(row.get("matchers", [])), window=parse_duration(row["window"]) if "window" in row else 0.0, by=_names(row, "by"),
                ratio=None if ratio is None else Divisor(str(ratio["metric"]), _matchers(ratio.get("matchers", []))),
                quantile=_number(row, "quantile") if "quantile" in row else None,
                each=next(((label, _names(each, label)) for label in each), ("", ())), threshold=_number(row, "threshold"),
                hold=parse_duration(row["for"]) if "for" in row else 0.0, minimum=_number(row, "minimum"))


def _matchers(texts: Any) -> tuple[Matcher, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SettingsError(f"has matchers = {texts!r}; write a list like ['status=~\"5..\"'].")
    return tuple(Matcher.parse(text) for text in texts)


def _names(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = row.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise SettingsError(f"has {key} = {names!r}; it must be a list of names.")
    return tuple(names)


def _number(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SettingsError(f"has {key} = {value!r}; it must be a number.")
    return float(value)


def _check_form(rule: Rule) -> None:
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", rule.name):
        raise SettingsError("has a name with other than letters and digits; write it like PartDown.")
    for value, key, allowed in ((rule.severity, "severity", SEVERITIES), (rule.op, "op", OPS), (rule.unit, "unit", UNITS),
                                (rule.function, "function", ("", *_FUNCTIONS)), (rule.aggregate, "aggregate", ("", *_AGGREGATES))):
        if value not in allowed:
            raise SettingsError(f"has {key} = {value!r}; use one of {', '.join(name for name in allowed if name)}.")
    if rule.always:
        if rule.metric:
            raise SettingsError(f"is always true and names the metric {rule.metric!r}; remove one of the two.")
        return
    if not rule.metric:
        raise SettingsError("names no metric; add one, or always = true.")
    if rule.by and not (rule.aggregate or rule.quantile is not None):
        raise SettingsError(f"has by = {', '.join(rule.by)} and no aggregate; add sum, max or min.")
    if rule.ratio and (not rule.aggregate or rule.quantile is not None or rule.age):
        raise SettingsError("divides series whose labels may differ; add an aggregate, and neither quantile nor age.")
    if rule.minimum and not (rule.quantile is not None or (rule.ratio and rule.function)):
        raise SettingsError(f"asks for {rule.minimum:g} events and counts none; only a quantile and a ratio over a window have a minimum.")
    if rule.each[0] and not rule.absent:
        raise SettingsError("has each without absent; remove it.")
    for matchers in rule.missing():
        for matcher in matchers:
            Matcher.parse(str(matcher))  # the values of `each` too
    if rule.absent and (rule.function or rule.aggregate or rule.ratio or rule.quantile is not None or rule.age or rule.window):
        raise SettingsError("looks for what is absent and calculates with it; keep metric, matchers and each.")


def _check_window(rule: Rule, interval: float) -> None:
    ranged = bool(rule.function) or rule.quantile is not None
    if rule.function and rule.quantile is not None:
        raise SettingsError("has a quantile and a function; a quantile is always of the rate, remove the function.")
    if ranged != bool(rule.window):
        raise SettingsError("has a window and no function; add rate or increase." if rule.window else "has no window; add one, like 5m.")
    if ranged and rule.window < SCRAPES * interval:
        raise SettingsError(f"has a window of {rule.window:g} s, too short for samples every {interval:g} s; use {SCRAPES * interval:g}s or more.")


def _check_threshold(rule: Rule) -> None:
    if rule.quantile is not None and not 0 < rule.quantile < 1:
        raise SettingsError(f"has quantile = {rule.quantile:g}; it must be between 0 and 1.")
    if rule.absent or rule.always:
        return
    if rule.ratio and rule.unit != "ratio":
        raise SettingsError(f"is a ratio with a limit in {rule.unit}; use unit = \"ratio\", 0.05 for 5 %.")
    low, high = 0.0 if rule.unit not in ("celsius",) else -273.0, float("inf")
    if rule.unit == "ratio" and (not rule.ratio or rule.ratio.metric == rule.metric):
        high = 1.0  # a part of a whole; of two different metrics either may be larger
    never = (rule.op in (">",) and rule.threshold >= high) or (rule.op == ">=" and rule.threshold > high) \
        or (rule.op == "<" and rule.threshold <= low) or (rule.op == "<=" and rule.threshold < low) \
        or (rule.op == "==" and not low <= rule.threshold <= high)
    if never:
        raise SettingsError(f"can never fire, since no {rule.unit} is {rule.op} {rule.threshold:g}; use a limit between {low:g} and {high:g}.")


def _check_sentence(rule: Rule) -> None:
    if re.search(r"[{}]", without_fields(rule.sentence)):
        raise SettingsError(f"has a brace that belongs to no {{name}} in {rule.sentence!r}; remove it.")
    known = {"value", *rule.by, rule.each[0]} if rule.by or rule.aggregate or rule.absent or rule.always or rule.quantile is not None else None
    for name in fields(rule.sentence):
        if known is not None and name not in known | {matcher.label for matcher in rule.matchers if rule.absent}:
            raise SettingsError(f"says {{{name}}}, a label that its alerts have not; use {', '.join(sorted(filter(None, known)))}.")


def _check_metrics(rule: Rule, table: Mapping[str, Known]) -> None:
    wanted = f"{rule.metric}_bucket" if rule.quantile is not None else rule.metric
    kind = _check_metric(wanted, rule.matchers, (*rule.by, rule.each[0]), table)
    if rule.ratio:
        _check_metric(rule.ratio.metric, rule.ratio.matchers, rule.by, table)
    if rule.quantile is not None:
        highest = max(table[rule.metric].buckets, default=0.0)
        if highest < REACH * rule.threshold:
            raise SettingsError(f"cannot see {rule.threshold:g} in {rule.metric}, whose highest bucket is {highest:g}; give it one of "
                                f"{REACH * rule.threshold:g} or more, or lower the limit.")
    elif not rule.absent and kind == "counter" and not rule.function:
        raise SettingsError(f"compares {rule.metric}, which only grows, so it would fire forever; add function and window.")
    elif rule.function and kind == "gauge":
        raise SettingsError(f"takes the {rule.function} of {rule.metric}, which is no counter; remove function and window.")
    unit = SCRAPED.get(rule.metric) or table[_family(rule.metric, table)].unit
    if rule.quantile is None and not (rule.absent or rule.ratio or rule.function or rule.age) and unit != rule.unit:
        raise SettingsError(f"has a limit in {rule.unit}, but {rule.metric} is in {unit}; use that unit.")


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
