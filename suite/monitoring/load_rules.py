"""Reads alert rules from a TOML file, and refuses those that could never fire, or always would."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from suite.errors import SettingsError
from suite.monitoring.load_value import KEYS, Known, check_choices, check_metrics, check_types, check_value, metric_unit, names, number, read_value
from suite.monitoring.rule import OPS, SEVERITIES, UNITS, Matcher, Rule, parse_duration
from suite.monitoring.sentence import fields, without_fields

INTERVAL = 15.0  # seconds between two scrapes
REACH = 1.5  # times a quantile's limit that the highest bucket must reach: above it nothing is told apart
_OWN_TEXT, _FLAGS = ("name", "sentence", "severity", "op", "unit"), ("absent", "always")
_KEYS = {*_OWN_TEXT, *_FLAGS, *KEYS, "each", "threshold", "for", "minimum"}


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
            check_value(rule, interval)
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
        check_types(row, _OWN_TEXT, _FLAGS)
        return _read(row)
    except SettingsError as error:
        raise SettingsError(f"Rule {name!r} in {where} {error.message}") from error


def _read(row: Mapping[str, Any]) -> Rule:
    each = row.get("each", {})
    if not isinstance(each, dict) or len(each) > 1:
        raise SettingsError(f"has each = {each!r}; write one label and its values: {{ job = [\"rag\", …] }}.")
    compared = not row.get("absent") and not row.get("always")
    if compared and ("op" not in row or "threshold" not in row or "unit" not in row):
        raise SettingsError("compares with nothing; add op, threshold and unit.")
    return Rule(**{key: row[key] for key in (*_OWN_TEXT, *_FLAGS) if key in row}, **read_value(row),
                each=next(((label, names(each, label)) for label in each), ("", ())), threshold=number(row, "threshold"),
                hold=parse_duration(row["for"]) if "for" in row else 0.0, minimum=number(row, "minimum"))


def _check_form(rule: Rule) -> None:
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", rule.name):
        raise SettingsError("has a name with other than letters and digits; write it like PartDown.")
    check_choices([(rule.severity, "severity", SEVERITIES), (rule.op, "op", tuple(OPS)), (rule.unit, "unit", UNITS)])
    if rule.always:
        if rule.metric:
            raise SettingsError(f"is always true and names the metric {rule.metric!r}; remove one of the two.")
        return
    if not rule.metric:
        raise SettingsError("names no metric; add one, or always = true.")
    if rule.minimum and not (rule.quantile is not None or (rule.ratio and rule.function)):
        raise SettingsError(f"asks for {rule.minimum:g} events and counts none; only a quantile and a ratio over a window have a minimum.")
    if rule.each[0] and not rule.absent:
        raise SettingsError("has each without absent; remove it.")
    for matchers in rule.missing():
        for matcher in matchers:
            Matcher.parse(str(matcher))  # the values of `each` too
    if rule.absent and (rule.function or rule.aggregate or rule.ratio or rule.quantile is not None or rule.age or rule.window):
        raise SettingsError("looks for what is absent and calculates with it; keep metric, matchers and each.")


def _check_threshold(rule: Rule) -> None:
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
    kind = check_metrics(rule, (rule.each[0],), table)
    if rule.quantile is not None:
        highest = max(table[rule.metric].buckets, default=0.0)
        if highest < REACH * rule.threshold:
            raise SettingsError(f"cannot see {rule.threshold:g} in {rule.metric}, whose highest bucket is {highest:g}; give it one of "
                                f"{REACH * rule.threshold:g} or more, or lower the limit.")
    elif not rule.absent and kind == "counter" and not rule.function:
        raise SettingsError(f"compares {rule.metric}, which only grows, so it would fire forever; add function and window.")
    unit = metric_unit(rule.metric, table)
    if rule.quantile is None and not (rule.absent or rule.ratio or rule.function or rule.age) and unit != rule.unit:
        raise SettingsError(f"has a limit in {rule.unit}, but {rule.metric} is in {unit}; use that unit.")
