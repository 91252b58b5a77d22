"""What checks and panels ask of whoever watches a stack: one interface, over the stack's own port 9090 or over a real Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from suite.monitoring.promql import selector
from suite.monitoring.rule import Matcher, duration, parse_duration
from suite.monitoring.samples import Series
from suite.monitoring.scrape import Scraped, Target

APPLICATION = "local-ai-suite"  # how port 9090 tells itself from a Prometheus
Ask = Callable[[str, Mapping[str, Any]], Any]  # the JSON that a path answers to parameters; raises a SuiteError for a refusal


@dataclass(frozen=True)
class Build:
    """Which program it is, and whether what it was last told to load (configuration, rules) could be."""

    version: str
    loaded: bool


class Reading(Protocol):
    """Whoever watches: what it is, what it looks at, by which rules, and what it saw."""

    def build(self) -> Build: ...

    def interval(self) -> float: ...

    def targets(self) -> list[Scraped]: ...

    def rules(self) -> list[dict[str, Any]]: ...

    def alerts(self) -> list[dict[str, Any]]: ...

    def names(self) -> list[str]: ...

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]: ...


class PrometheusReading:
    """A Prometheus, by its API. Times are UTC seconds."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def build(self) -> Build:
        """Its version, and whether its last reload went well."""
        return Build(self._data("status/buildinfo")["version"], self._data("status/runtimeinfo").get("reloadConfigSuccess") is True)

    def interval(self) -> float:
        """Seconds between two rounds: the longest of those between two scrapes of a target and two looks at the rules."""
        scrapes = [parse_duration(row["scrapeInterval"]) for row in self._data("targets")["activeTargets"] if "scrapeInterval" in row]
        return max([*scrapes, *(float(group["interval"]) for group in self._data("rules")["groups"])], default=0.0)

    def targets(self) -> list[Scraped]:
        """How each target was found last."""
        return [_scraped(row) for row in self._data("targets")["activeTargets"]]

    def rules(self) -> list[dict[str, Any]]:
        """Each alert rule and how it is, as Prometheus' API says it."""
        return [rule for group in self._data("rules")["groups"] for rule in group["rules"] if rule.get("type", "alerting") == "alerting"]

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or fires."""
        return list(self._data("alerts")["alerts"])

    def names(self) -> list[str]:
        """The metrics of which anything is kept."""
        return list(self._data("label/__name__/values"))

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]:
        """Series of a metric from `begin` to `end` (now when None), without the marks of those that are gone."""
        last = time.time() if end is None else end
        window = duration(max(0.001, round(last - begin, 3)))
        found = self._data("query", query=f"{selector(metric, matchers)}[{window}]", time=f"{last:.3f}")["result"]
        return [_series(_without_name(row["metric"]), *zip(*row["values"], strict=True)) for row in found]

    def _data(self, path: str, **parameters: Any) -> Any:
        return self._ask(f"/api/v1/{path}", parameters)["data"]


class EmbeddedReading(PrometheusReading):
    """A stack's own port 9090, which speaks that API where it names one, and gives samples without a query language."""

    def build(self) -> Build:
        """The suite's version, and whether there are rules."""
        return Build(self._data("status/buildinfo")["version"], bool(self.rules()))

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]:
        """Series of a metric from `begin` to `end`; a value that is NaN marks where a series is gone. Raises BadRequest for one never seen."""
        asked: dict[str, Any] = {"metric": metric, "begin": begin, "match": [str(one) for one in matchers]}
        if end is not None:
            asked["end"] = end
        found = self._ask("/v1/samples", asked)["series"]
        return [_series(row["labels"], row["times"], row["values"]) for row in found]


def reading(ask: Ask) -> Reading:
    """How to read what answers there, which says itself what it is."""
    found = ask("/api/v1/status/buildinfo", {})["data"]
    return EmbeddedReading(ask) if found.get("application") == APPLICATION else PrometheusReading(ask)


def _without_name(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}


def _series(labels: Mapping[str, str], times: Sequence[float], values: Sequence[Any]) -> Series:
    return Series(labels, np.array(times, float), np.array([float(value) for value in values]))


def _scraped(row: Mapping[str, Any]) -> Scraped:
    labels = row["labels"]
    error = row["lastError"] or ("" if row["health"] == "up" else f"it is {row['health']}")
    target = Target(labels.get("job", ""), labels.get("instance", ""), row["scrapeUrl"])
    at = datetime.fromisoformat(row["lastScrape"])
    return Scraped(target, at.timestamp() if at.year > 1 else math.nan, row["lastScrapeDuration"], error)  # year 1: it was not looked at yet
