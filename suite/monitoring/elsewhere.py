"""Reading what a Prometheus saw of this stack, in place of what the stack itself saw: the same tables, charts and panels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import httpx
import numpy as np

from suite.errors import BadRequest, NotReady, UpstreamError
from suite.monitoring.dashboard import Line
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.reading import Ask, PrometheusReading
from suite.monitoring.rule import Matcher
from suite.monitoring.samples import Series
from suite.monitoring.sentence import fill
from suite.monitoring.silence import Silence

SECONDS = 10.0  # that an answer may take


class Prometheus:
    """The one at a URL, asked over one client that is made with the first question. Safe for threads."""

    def __init__(self, url: str) -> None:
        self.url, self._making = url.rstrip("/"), threading.Lock()
        self._client: httpx.Client | None = None

    def ask(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """The JSON that a path answers. Raises NotReady when nobody answers, UpstreamError for a refusal."""
        with self._making:
            if self._client is None:
                self._client = httpx.Client(timeout=SECONDS, trust_env=False)
        try:
            response = self._client.get(self.url + path, params=dict(parameters))
        except httpx.HTTPError as error:
            raise NotReady(f"The Prometheus of PROMETHEUS_URL, {self.url}, does not answer ({type(error).__name__}); start it, or set none.",
                           retry_after=5) from error
        try:
            if response.is_success:
                return response.json()
        except ValueError:
            pass
        raise UpstreamError(f"{self.url} answered GET {path} with status {response.status_code}: {response.text[:200]}")

    def close(self) -> None:
        """Close the client; safe to call twice."""
        with self._making:
            if self._client is not None:
                self._client.close()
                self._client = None


class Own(Protocol):
    """The stack's monitor, as far as no Prometheus stands in for it."""

    def silences(self) -> list[Silence]: ...

    def silence(self, matchers: Sequence[str], seconds: float, by: str, reason: str) -> Silence: ...

    def unsilence(self, id: str) -> Silence: ...

    def dashboards(self) -> list[dict[str, Any]]: ...

    def memory(self) -> list[ModelMemory]: ...


class Elsewhere(PrometheusReading):
    """Targets, rules, alerts, samples and charts as a Prometheus has them; silences, dashboards and memory by model are the stack's own."""

    def __init__(self, own: Own, ask: Ask) -> None:
        super().__init__(ask)
        self._own = own
        self.silences: Callable[[], list[Silence]] = own.silences
        self.silence, self.unsilence, self.dashboards, self.memory = own.silence, own.unsilence, own.dashboards, own.memory

    def select(self, metric: str, matchers: Sequence[Matcher] = (), begin: float = 0.0, end: float | None = None) -> list[Series]:
        """Series of a metric; raises BadRequest for one that this Prometheus never saw."""
        found = super().select(metric, matchers, begin, end)
        if not found and metric not in self.names():
            raise BadRequest(f"The Prometheus of PROMETHEUS_URL has no metric {metric[:80]!r}; `bench.monitoring.metrics()` lists them.",
                             param="metric")
        return found

    def chart(self, uid: str, panel: int, begin: float, end: float, step: float) -> list[Line]:
        """The lines of a panel, from its queries in PromQL; raises BadRequest for what there is not to be seen."""
        found = [one for board in self._own.dashboards() if board["uid"] == uid for one in board["panels"] if one["id"] == panel]
        if not found:
            raise BadRequest(f"There is no panel {panel} of a dashboard {uid[:80]!r}; `bench.monitoring.dashboards()` lists them.", param="uid")
        lines = []
        for query in found[0]["queries"]:
            rows = self._data("query_range", query=query["expression"], start=begin, end=end, step=step)["result"]
            for row in sorted(rows, key=lambda one: sorted(one["metric"].items())):
                times, values = (np.array(column, float) for column in zip(*row["values"], strict=True))
                labels, there = {name: value for name, value in row["metric"].items() if name != "__name__"}, ~np.isnan(values)
                if there.any():
                    lines.append(Line(fill(query["legend"], "", labels, 0.0), labels, times[there], values[there]))
        return lines
