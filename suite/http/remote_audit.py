"""The audit trail of a running host, as a guest sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from suite.access.event import Event
from suite.tools.trail import check, frame

if TYPE_CHECKING:
    import pandas as pd

    from suite.access.audit import Verification

VERIFY_SECONDS = 600  # a chain of millions of entries is read whole


class RemoteTrail:
    """The same methods as `Trail`, over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def list(self, limit: int = 100, actor: str = "", kind: str = "", subject: str = "", outcome: str = "") -> pd.DataFrame:
        """The newest entries as a table. Raises BadRequest, as the host does, or Denied."""
        check(limit, outcome, actor=actor, kind=kind, subject=subject)
        asked = {"limit": limit, "actor": actor, "kind": kind, "subject": subject, "outcome": outcome}
        return frame(Event.from_dict(row) for row in self.client.get("/api/v1/audit", params=asked).json()["entries"])

    def verify(self) -> Verification:
        """Have the host read the whole chain."""
        from suite.access.audit import Verification  # here: it comes with the database's library, which a guest does without until then

        body = self.client.get("/api/v1/audit/verify", timeout=VERIFY_SECONDS).json()
        return Verification(body["entries"], tuple(body["findings"]), body["head"])

    def head(self) -> tuple[int, str]:
        """Number and digest of the last entry."""
        body = self.client.get("/api/v1/audit/head").json()
        return body["seq"], body["digest"]
