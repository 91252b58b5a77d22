"""From the samples of one series to one number at one moment: its latest value, its increase or its rate, exactly as Prometheus calculates them.

Source: https://prometheus.io/docs/prometheus/latest/querying/functions/ and the notes on staleness beside it. Times are whole milliseconds, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from suite.monitoring.samples import Series

LOOKBACK = 300.0  # seconds that a sample counts as the latest one
NEAR = 1.1  # mean distances between samples up to which the edge of a window counts as reached by the series


@dataclass(frozen=True)
class Semantics:
    """What changed between versions of Prometheus.

    `left_open`: a window leaves out its first moment (3.0 and later). `half_first`: a series that begins within the window is continued to the left
    by half a distance at most before it is asked whether it would fall below zero (2.52 and later); before, the two were asked in the other order.
    """

    left_open: bool = True
    half_first: bool = True

    @classmethod
    def of_version(cls, version: str) -> Semantics:
        """Those of a version like `2.42.0`."""
        major, minor = (int(part) for part in version.split(".")[:2])
        return cls(left_open=major >= 3, half_first=(major, minor) >= (2, 52))


def latest(series: Series, at: float, semantics: Semantics, lookback: float = LOOKBACK) -> float | None:
    """The value of the last sample up to `at` that is not older than `lookback` seconds; None when there is none, or it marks the series as gone."""
    times, values = _within(series, at, lookback, semantics)
    if not len(times) or np.isnan(values[-1]):
        return None
    return float(values[-1])


def increase(series: Series, at: float, window: float, semantics: Semantics) -> float | None:
    """How much a counter grew in the `window` seconds before `at`, continued to the window's edges; None with fewer than two samples."""
    return _growth(series, at, window, semantics, per_second=False)


def rate(series: Series, at: float, window: float, semantics: Semantics) -> float | None:
    """`increase` per second."""
    return _growth(series, at, window, semantics, per_second=True)


def _within(series: Series, at: float, window: float, semantics: Semantics) -> tuple[np.ndarray, np.ndarray]:
    """Times in ms and values of the samples in the window before `at`."""
    times = np.rint(np.asarray(series.times) * 1000).astype(np.int64)
    end = round(at * 1000)
    first = times.searchsorted(end - round(window * 1000), side="right" if semantics.left_open else "left")
    last = times.searchsorted(end, side="right")
    return times[first:last], np.asarray(series.values)[first:last]


def _growth(series: Series, at: float, window: float, semantics: Semantics, per_second: bool) -> float | None:
    moments, samples = _within(series, at, window, semantics)
    there = ~np.isnan(samples)
    times, values = moments[there].tolist(), samples[there].tolist()
    if len(times) < 2:
        return None
    grown = values[-1] - values[0]
    for before, after in pairwise(values):
        if after < before:  # the counter began anew
            grown += before
    covered = (times[-1] - times[0]) / 1000
    factor = _extended(times, values[0], grown, at, window, semantics) / covered
    if per_second:  # in this order, so that not even the last digit differs
        factor /= window
    return grown * factor


def _extended(times: list[int], first: float, grown: float, at: float, window: float, semantics: Semantics) -> float:
    """The seconds that the samples stand for: those between them, and up to the window's edges as far as the series may be continued."""
    end = round(at * 1000)
    to_start, to_end = (times[0] - (end - round(window * 1000))) / 1000, (end - times[-1]) / 1000
    covered = (times[-1] - times[0]) / 1000
    distance = covered / (len(times) - 1)
    if semantics.half_first and to_start >= distance * NEAR:
        to_start = distance / 2
    if grown > 0 and first >= 0:
        to_start = min(to_start, covered * (first / grown))  # no counter was ever below zero
    extended = covered
    extended += to_start if to_start < distance * NEAR else distance / 2
    extended += to_end if to_end < distance * NEAR else distance / 2
    return extended
