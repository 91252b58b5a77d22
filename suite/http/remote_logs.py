"""The log of a running host, as a guest sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

from suite.monitoring.log_follow import Following, Row
from suite.monitoring.log_query import Query, frame
from suite.monitoring.logs import following

if TYPE_CHECKING:
    import pandas as pd


class RemoteLogs:
    """The same methods as `Logs`, over HTTP. `ended` says whether the bench was stopped."""

    def __init__(self, client: httpx.Client, ended: Callable[[], bool] = lambda: False) -> None:
        self.client, self._ended = client, ended

    def read(self, **asked: Any) -> pd.DataFrame:
        """The newest lines that are asked for, as a table. Raises BadRequest, as the host does, or HostGone."""
        params = Query.of(**asked).params()  # times mean the caller's clock and zone
        return frame(self.client.get("/api/v1/logs", params=params).json()["lines"])

    def follow(self, **asked: Any) -> Following:
        """Lines that are written from now on. Raises BadRequest, or HostGone while it is read."""
        params = following(**asked).params()
        del params["n"]

        def after(cursor: str) -> tuple[list[Row], str]:
            body = self.client.get("/api/v1/logs/after", params={**params, "cursor": cursor}).json()
            return body["lines"], body["cursor"]

        return Following(after, after("")[1], self._ended)
