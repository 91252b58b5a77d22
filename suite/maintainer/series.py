"""The maintainer's heartbeat and how its jobs stand, as Prometheus series."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.maintainer.maintainer import Maintainer
from suite.monitoring.table import gauge_family


class MaintainerSeries(Collector):
    """`suite_maintainer_*`, read at the moment of the scrape. Before the first beat, or a job's first run, there is no age of it."""

    def __init__(self, maintainer: Maintainer, clock: Callable[[], float] = time.time) -> None:
        self._maintainer, self._clock = maintainer, clock

    def collect(self) -> Iterable[Metric]:
        """The age of the heartbeat, and two families with a sample per job."""
        beat = self._maintainer.heartbeat
        if beat["age_s"] is not None:
            yield gauge_family("suite_maintainer_heartbeat_age_seconds", beat["age_s"])
        age = gauge_family("suite_maintainer_job_age_seconds")
        failed = gauge_family("suite_maintainer_job_failed")
        for name, state in beat["jobs"].items():
            if state["finished"] is not None:
                age.add_metric((name,), max(0.0, self._clock() - state["finished"]))
            failed.add_metric((name,), float(bool(state["error"])))
        yield age
        yield failed

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known."""
        return []
