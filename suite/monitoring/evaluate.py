"""What a rule's condition gives at one moment: the same label sets and values as its PromQL gives in Prometheus."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from suite.monitoring.quantile import histogram_quantile
from suite.monitoring.rule import OPS, Divisor, Matcher, Rule
from suite.monitoring.samples import Samples, Series
from suite.monitoring.window import LOOKBACK, Semantics, increase, latest, rate

PROMETHEUS_3 = Semantics()
_RANGED = {"rate": rate, "increase": increase}
LIMIT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?Inf")

Pairs = tuple[tuple[str, str], ...]  # labels, sorted
Vector = dict[Pairs, float]


@dataclass(frozen=True)
class Held:
    """One label set for which a rule's condition holds, and the value that was compared."""

    labels: Mapping[str, str]
    value: float


def evaluate(rule: Rule, samples: Samples, at: float, semantics: Semantics = PROMETHEUS_3) -> list[Held]:
    """The label sets for which the rule's condition holds at the moment `at` (UTC seconds), in the order of their labels."""
    if rule.always:
        held: Vector = {(): 1.0}
    elif rule.absent:
        held = _absent(rule, samples, at, semantics)
    else:
        values = _quantiles(rule, samples, at, semantics) if rule.quantile is not None else _values(rule, Divisor(rule.metric, rule.matchers),
                                                                                                    samples, at, semantics)
        if rule.ratio:
            divisors = [_values(rule, one, samples, at, semantics) for one in rule.ratio.sums()]
            values = _divided(values, reduce(_added, divisors))
        held = {labels: value for labels, value in values.items() if OPS[rule.op](value, rule.threshold)}  # of NaN only != is true
        if rule.minimum and held:
            counted = rule.counted()
            traffic = _summed(_ranged("increase", rule.window, counted, samples, at, semantics), rule.by)
            held = {labels: value for labels, value in held.items() if traffic.get(labels, -math.inf) >= rule.minimum}
    return [Held(dict(labels), held[labels]) for labels in sorted(held)]


def _values(rule: Rule, what: Divisor, samples: Samples, at: float, semantics: Semantics) -> Vector:
    if rule.function:
        vector = _ranged(rule.function, rule.window, what, samples, at, semantics)
    else:
        vector = _instant(what.metric, what.matchers, samples, at, semantics)
        if rule.age:
            vector = {labels: round(at * 1000) / 1000 - value for labels, value in vector.items()}
    if rule.aggregate == "sum":
        return _summed(vector, rule.by)
    return _extreme(vector, rule.by, rule.aggregate) if rule.aggregate else vector


def _instant(metric: str, matchers: Sequence[Matcher], samples: Samples, at: float, semantics: Semantics) -> Vector:
    found = ((series, latest(series, at, semantics)) for series in _selected(metric, matchers, samples, at, LOOKBACK))
    return {pairs(series): value for series, value in found if value is not None}


def _ranged(function: str, window: float, what: Divisor, samples: Samples, at: float, semantics: Semantics) -> Vector:
    found = ((series, _RANGED[function](series, at, window, semantics)) for series in _selected(what.metric, what.matchers, samples, at, window))
    return {pairs(series): value for series, value in found if value is not None}


def _selected(metric: str, matchers: Sequence[Matcher], samples: Samples, at: float, window: float) -> list[Series]:
    """Sorted by labels: sums are then added in the order in which Prometheus adds them. A millisecond more, since a store may keep rounded times."""
    return sorted(samples.select(metric, matchers, at - window - 0.001, at + 0.001), key=pairs)


def pairs(series: Series) -> Pairs:
    """The labels of a series, sorted."""
    return tuple(sorted(series.labels.items()))


def grouped(labels: Pairs, by: Sequence[str]) -> Pairs:
    """Those of the labels that a group has."""
    return tuple(pair for pair in labels if pair[0] in by)


def _summed(vector: Vector, by: Sequence[str]) -> Vector:
    sums: Vector = {}
    for labels, value in vector.items():
        group = grouped(labels, by)
        sums[group] = sums[group] + value if group in sums else value
    return sums


def _extreme(vector: Vector, by: Sequence[str], aggregate: str) -> Vector:
    choose, found = (max if aggregate == "max" else min), Vector()
    for labels, value in vector.items():
        group = grouped(labels, by)
        found[group] = choose(found.get(group, value), value)
    return found


def _added(one: Vector, other: Vector) -> Vector:
    return {labels: value + other[labels] for labels, value in one.items() if labels in other}


def _divided(values: Vector, divisors: Vector) -> Vector:
    return {labels: _quotient(value, divisors[labels]) for labels, value in values.items() if labels in divisors}


def _quotient(value: float, divisor: float) -> float:
    if divisor:
        return value / divisor
    return math.nan if value == 0 or math.isnan(value) else math.copysign(math.inf, value) * math.copysign(1.0, divisor)


def _quantiles(rule: Rule, samples: Samples, at: float, semantics: Semantics) -> Vector:
    rates = _summed(_ranged("rate", rule.window, Divisor(f"{rule.metric}_bucket", rule.matchers), samples, at, semantics), ("le", *rule.by))
    histograms: dict[Pairs, list[tuple[float, float]]] = {}
    for labels, value in rates.items():
        limit = dict(labels).get("le", "")
        if LIMIT.fullmatch(limit):  # a bucket without a limit is no bucket
            histograms.setdefault(tuple(pair for pair in labels if pair[0] != "le"), []).append((float(limit), value))
    return {labels: histogram_quantile(rule.quantile or 0.0, buckets) for labels, buckets in histograms.items()}


def _absent(rule: Rule, samples: Samples, at: float, semantics: Semantics) -> Vector:
    held: Vector = {}
    for matchers in rule.missing():
        if not _instant(rule.metric, matchers, samples, at, semantics):
            held[_named(matchers)] = 1.0
    return held


def _named(matchers: Sequence[Matcher]) -> Pairs:
    """The labels of what is absent: those that the matchers state outright, and only once."""
    labels = [matcher.label for matcher in matchers]
    return tuple(sorted((matcher.label, matcher.value) for matcher in matchers if matcher.op == "=" and labels.count(matcher.label) == 1))
