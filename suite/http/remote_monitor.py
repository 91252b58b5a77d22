"""The monitoring of a stack in another process, by port 9090."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from suite.http.client import Client
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.rule import Matcher
from suite.monitoring.samples import Series
from suite.monitoring.scrape import Scraped, Target


class RemoteMonitor:
    """Monitor's answers over HTTP; errors as there."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def targets(self) -> list[Scraped]:
        """How each target was found last."""
        return [_scraped(row) for row in self._client.get("/api/v1/targets").json()["data"]["activeTargets"]]

    def rules(self) -> list[dict[str, Any]]:
        """Each rule and how it is."""
        return [rule for group in self._client.get("/api/v1/rules").json()["data"]["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or fires."""
        return list(self._client.get("/api/v1/alerts").json()["data"]["alerts"])

    def names(self) -> list[str]:
        """The metrics of which anything is kept."""
        return list(self._client.get("/api/v1/label/__name__/values").json()["data"])

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]:
        """Series of a metric."""
        asked: dict[str, Any] = {"metric": metric, "begin": begin, "match": [str(one) for one in matchers]}
        if end is not None:
            asked["end"] = end
        found = self._client.get("/v1/samples", params=asked).json()["series"]
        return [Series(row["labels"], np.array(row["times"], float), np.array([float(value) for value in row["values"]])) for row in found]

    def memory(self) -> list[ModelMemory]:
        """What each loaded model holds."""
        return [ModelMemory(**row) for row in self._client.get("/v1/model-memory").json()["rows"]]


def _scraped(row: dict[str, Any]) -> Scraped:
    target = Target(row["labels"]["job"], row["labels"]["instance"], row["scrapeUrl"])
    return Scraped(target, datetime.fromisoformat(row["lastScrape"]).timestamp(), row["lastScrapeDuration"], row["lastError"])
