"""The approvals of a running host, as a guest or a command sees them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from suite.access.approval import Approval


class RemoteApprovals:
    """The same methods as `Desk`, over HTTP; an API key takes the place of the access token for that one request."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def list(self, state: str = "pending", *, tool: str = "", limit: int = 50, key: str = "") -> list[Approval]:
        """Approvals in a state ('' for all), the newest first. Raises Denied."""
        asked = {"status": state, "tool_name": tool, "limit": limit}
        return [Approval.from_dict(row) for row in self.client.get("/api/v1/approvals", params=asked, headers=_with(key)).json()["approvals"]]

    def get(self, id: str, *, key: str = "") -> Approval:
        """One by its id or the beginning of it. Raises NotFound or Denied."""
        return Approval.from_dict(self.client.get(_path(id), headers=_with(key)).json())

    def approve(self, id: str, reason: str, *, key: str = "") -> Approval:
        """Let a call go ahead once. Raises NotFound, NotPending, BadRequest or Denied."""
        return self._decide(id, "approve", reason, key)

    def reject(self, id: str, reason: str, *, key: str = "") -> Approval:
        """Refuse a call. Raises NotFound, NotPending, BadRequest or Denied."""
        return self._decide(id, "reject", reason, key)

    def cancel(self, id: str, *, key: str = "") -> Approval:
        """Withdraw a call of one's own. Raises NotFound, NotPending or Denied."""
        self.client.delete(_path(id), headers=_with(key))
        return self.get(id, key=key)

    def _decide(self, id: str, action: str, reason: str, key: str) -> Approval:
        answer: dict[str, Any] = self.client.put(_path(id), json={"action": action, "reason": reason}, headers=_with(key)).json()
        return Approval.from_dict(answer)


def _path(id: str) -> str:
    return f"/api/v1/approvals/{quote(id, safe='')}"


def _with(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
