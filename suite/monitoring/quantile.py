"""A quantile from the buckets of a histogram, as Prometheus' histogram_quantile estimates it."""

from __future__ import annotations

import math
from collections.abc import Iterable


def histogram_quantile(quantile: float, buckets: Iterable[tuple[float, float]]) -> float:
    """The value below which the part `quantile` (between 0 and 1) of the observations lies, evenly spread within each bucket.

    `buckets` are (upper limit, count or rate of all observations up to it). NaN without a bucket up to +Inf, or without observations; a quantile in
    the last bucket is the highest finite limit.
    """
    rows = _rising(buckets)
    if len(rows) < 2 or rows[-1][0] != math.inf or rows[-1][1] == 0:
        return math.nan
    rank = quantile * rows[-1][1]
    place = next((place for place, (_, count) in enumerate(rows[:-1]) if count >= rank), len(rows) - 1)
    if place == len(rows) - 1:
        return rows[-2][0]
    limit, count = rows[place]
    if place == 0:
        return limit if limit <= 0 else limit * (rank / count)
    below, counted = rows[place - 1]
    return below + (limit - below) * ((rank - counted) / (count - counted))


def _rising(buckets: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sorted by limit, each limit once, and no count below the one before: scrapes and extrapolation leave small dips."""
    sums: dict[float, float] = {}
    for limit, count in buckets:
        sums[limit] = sums.get(limit, 0.0) + count
    rows, highest = [], -math.inf
    for limit in sorted(sums):
        highest = max(highest, sums[limit])
        rows.append((limit, highest))
    return rows
