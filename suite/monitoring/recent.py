"""The samples of the last while, in memory: what rules and live panels read."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from suite.monitoring.rule import Matcher
from suite.monitoring.sample import Sample
from suite.monitoring.samples import Series

KEPT_SECONDS = 3600.0
MOST_SERIES = 20_000
Key = tuple[str, tuple[tuple[str, str], ...]]  # a metric and its labels, sorted


class Recent:
    """Series of the last `seconds`. Safe for one writer and many readers."""

    def __init__(self, seconds: float = KEPT_SECONDS, most: int = MOST_SERIES) -> None:
        self._seconds, self._most = seconds, most
        self._lock = threading.Lock()
        self._series: dict[str, dict[Key, _Growing]] = {}
        self._count, self._newest, self._begun = 0, 0.0, math.inf
        self.refused = 0  # samples of series that came after there were `most`

    def append(self, at: float, samples: Sequence[Sample]) -> None:
        """Add samples of one moment (UTC seconds). When the clock has gone back, what lies after it is forgotten."""
        with self._lock:
            if at < self._newest:
                self._forget(lambda series: series.cut(at))
            self._newest, self._begun = at, min(self._begun, at)
            for sample in samples:
                family = self._series.setdefault(sample.name, {})
                key = (sample.name, sample.labels)
                if key not in family:
                    if self._count >= self._most:
                        self.refused += 1
                        continue
                    family[key], self._count = _Growing(), self._count + 1
                family[key].add(at, sample.value)
            self._forget(lambda series: series.drop_before(at - self._seconds))

    def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
        """Series of a metric that meet all matchers, with their samples from `begin` to `end`; those without any are left out."""
        with self._lock:
            found = [(dict(key[1]), *series.between(begin, end)) for key, series in self._series.get(metric, {}).items()]
        return [Series(labels, times, values) for labels, times, values in found
                if len(times) and all(matcher.matches(labels) for matcher in matchers)]

    @property
    def since(self) -> float:
        """The moment (UTC seconds) from which on all is here; infinite before the first sample."""
        with self._lock:
            return max(self._begun, self._newest - self._seconds)

    def names(self) -> list[str]:
        """The metrics of which there are samples."""
        with self._lock:
            return sorted(self._series)

    def _forget(self, keep: Any) -> None:
        for name, family in list(self._series.items()):
            for key in [key for key, series in family.items() if not keep(series)]:
                del family[key]
                self._count -= 1
            if not family:
                del self._series[name]


class _Growing:
    """Times and values in arrays that grow at their end and are cut at their beginning."""

    def __init__(self) -> None:
        self._times, self._values = np.empty(64), np.empty(64)
        self._begin = self._end = 0

    def add(self, at: float, value: float) -> None:
        if self._end == len(self._times):
            size = self._end - self._begin
            times, values = np.empty(max(64, 2 * size)), np.empty(max(64, 2 * size))
            times[:size], values[:size] = self._times[self._begin:self._end], self._values[self._begin:self._end]
            self._times, self._values, self._begin, self._end = times, values, 0, size
        self._times[self._end], self._values[self._end] = at, value
        self._end += 1

    def between(self, begin: float, end: float) -> tuple[Any, Any]:
        times = self._times[self._begin:self._end]
        low, high = np.searchsorted(times, begin, "left"), np.searchsorted(times, end, "right")
        return times[low:high].copy(), self._values[self._begin:self._end][low:high].copy()

    def drop_before(self, begin: float) -> bool:
        """Forget older samples; gives whether any is left."""
        while self._begin < self._end and self._times[self._begin] < begin:
            self._begin += 1
        return self._begin < self._end

    def cut(self, at: float) -> bool:
        """Forget samples from that moment on; gives whether any is left."""
        while self._end > self._begin and self._times[self._end - 1] >= at:
            self._end -= 1
        return self._begin < self._end
