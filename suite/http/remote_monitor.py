"""The monitoring of a stack in another process, by ports 9090 and 9093."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import numpy as np

from suite.errors import NotReady
from suite.http.client import Client
from suite.monitoring.dashboard import Line
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.notification import moment
from suite.monitoring.reading import EmbeddedReading
from suite.monitoring.rule import Matcher
from suite.monitoring.silence import UNTOLD, Silence


class RemoteMonitor(EmbeddedReading):
    """Monitor's answers over HTTP; errors as there. `alerts` is the client of port 9093, where there is one."""

    def __init__(self, client: Client, alerts: Client | None = None) -> None:
        super().__init__(lambda path, parameters: client.get(path, params=dict(parameters)).json())
        self._client, self._alerts = client, alerts

    def silences(self) -> list[Silence]:
        """Every silence that is kept."""
        return [_silence(row) for row in self._told().get("/api/v2/silences").json()]

    def silence(self, matchers: Sequence[str], seconds: float, by: str, reason: str) -> Silence:
        """Begin a silence now."""
        rows = [{"name": one.label, "value": one.value, "isRegex": "~" in one.op, "isEqual": not one.op.startswith("!")}
                for one in map(Matcher.parse, matchers)]
        body = {"matchers": rows, "endsAt": moment(time.time() + seconds), "createdBy": by, "comment": reason}
        made = self._told().post("/api/v2/silences", json=body).json()["silenceID"]
        return self._of(made)

    def unsilence(self, id: str) -> Silence:
        """End a silence now."""
        self._told().delete(f"/api/v2/silence/{quote(id, safe='')}")
        return self._of(id)

    def dashboards(self) -> list[dict[str, Any]]:
        """What there is to see."""
        return list(self._client.get("/api/v1/dashboards").json()["data"])

    def chart(self, uid: str, panel: int, begin: float, end: float, step: float) -> list[Line]:
        """The lines of a panel."""
        found = self._client.get(f"/api/v1/dashboards/{quote(uid, safe='')}/panels/{panel}", params={"begin": begin, "end": end, "step": step})
        return [Line(row["name"], row["labels"], np.array(row["times"], float), np.array([float(value) for value in row["values"]]))
                for row in found.json()["data"]]

    def _of(self, id: str) -> Silence:
        return next(one for one in self.silences() if one.id == id)

    def _told(self) -> Client:
        if self._alerts is None:
            raise NotReady(UNTOLD)
        return self._alerts

    def memory(self) -> list[ModelMemory]:
        """What each loaded model holds."""
        return [ModelMemory(**row) for row in self._client.get("/v1/model-memory").json()["rows"]]


def _silence(row: dict[str, Any]) -> Silence:
    signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    matchers = tuple(str(Matcher(one["name"], signs[one["isRegex"], one["isEqual"]], one["value"])) for one in row["matchers"])
    begin, until = (datetime.fromisoformat(row[name]).timestamp() for name in ("startsAt", "endsAt"))
    return Silence(row["id"], matchers, begin, until, row["createdBy"], row["comment"])
