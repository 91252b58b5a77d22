"""The documents of a running host, as a guest sees them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from suite.knowledge.progress import Progress, quietly
from suite.knowledge.read import absolute
from suite.knowledge.record import Added, Answer, Document, Hit, Hits, checked_name, checked_question


class RemoteKnowledge:
    """The same methods as `Knowledge`, over HTTP; errors are those of the host, relative paths are the guest's own."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def add(self, collection: str, patterns: Iterable[str], cwd: Path, progress: Progress = quietly) -> Added:
        """Index the files that the patterns name, relative to `cwd`; waits as long as it takes, and shows no progress."""
        body = {"collection": checked_name(collection), "paths": absolute(patterns, Path(cwd))}
        answer = self.client.post("/index", json=body, timeout=httpx.Timeout(None, connect=3.0)).json()
        return Added.from_dict({name: value for name, value in answer.items() if name != "collection"})

    def rebuild(self, collection: str, progress: Progress = quietly) -> int:
        """Embed the collection anew with the model in use; waits as long as it takes, and shows no progress."""
        return int(self.client.post(f"{_at(collection)}/rebuild", timeout=httpx.Timeout(None, connect=3.0)).json()["chunks"])

    def search(self, collection: str, question: str, topk: int | None = None, retriever: str = "default") -> Hits:
        """The chunks that match the question, best first."""
        body = {"query": checked_question(question), "topk": topk, "retriever": retriever}
        rows = self.client.post(f"{_at(collection)}/search", json=body).json()["rows"]
        return Hits(Hit.from_dict(row) for row in rows)

    def ask(self, collection: str, question: str, topk: int | None = None) -> Answer:
        """An answer written from the chunks that match, with citations."""
        body = {"query": checked_question(question), "collection": checked_name(collection), "topk": topk}
        return Answer.from_dict(self.client.post("/query", json=body).json())

    def documents(self, collection: str) -> list[Document]:
        """The indexed documents of a collection, by path."""
        return [Document.from_dict(row) for row in self.client.get(f"{_at(collection)}/documents").json()["rows"]]

    def remove(self, collection: str, path: str) -> bool:
        """Take one document out, by its absolute path; false when it was not there."""
        return bool(self.client.delete(f"{_at(collection)}/documents", params={"path": str(path)}).json()["removed"])

    def drop(self, collection: str) -> bool:
        """Take a whole collection out; false when there was none."""
        return bool(self.client.delete(_at(collection)).json()["dropped"])

    def collections(self) -> list[dict[str, Any]]:
        """Name, number of documents and number of chunks of every collection that has a document."""
        return list(self.client.get("/collections").json()["rows"])

    def prewarm(self) -> dict[str, Any]:
        """Load what the first question would load."""
        return dict(self.client.post("/prewarm").json())

    def analytics(self, hours: float = 24) -> dict[str, Any]:
        """What was asked in the last hours."""
        return dict(self.client.get("/analytics", params={"hours": hours}).json())

    def optimize(self) -> dict[str, Any]:
        """Forget old lines and expired answers."""
        return dict(self.client.post("/optimize").json())

    def cache_stats(self) -> dict[str, Any]:
        """How many answers are kept."""
        return dict(self.client.get("/cache/stats").json())

    def clear_cache(self) -> int:
        """Forget all answers that are kept."""
        return int(self.client.delete("/cache").json()["removed"])


def _at(collection: str) -> str:
    return f"/collections/{quote(checked_name(collection), safe='')}"
