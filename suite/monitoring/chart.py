"""What the lines of a panel are over a range of time: at each moment the values that its PromQL gives in Prometheus."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from suite.errors import BadRequest
from suite.monitoring.dashboard import Line, Panel
from suite.monitoring.evaluate import LIMIT, PROMETHEUS_3, Pairs, grouped, pairs
from suite.monitoring.quantile import histogram_quantile
from suite.monitoring.rule import Divisor, Query
from suite.monitoring.samples import Samples, Series
from suite.monitoring.sentence import fill
from suite.monitoring.steps import growth_at, latest_at
from suite.monitoring.window import LOOKBACK, Semantics

MOST_MOMENTS = 11_000  # that one chart may have, as in Prometheus
POINTS = 240  # that a chart has when nobody asks for a step

Lines = Mapping[Pairs, Any]  # values at every moment by labels; NaN where there is none


def moments(begin: float, end: float, step: float) -> Any:
    """The moments of a chart: every `step` seconds from `begin` to `end` (UTC seconds). Raises BadRequest."""
    if not all(math.isfinite(one) for one in (begin, end, step)) or step <= 0 or end < begin or (end - begin) / step >= MOST_MOMENTS:
        raise BadRequest(f"A chart from {begin:g} to {end:g} every {step:g} s cannot be drawn; ask for a begin before its end, and at most "
                         f"{MOST_MOMENTS} steps.", param="step")
    return begin + np.arange(int((end - begin) / step + 1e-9) + 1) * step


def step_for(seconds: float, interval: float) -> float:
    """A step, in whole seconds, for a chart over so many: no shorter than the interval at which samples come."""
    return max(1.0, math.ceil(interval), math.ceil(seconds / POINTS))


def draw(panel: Panel, samples: Samples, at: Any, semantics: Semantics = PROMETHEUS_3) -> list[Line]:
    """The lines of a panel at these moments, in the order of its queries and of their names; those that have no value at all are left out."""
    lines: list[Line] = []
    for query in panel.queries:
        found = []
        for labels, values in values_at(query, samples, at, semantics).items():
            there = ~np.isnan(values)
            if there.any():
                found.append(Line(fill(query.legend, "", dict(labels), 0.0), dict(labels), at[there], values[there]))
        lines += sorted(found, key=lambda line: (line.name, sorted(line.labels.items())))
    return lines


def values_at(query: Query, samples: Samples, at: Any, semantics: Semantics = PROMETHEUS_3) -> Lines:
    """The values of a query at each moment by labels."""
    if query.quantile is not None:
        return _quantiles(query, samples, at, semantics)
    found = _reduced(query, Divisor(query.metric, query.matchers), samples, at, semantics)
    if query.ratio:
        divisors = [_reduced(query, one, samples, at, semantics) for one in query.ratio.sums()]
        found = _both(found, reduce(lambda one, other: _both(one, other, np.add), divisors), np.divide)
    return {labels: 1 - values for labels, values in found.items()} if query.rest else found


def _reduced(query: Query, what: Divisor, samples: Samples, at: Any, semantics: Semantics) -> Lines:
    if query.function:
        found = _growth(query, what, samples, at, semantics, query.function == "rate")
    else:
        found = {pairs(one): latest_at(one, at, semantics) for one in _selected(what, samples, at, LOOKBACK)}
        if query.age:
            found = {labels: np.round(at * 1000) / 1000 - values for labels, values in found.items()}
    return _aggregated(found, query.by, {"sum": _add, "max": np.fmax, "min": np.fmin}[query.aggregate]) if query.aggregate else found


def _growth(query: Query, what: Divisor, samples: Samples, at: Any, semantics: Semantics, per_second: bool) -> Lines:
    return {pairs(one): growth_at(one, at, query.window, semantics, per_second) for one in _selected(what, samples, at, query.window)}


def _selected(what: Divisor, samples: Samples, at: Any, window: float) -> list[Series]:
    return sorted(samples.select(what.metric, what.matchers, float(at[0]) - window - 0.001, float(at[-1]) + 0.001), key=pairs)


def _aggregated(found: Lines, by: Sequence[str], join: Callable[[Any, Any], Any]) -> Lines:
    groups: dict[Pairs, Any] = {}
    for labels, values in found.items():
        group = grouped(labels, by)
        groups[group] = join(groups[group], values) if group in groups else values
    return groups


def _add(one: Any, other: Any) -> Any:
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, one + other))


def _both(one: Lines, other: Lines, join: Callable[[Any, Any], Any]) -> Lines:
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing divided by nothing is no value
        return {labels: join(values, other[labels]) for labels, values in one.items() if labels in other}


def _quantiles(query: Query, samples: Samples, at: Any, semantics: Semantics) -> Lines:
    rates = _growth(query, Divisor(f"{query.metric}_bucket", query.matchers), samples, at, semantics, per_second=True)
    histograms: dict[Pairs, list[tuple[float, Any]]] = {}
    for labels, values in _aggregated(rates, ("le", *query.by), _add).items():
        limit = dict(labels).get("le", "")
        if LIMIT.fullmatch(limit):
            histograms.setdefault(tuple(pair for pair in labels if pair[0] != "le"), []).append((float(limit), values))
    return {labels: _quantile(query.quantile or 0.0, buckets) for labels, buckets in histograms.items()}


def _quantile(quantile: float, buckets: list[tuple[float, Any]]) -> Any:
    limits, columns = [limit for limit, _ in buckets], np.array([values for _, values in buckets]).T
    seen, found = ~np.isnan(columns), np.full(len(columns), np.nan)
    for place in np.flatnonzero(np.nansum(columns, axis=1) > 0):
        found[place] = histogram_quantile(quantile, [(limit, value) for limit, value, there in zip(limits, columns[place], seen[place], strict=True)
                                                     if there])
    return found
