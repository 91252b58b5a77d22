"""Look at every target in turn: whether it answers, and the numbers that it gives."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Protocol

from suite.monitoring.ask import Asker
from suite.monitoring.metric import CONTENT_TYPE, Metrics
from suite.monitoring.sample import Sample

SECONDS = 5.0  # a target that has not answered by then is down
MOST_IN_FAMILY = 2_000  # samples of one metric of one target; more is a label with values without end
STALE = math.nan
Labels = tuple[tuple[str, str], ...]
log = logging.getLogger("suite.monitoring")


@dataclass(frozen=True)
class Target:
    """Something that gives metrics at `url`; `job` and `instance` are the labels that its samples get."""

    job: str
    instance: str
    url: str


@dataclass(frozen=True)
class Scraped:
    """How a target was found: when (UTC seconds), how long it took (seconds), and why not, where it did not answer."""

    target: Target
    at: float
    seconds: float
    error: str = ""

    @property
    def up(self) -> bool:
        """Whether it answered with metrics."""
        return not self.error

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"job": self.target.job, "instance": self.target.instance, "url": self.target.url, "up": self.up, "at": self.at,
                "seconds": self.seconds, "error": self.error}


class Store(Protocol):
    """Where samples go."""

    def append(self, at: float, samples: Sequence[Sample]) -> None:
        """Take samples of one moment."""


class Scraper:
    """Scrapes the targets of one stack every `interval` seconds, in a thread of its own, into stores.

    A target is asked over HTTP like any scraper would ask. The numbers are then taken from `metrics`, which gave the answer, instead of reading
    its text. `then` is called after each round, e.g. to look at the rules.
    """

    def __init__(self, metrics: Metrics, targets: Iterable[Target], stores: Iterable[Store], interval: float = 15.0,
                 then: Callable[[float], None] = lambda at: None, clock: Callable[[], float] = time.time) -> None:
        self.targets, self.interval = tuple(targets), interval
        self._metrics, self._stores, self._then, self._clock = metrics, tuple(stores), then, clock
        self._states: dict[str, Scraped] = {}
        self._known: dict[str, set[tuple[str, Labels]]] = {}
        self._labels: dict[str, dict[tuple[str, ...], Labels]] = {}
        self._refused: set[tuple[str, str]] = set()
        self._asker = Asker(SECONDS)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="suite-scrape", daemon=True)
        self._turn = threading.Lock()

    def start(self) -> None:
        """Begin; the first round is made at once."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(2 * SECONDS)
        self._asker.close()

    def states(self) -> list[Scraped]:
        """How each target was found last; those that were not looked at yet are left out."""
        return [self._states[target.job] for target in self.targets if target.job in self._states]

    def scrape(self) -> list[Scraped]:
        """One round, now."""
        with self._turn:
            for target in self.targets:
                self._states[target.job] = self._look(target)
            self._then(self._clock())
        return self.states()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            try:
                self.scrape()
            except Exception:  # a round that failed must not be the last
                log.exception("a round of monitoring failed")
            due = max(due + self.interval, time.monotonic())
            self._ending.wait(due - time.monotonic())

    def _look(self, target: Target) -> Scraped:
        at, began = self._clock(), time.monotonic()
        samples, error = self._ask(target, began)
        seconds = time.monotonic() - began
        where = (("instance", target.instance), ("job", target.job))
        now = {(sample.name, sample.labels) for sample in samples}
        gone = self._known.get(target.job, set()) - now
        self._known[target.job] = now
        samples += [Sample(name, labels, STALE) for name, labels in gone]
        samples += [Sample("up", where, float(not error)), Sample("scrape_duration_seconds", where, seconds)]
        for store in self._stores:
            store.append(at, samples)
        return Scraped(target, at, seconds, error)

    def _ask(self, target: Target, began: float) -> tuple[list[Sample], str]:
        try:
            status, media_type = self._asker.get(target.url)
        except (OSError, HTTPException) as error:
            return [], f"{target.url} does not answer ({type(error).__name__}: {error})"
        if status != 200 or media_type != CONTENT_TYPE:
            return [], f"{target.url} answers with status {status} and {media_type or 'no type'}"
        families = self._metrics.seen(target.job, began)
        if families is None:
            return [], f"{target.url} is answered by somebody else than {target.job}"
        known, self._labels[target.job] = self._labels.get(target.job, {}), {}
        return [sample for family in families for sample in self._samples(target, family, known)], ""

    def _samples(self, target: Target, family: Any, known: dict[tuple[str, ...], Labels]) -> list[Sample]:
        """A family's samples with the labels of this scraper; `known` has those of the round before, for to make them takes longest."""
        if len(family.samples) > MOST_IN_FAMILY:
            if (target.job, family.name) not in self._refused:
                log.error("%s of %s has %d series and is not kept: one of its labels has values without end", family.name, target.job,
                          len(family.samples))
                self._refused.add((target.job, family.name))
            return []
        where, now, made = {"job": target.job, "instance": target.instance}, self._labels[target.job], []
        for one in family.samples:
            key = (one.name, *one.labels, *one.labels.values())
            labels = known.get(key) or tuple(sorted({**one.labels, **where}.items()))
            now[key] = labels
            made.append(Sample(one.name, labels, float(one.value)))
        return made
