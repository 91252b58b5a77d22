"""The latest value, the increase and the rate of one series at many moments at once; at each of them what `window` says of it alone.

A chart of a day has hundreds of moments and dozens of series; one after the other they would take seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suite.monitoring.samples import Series
from suite.monitoring.window import LOOKBACK, NEAR, Semantics


def latest_at(series: Series, moments: Any, semantics: Semantics) -> Any:
    """The latest value at each moment (UTC seconds); NaN where there is none, or the series is marked as gone."""
    times, values = _ms(series.times), np.asarray(series.values, float)
    ends = _ms(moments)
    first, last = _bounds(times, ends, LOOKBACK, semantics)
    found = np.full(len(ends), np.nan)
    there = last > first
    found[there] = values[last[there] - 1]
    return found


def growth_at(series: Series, moments: Any, window: float, semantics: Semantics, per_second: bool) -> Any:
    """The increase (or rate) over the window before each moment; NaN where there are fewer than two samples in it."""
    values = np.asarray(series.values, float)
    there = ~np.isnan(values)
    times, values, ends = _ms(series.times)[there], values[there], _ms(moments)
    first, last = _bounds(times, ends, window, semantics)
    found, enough = np.full(len(ends), np.nan), last - first > 1
    if not enough.any():
        return found
    first, last, ends = first[enough], last[enough] - 1, ends[enough]
    lost = np.concatenate(([0.0], np.cumsum(np.where(values[1:] < values[:-1], values[:-1], 0.0))))  # by counters that began anew
    grown = values[last] - values[first] + (lost[last] - lost[first])
    covered = (times[last] - times[first]) / 1000
    distance = covered / (last - first)
    to_start, to_end = (times[first] - (ends - round(window * 1000))) / 1000, (ends - times[last]) / 1000
    if semantics.half_first:
        to_start = np.where(to_start >= distance * NEAR, distance / 2, to_start)
    rising = (grown > 0) & (values[first] >= 0)
    zero = covered * (values[first] / np.where(rising, grown, 1.0))
    to_start = np.where(rising, np.minimum(to_start, zero), to_start)  # no counter was ever below zero
    extended = covered + np.where(to_start < distance * NEAR, to_start, distance / 2) + np.where(to_end < distance * NEAR, to_end, distance / 2)
    found[enough] = grown * (extended / covered / (window if per_second else 1.0))
    return found


def _ms(seconds: Any) -> Any:
    return np.rint(np.asarray(seconds, float) * 1000).astype(np.int64)


def _bounds(times: Any, ends: Any, window: float, semantics: Semantics) -> tuple[Any, Any]:
    return times.searchsorted(ends - round(window * 1000), "right" if semantics.left_open else "left"), times.searchsorted(ends, "right")
