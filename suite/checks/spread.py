"""What a handful of measured seconds says of all that could have been measured: quantiles, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

CONFIDENCE = 0.95


def spread(seconds: Sequence[float], share: float = 0.95) -> dict[str, float | int | None]:
    """Number, least, median, the quantile of `share` with an interval, and most, in seconds.

    `low` and `high` bound the quantile with a confidence of 95 % each; None where there are too few measurements to say.
    """
    rows = sorted(seconds)
    if not rows:
        return {"n": 0}
    low, high = interval(len(rows), share)
    return {"n": len(rows), "min": rows[0], "p50": quantile(rows, 0.5), f"p{share * 100:g}": quantile(rows, share),
            "low": None if low is None else rows[low], "high": None if high is None else rows[high], "max": rows[-1]}


def quantile(rows: Sequence[float], share: float) -> float:
    """The smallest of the sorted rows that is not below so great a share of them."""
    return rows[max(0, math.ceil(share * len(rows)) - 1)]


def interval(n: int, share: float) -> tuple[int | None, int | None]:
    """The places, among n sorted measurements, of those that the quantile of all is not below, and not above, each with a confidence of 95 %.

    By order statistics: how many of n lie below the quantile is binomial, whatever the distribution. None where even the outermost is not sure.
    """
    sure = list(accumulate(_exactly(k, n, share) for k in range(n)))  # by place: the chance that at most so many lie below the quantile
    high = next((place for place in range(n) if sure[place] >= CONFIDENCE), None)
    low = next((place for place in reversed(range(n)) if 1 - sure[place] >= CONFIDENCE), None)
    return low, high


def _exactly(k: int, n: int, share: float) -> float:
    """The chance that exactly k of n lie below the quantile; by logarithms, as the numbers of ways are too many for a float from a thousand on."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(share) + (n - k) * math.log(1 - share))
