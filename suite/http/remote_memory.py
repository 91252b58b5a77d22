"""The memory of a running host, as a guest sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import httpx

from suite.errors import NotFound
from suite.memory.record import Recalled, Remembered, checked_text, flatten


class RemoteMemory:
    """The same methods as `Memory`, over HTTP; errors are those of the host."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def remember(self, question: str, reply: Any, *, project: str = "", tags: Iterable[str] = (), session: str = "", importance: int | None = None,
                 model: str = "") -> Remembered:
        """Store a turn verbatim; `reply` is text or a Reply."""
        text, model, tags = flatten(reply, model, tags)
        body = {"user_query": checked_text(question, "question"), "ai_response": checked_text(text, "reply"), "model_used": model,
                "session_id": session, "tags": list(tags), "importance": importance, "project_id": project}
        return Remembered.from_dict(self.client.post("/v1/memory/conversations", json=body).json()["memory"])

    def recall(self, query: str, *, how: str = "hybrid", limit: int = 5, project: str = "") -> list[Recalled]:
        """The remembered turns of a project that match, best first."""
        body = {"query": checked_text(query, "query"), "how": how, "limit": limit, "project_id": project}
        return [Recalled.from_dict(row) for row in self.client.post("/v1/memory/conversations/search", json=body).json()["results"]]

    def get(self, id: str) -> Remembered:
        """One remembered turn; raises NotFound."""
        return Remembered.from_dict(self.client.get(_at(id)).json())

    def forget(self, id: str) -> bool:
        """Delete one turn and its vector; false when there is none with this id."""
        try:
            self.client.delete(_at(id))
        except NotFound:
            return False
        return True

    def stats(self, project: str = "") -> dict[str, Any]:
        """Numbers about a project's living turns."""
        found: dict[str, Any] = self.client.get("/v1/memory/stats", params={"project_id": project}).json()
        return found

    def projects(self) -> list[dict[str, Any]]:
        """Name, number of living turns and the newest one's time of every project that has any."""
        return list(self.client.get("/v1/memory/projects").json()["projects"])

    def sync(self) -> dict[str, int]:
        """Write the vectors that are pending and make the removals that are queued; waits as long as it takes."""
        found: dict[str, int] = self.client.post("/v1/memory/sync", timeout=httpx.Timeout(None, connect=3.0)).json()["sync_stats"]
        return found

    def expire(self, now: float | None = None) -> int:
        """Delete the turns that expired at or before `now`, and return how many."""
        return int(self.client.post("/v1/memory/expire", json={"now": now}).json()["deleted_conversations"])


def _at(id: str) -> str:
    return f"/v1/memory/conversations/{quote(str(id), safe='')}"
