"""The accounts of a stack in another process, by the gateway's port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suite.http.client import Client


class RemoteAccounts:
    """Accounts' answers over HTTP; errors as there."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def requests(self, since: float, n: int) -> list[dict[str, Any]]:
        """The newest `n` requests, the oldest of them first."""
        return list(self._client.get("/v1/usage", params={"since": since, "n": n}).json()["rows"])

    def summary(self, since: float, by: Sequence[str]) -> list[dict[str, Any]]:
        """Requests added up by keys."""
        return list(self._client.get("/v1/usage/summary", params={"since": since, "by": ",".join(by)}).json()["rows"])

    def advice(self, since: float) -> list[dict[str, Any]]:
        """What they suggest."""
        return list(self._client.get("/v1/usage/advice", params={"since": since}).json()["rows"])
