"""How the log is, as Prometheus metrics, read at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.monitoring.log import FileLog
from suite.monitoring.table import counter_family, gauge_family


class LogSeries(Collector):
    """`log` is that of the stack. The age is that of the log itself while nothing was written yet; of a log that writes warnings only
    there is none, since its silence is good news.
    """

    def __init__(self, log: FileLog, clock: Callable[[], float] = time.time) -> None:
        self._log, self._clock = log, clock

    def collect(self) -> Iterable[Metric]:
        """The families; a level that nothing was written at counts 0."""
        lines = counter_family("suite_log_lines_total")
        for level, count in self._log.counts.items():
            lines.add_metric((level,), count)
        yield lines
        yield counter_family("suite_log_lost_total", self._log.lost)
        yield counter_family("suite_log_unshipped_total", self._log.shipper.lost if self._log.shipper else 0)
        if self._log.chatty:
            yield gauge_family("suite_log_last_line_age_seconds", max(0.0, self._clock() - self._log.last))

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known."""
        return []
