"""A stack that is watched, in a process of its own: how long its rounds take, and the same stack with nothing counted or logged."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.bench import start
from suite.benchmark.tools_parts import Calls
from suite.monitoring.history import DAY, FINE_SECONDS, THIN, History
from suite.monitoring.load_dashboards import load_dashboards
from suite.monitoring.load_rules import INTERVAL
from suite.monitoring.metric import Metrics
from suite.monitoring.monitor import Monitor
from suite.monitoring.sample import Sample
from suite.monitoring.table import ROWS

OVERVIEW = "ai-suite-overview"
POINTS = 240  # that a chart has
NOTHING: Any = type("Nothing", (), {name: staticmethod(lambda *_: None) for name in ("observe", "decided", "ended", "worked")})()


class Watched:
    """A whole stack that is watched; `instrumented` switches what counts and what logs a request, and nothing else."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._bench = start(**settings)
        self._stack = self._bench._behind
        self._counted = (self._stack.metrics.observe, self._stack._replies.observe)

    def ready(self) -> dict[str, Any]:
        """Where it answers: `urls` by port's name, and the token."""
        return {"urls": {name: f"http://127.0.0.1:{port}" for name, port in self._stack.ports.items()}, "token": self._stack.key.token}

    def instrumented(self, counted: bool, logged: bool) -> list[bool]:
        """Count requests from now on or not, and write lines of the log or not."""
        observe, reply = self._counted if counted else (NOTHING.observe, NOTHING.observe)
        self._stack.metrics.observe, self._stack._replies.observe = observe, reply
        logging.disable(logging.NOTSET if logged else logging.CRITICAL)
        return [counted, logged]

    def rounds(self, count: int) -> dict[str, Any]:
        """Rounds of monitoring: seconds that the targets took, seconds with storing and rules, and how many series and targets there are."""
        scraped, whole = [], []
        for _ in range(count):
            began = time.perf_counter()
            states = self._stack.monitor.scraper.scrape()
            whole.append(time.perf_counter() - began)
            scraped.append(sum(one.seconds for one in states))
        return {"scraped": scraped, "whole": whole, "series": len(self.series()), "targets": len(states), "down": sum(not one.up for one in states)}

    def series(self) -> list[Sample]:
        """Every series there is, with its newest value."""
        monitor, now = self._stack.monitor, time.time()
        return [Sample(name, tuple(sorted(one.labels.items())), float(one.values[-1]))
                for name in monitor.names() for one in monitor.recent.select(name, (), now - 600, now)]

    def fill(self, folder: str, days: float) -> dict[str, Any]:
        """A history of all series over so many days: bytes on the disk, and how many series and samples it was given."""
        return filled(Path(folder), self.series(), days, INTERVAL)

    def close(self) -> None:
        """Stop it."""
        self._bench.stop()


def filled(folder: Path, series: Sequence[Sample], days: float, interval: float) -> dict[str, Any]:
    """Write a history that ends now: values wander as they do on a stack that is used, one in five minutes until two days ago, then every one.

    (Of what lies further back a stack keeps one in five minutes, too.) Gives `bytes`, `series`, `samples`.
    """
    history, chance, end = History(folder, days), random.Random(20), time.time()
    values = [one.value for one in series]
    counted = [one.name.endswith(("_total", "_count", "_sum", "_bucket")) for one in series]
    at, written = end - days * DAY, 0
    while at <= end:
        step = THIN if end - at > FINE_SECONDS else interval
        for place, counts in enumerate(counted):
            if chance.random() < 0.3:  # most numbers stay as they are from one round to the next
                values[place] += chance.random() * step if counts else chance.gauss(0, 1 + abs(values[place]) / 100)
        history.append(at, [Sample(one.name, one.labels, value) for one, value in zip(series, values, strict=True)])
        written += len(series)
        at += step
    found = {"bytes": history.bytes, "series": len(series), "samples": written, "lost": history.lost}
    history.close()
    return found


class Charts:
    """What panels draw from a history that lies on the disk."""

    def __init__(self, folder: str) -> None:
        self._monitor = Monitor(Metrics(), (), Path(folder), dashboards=load_dashboards(ROWS))
        self.panels = [panel["id"] for one in self._monitor.dashboards() if one["uid"] == OVERVIEW for panel in one["panels"]]

    def draw(self, hours: float) -> dict[str, Any]:
        """Every panel of the overview over the last hours: the seconds of each, and how many lines it has."""
        end, seconds, lines = time.time(), [], []
        for panel in self.panels:
            began = time.perf_counter()
            found = self._monitor.chart(OVERVIEW, panel, end - hours * 3600, end, hours * 3600 / POINTS)
            seconds.append(time.perf_counter() - began)
            lines.append(len(found))
        return {"seconds": seconds, "lines": lines}


class CountedCalls(Calls):
    """Calls of a tool in this process, counted as a stack counts them, or not."""

    def silent(self, on: bool) -> bool:
        """Count nothing, or all again."""
        pipeline = self._parts.tools._pipeline
        self._series = getattr(self, "_series", pipeline._series)
        pipeline._series = NOTHING if on else self._series
        return on
