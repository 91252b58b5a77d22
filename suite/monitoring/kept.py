"""All that is kept of the samples: the last while from memory, what was before from the disk, where the hour that still grows is slow to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suite.monitoring.history import History
from suite.monitoring.recent import Recent
from suite.monitoring.rule import Matcher
from suite.monitoring.samples import Series

Labels = tuple[tuple[str, str], ...]
ROUNDED = 0.001  # seconds by which a moment on disk may differ


class Kept:
    """Both stores as one."""

    def __init__(self, recent: Recent, history: History) -> None:
        self._recent, self._history = recent, history

    def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
        """Series of a metric that meet all matchers, with their samples from `begin` to `end`; those without any are left out.

        Raises StorageError when the history cannot be read.
        """
        since = self._recent.since
        before = self._history.select(metric, matchers, begin, min(end, since - ROUNDED)) if begin < since - ROUNDED else []
        found = {tuple(sorted(one.labels.items())): one for one in before}
        for one in self._recent.select(metric, matchers, max(begin, since), end):
            labels = tuple(sorted(one.labels.items()))
            older = found.get(labels)
            found[labels] = one if older is None else Series(one.labels, np.concatenate((older.times, one.times)),
                                                             np.concatenate((older.values, one.values)))
        return list(found.values())
