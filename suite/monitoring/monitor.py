"""The monitoring of one stack: it looks at every target, keeps what it saw, and answers questions about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, NotReady
from suite.monitoring.chart import draw, moments
from suite.monitoring.dashboard import Dashboard, Line
from suite.monitoring.history import History
from suite.monitoring.kept import Kept
from suite.monitoring.metric import Metrics
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.probe import State, bad, good
from suite.monitoring.recent import Recent
from suite.monitoring.rule import Matcher, Rule
from suite.monitoring.samples import Series
from suite.monitoring.scrape import Scraped, Scraper, Target
from suite.monitoring.silence import UNTOLD, Silence, Silences
from suite.monitoring.watch import NOBODY, Told, Watch, as_prometheus

LATE = 3  # rounds that may be missed before monitoring counts as stopped


class Monitor:
    """What port 9090 and panels read. `folder` holds the history; every `interval` seconds `targets` are scraped and `rules` looked at.

    `models` says what each model holds.
    """

    def __init__(self, metrics: Metrics, targets: Iterable[Target], folder: Path, rules: Sequence[Rule] = (), told: Told = NOBODY,
                 interval: float = 15.0, days: float = 30.0, clock: Callable[[], float] = time.time, dashboards: Sequence[Dashboard] = (),
                 models: Callable[[], list[ModelMemory]] = list) -> None:
        """Open the history; raises StorageError when it, or what fired before, cannot be read."""
        self.metrics, self.recent, self._clock, self._models = metrics, Recent(), clock, models
        self.history = History(folder, days)
        self._kept, self._dashboards = Kept(self.recent, self.history), {one.uid: one for one in dashboards}
        self.watch = Watch(rules, self.recent, folder, told, clock=clock)
        self.scraper = Scraper(metrics, targets, (self.recent, self.history), interval, then=self.watch.look, clock=clock)

    def start(self) -> None:
        """Begin to look."""
        self.scraper.start()

    def close(self) -> None:
        """End the thread, send what waits to be told, and close the history."""
        self.scraper.close()
        self.watch.close()
        self.history.close()

    @property
    def interval(self) -> float:
        """Seconds between two rounds."""
        return self.scraper.interval

    def targets(self) -> list[Scraped]:
        """How each target was found last."""
        return self.scraper.states()

    def rules(self) -> list[dict[str, Any]]:
        """Each rule and how it is, as Prometheus' API says it."""
        return self.watch.described()

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or fires, the most severe first, as Prometheus' API says it."""
        return [as_prometheus(alert) for alert in self.watch.active()]

    def silences(self) -> list[Silence]:
        """Every silence that is kept, the one that ends last first. Raises NotReady where nobody is told of alerts."""
        return list(self._silences().all())

    def silence(self, matchers: Sequence[str], seconds: float, by: str, reason: str) -> Silence:
        """Begin a silence now. Raises BadRequest, NotReady."""
        now = self._clock()
        return self._silences().add(matchers, now, now + seconds, by, reason)

    def unsilence(self, id: str) -> Silence:
        """End a silence now. Raises NotFound, NotReady."""
        return self._silences().end(id, self._clock())

    def _silences(self) -> Silences:
        if not self.watch.telling:
            raise NotReady(UNTOLD)
        return self.watch.silences

    def names(self) -> list[str]:
        """The metrics of which anything is kept."""
        return self.history.names()

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]:
        """Series of a metric from `begin` to `end` (UTC seconds; now when None); raises BadRequest for a metric that was never seen."""
        if metric not in set(self.names()):
            raise BadRequest(f"There is no metric {metric[:80]!r}; `bench.monitoring.metrics()` lists them.",
                             param="metric")
        return self.history.select(metric, matchers, begin, self._clock() if end is None else end)

    def dashboards(self) -> list[dict[str, Any]]:
        """What there is to see (Dashboard.to_dict)."""
        return [one.to_dict() for one in self._dashboards.values()]

    def chart(self, uid: str, panel: int, begin: float, end: float, step: float) -> list[Line]:
        """The lines of a panel from `begin` to `end` (UTC seconds), a value every `step` seconds; lines without any value are left out.

        Raises BadRequest for what there is not to be seen, StorageError when the history cannot be read.
        """
        if uid not in self._dashboards:
            raise BadRequest(f"There is no dashboard {uid[:80]!r}; `bench.monitoring.dashboards()` lists them.", param="uid")
        return draw(self._dashboards[uid].panel(panel), self._kept, moments(begin, end, step))

    def memory(self) -> list[ModelMemory]:
        """What each loaded model holds now, and what belongs to none."""
        return self._models()

    def ready(self) -> State:
        """Whether rounds are made in time, and kept."""
        states, late = self.targets(), LATE * self.scraper.interval + 5
        facts: dict[str, Any] = {"targets": len(self.scraper.targets), "up": sum(one.up for one in states), "lost": self.history.lost}
        if not states:
            return bad("Monitoring has made no round yet; ask again in a moment.", **facts)
        age = self._clock() - max(one.at for one in states)
        facts["age_s"] = round(age, 3)
        return bad(f"Monitoring has not looked for {age:.0f} s; see the log, and start the stack again.", **facts) if age > late else good(**facts)
