"""Port 8002: retrieval. `/index` and `/query` as clients of the original know them, and what a guest's face needs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from suite.errors import BadRequest
from suite.knowledge.record import Added, Answer, Document, Hit


class RetrievalPart(Protocol):
    """The part behind this port."""

    default: str

    def add(self, collection: str, patterns: Iterable[str], cwd: Path) -> Added:
        """Index files."""

    def search(self, collection: str, question: str, topk: int | None = None, retriever: str = "default") -> list[Hit]:
        """Chunks that match."""

    def ask(self, collection: str, question: str, topk: int | None = None) -> Answer:
        """An answer with citations."""

    def documents(self, collection: str) -> list[Document]:
        """What is indexed."""

    def remove(self, collection: str, path: str) -> bool:
        """Take a document out."""

    def drop(self, collection: str) -> bool:
        """Take a collection out."""

    def rebuild(self, collection: str) -> int:
        """Embed a collection anew."""

    def collections(self) -> list[dict[str, Any]]:
        """All collections."""

    def prewarm(self) -> dict[str, Any]:
        """Load what the first question would load."""

    def analytics(self, hours: float = 24) -> dict[str, Any]:
        """What was asked."""

    def optimize(self) -> dict[str, Any]:
        """Forget what is old."""

    def cache_stats(self) -> dict[str, Any]:
        """How many answers are kept."""

    def clear_cache(self) -> int:
        """Forget the answers that are kept."""


class IndexBody(BaseModel):
    """What to index: absolute paths or patterns, because a server has no caller's directory."""

    model_config = ConfigDict(extra="forbid")
    collection: str = ""
    paths: list[str]


class QueryBody(BaseModel):
    """A question about a collection; `topk` None is RAG_TOPK."""

    model_config = ConfigDict(extra="forbid")
    query: str
    collection: str = ""
    topk: int | None = None


class SearchBody(BaseModel):
    """A question whose chunks are wanted, not its answer; `retriever` other than default is for comparing."""

    model_config = ConfigDict(extra="forbid")
    query: str
    topk: int | None = None
    retriever: str = "default"


def app(part: RetrievalPart) -> FastAPI:
    """The app; a collection that is not named is RAG_DEFAULT_COLLECTION."""
    served = FastAPI(title="retrieval")

    @served.post("/index")
    def index(body: IndexBody) -> dict[str, Any]:
        relative = [path for path in body.paths if not Path(path).is_absolute()]
        if relative:
            raise BadRequest(f"The path {relative[0]!r} is relative, and this server does not know your directory; send an absolute one.",
                             param="paths")
        collection = body.collection or part.default
        return {"collection": collection, **part.add(collection, body.paths, Path("/")).to_dict()}

    @served.post("/query")
    def query(body: QueryBody) -> dict[str, Any]:
        started = time.monotonic()
        found = part.ask(body.collection or part.default, body.query, body.topk)
        usage = {} if found.reply is None else {"prompt_tokens": found.reply.prompt_tokens, "completion_tokens": found.reply.tokens,
                                                "total_tokens": found.reply.prompt_tokens + found.reply.tokens}
        context = [{**hit.to_dict(), "doc_id": hit.document, "chunk_id": hit.chunk} for hit in found.hits]
        return {"answer": found.text, "context": context, "usage": usage, "response_time_ms": round(1000 * (time.monotonic() - started)),
                **found.to_dict()}

    _upkeep(served, part)
    _collections(served, part)
    return served


def _upkeep(served: FastAPI, part: RetrievalPart) -> None:
    """What the original calls its own, besides documents."""

    @served.post("/prewarm")
    def prewarm() -> dict[str, Any]:
        return part.prewarm()

    @served.get("/analytics")
    def analytics(hours: float = 24) -> dict[str, Any]:
        return part.analytics(hours)

    @served.post("/optimize")
    def optimize() -> dict[str, Any]:
        return part.optimize()

    @served.get("/cache/stats")
    def cache_stats() -> dict[str, Any]:
        return part.cache_stats()

    @served.delete("/cache")
    def clear_cache() -> dict[str, Any]:
        removed = part.clear_cache()
        return {"message": f"{removed} answers were forgotten.", "removed": removed}


def _collections(served: FastAPI, part: RetrievalPart) -> None:
    """What a guest's face needs."""

    @served.get("/collections")
    def collections() -> dict[str, Any]:
        return {"rows": part.collections()}

    @served.get("/collections/{name}/documents")
    def documents(name: str) -> dict[str, Any]:
        return {"rows": [document.to_dict() for document in part.documents(name)]}

    @served.post("/collections/{name}/search")
    def search(name: str, body: SearchBody) -> dict[str, Any]:
        return {"rows": [hit.to_dict() for hit in part.search(name, body.query, body.topk, body.retriever)]}

    @served.post("/collections/{name}/rebuild")
    def rebuild(name: str) -> dict[str, Any]:
        return {"collection": name, "chunks": part.rebuild(name)}

    @served.delete("/collections/{name}/documents")
    def remove(name: str, path: str) -> dict[str, Any]:
        return {"removed": part.remove(name, path)}

    @served.delete("/collections/{name}")
    def drop(name: str) -> dict[str, Any]:
        return {"dropped": part.drop(name)}
