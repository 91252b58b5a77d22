"""Port 8005: remembered turns, on the routes that clients of the original know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from suite.errors import NotFound
from suite.memory.record import Recalled, Remembered
from suite.monitoring.probe import State, guarded


class MemoryPart(Protocol):
    """The part behind this port."""

    def remember(self, question: str, reply: Any, *, project: str = "", tags: Iterable[str] = (), session: str = "", importance: int | None = None,
                 model: str = "") -> Remembered:
        """Store a turn."""

    def recall(self, query: str, *, how: Any = "hybrid", limit: int = 5, project: str = "") -> list[Recalled]:
        """Turns that match."""

    def get(self, id: str) -> Remembered:
        """One turn."""

    def forget(self, id: str) -> bool:
        """Delete one turn."""

    def stats(self, project: str = "") -> dict[str, Any]:
        """Numbers about a project."""

    def projects(self) -> list[dict[str, Any]]:
        """All projects."""

    def sync(self) -> dict[str, int]:
        """Write pending vectors."""

    def expire(self, now: float | None = None) -> int:
        """Delete what is over."""

    def ready(self) -> State:
        """Would it serve?"""


class TurnBody(BaseModel):
    """A turn to remember; `importance` None is the rule's."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    user_query: str
    ai_response: str
    model_used: str = ""
    session_id: str = ""
    tags: list[str] = []
    importance: int | None = None
    project_id: str = ""


class SearchBody(BaseModel):
    """What to recall; `use_vector_search`, the original's switch, is short for `how: hybrid`; without either it is words."""

    model_config = ConfigDict(extra="forbid")
    query: str
    how: str | None = None
    limit: int = 10
    project_id: str = ""
    use_vector_search: bool = False


class ExpireBody(BaseModel):
    """The moment to expire at, in UTC seconds since 1970; None is now."""

    model_config = ConfigDict(extra="forbid")
    now: float | None = None


class SyncBody(BaseModel):
    """Where to sync to."""

    model_config = ConfigDict(extra="forbid")
    sync_type: Literal["vectors", "qdrant"] = "vectors"


def app(part: MemoryPart) -> FastAPI:
    """The app; a project that is not named is DEFAULT_PROJECT_ID."""
    served = FastAPI(title="memory")

    @served.get("/v1/memory/health")
    def health() -> JSONResponse:
        state = guarded(part.ready)
        body = {"status": "healthy" if state.ok else "unhealthy", "ok": state.ok, "reasons": list(state.reasons),
                "storage_available": bool(state.facts.get("storage")), "vector_enabled": bool(state.facts.get("vectors"))}
        headers = {"Retry-After": str(state.retry_after)} if not state.ok and state.retry_after else None
        return JSONResponse(body, 200 if state.ok else 503, headers=headers)

    @served.post("/v1/memory/conversations")
    def remember(body: TurnBody) -> dict[str, Any]:
        memory = part.remember(body.user_query, body.ai_response, project=body.project_id, tags=body.tags, session=body.session_id,
                               importance=body.importance, model=body.model_used)
        return {"success": True, "conversation_id": memory.id, "project_id": memory.project, "importance_score": memory.importance,
                "memory": memory.to_dict()}

    @served.post("/v1/memory/conversations/search")
    def search(body: SearchBody) -> dict[str, Any]:
        how = body.how or ("hybrid" if body.use_vector_search else "words")
        found = part.recall(body.query, how=how, limit=body.limit, project=body.project_id)
        rows = [{**row.to_dict(), "conversation_id": row.id, "user_query": row.question, "ai_response": row.reply} for row in found]
        return {"success": True, "project_id": body.project_id, "results": rows, "total_results": len(rows), "search_type": how}

    @served.get("/v1/memory/conversations/{identity:path}")
    def get(identity: str) -> dict[str, Any]:
        return part.get(identity).to_dict()

    @served.delete("/v1/memory/conversations/{identity:path}")
    def forget(identity: str) -> dict[str, Any]:
        if not part.forget(identity):
            raise NotFound(f"There is no memory {identity!r}; it was never saved, was forgotten, or has expired.", param="id")
        return {"success": True, "conversation_id": identity}

    @served.get("/v1/memory/projects")
    def projects() -> dict[str, Any]:
        rows = part.projects()
        return {"success": True, "total_projects": len(rows), "projects": rows}

    @served.get("/v1/memory/stats")
    def stats(project_id: str = "") -> dict[str, Any]:
        return part.stats(project_id)

    @served.get("/v1/memory/projects/{project:path}/stats")
    def project_stats(project: str) -> dict[str, Any]:
        return {"success": True, "project_id": project, "stats": part.stats(project)}

    @served.post("/v1/memory/sync")
    def sync(body: SyncBody | None = None) -> dict[str, Any]:
        return {"success": True, "sync_stats": part.sync()}

    @served.post("/v1/memory/expire")
    def expire(body: ExpireBody | None = None) -> dict[str, Any]:
        return {"success": True, "deleted_conversations": part.expire(body.now if body else None)}

    return served
