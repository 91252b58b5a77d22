"""Port 8005: remembered turns, on the routes that clients of the original know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from suite.http.memory_form import EditBody, ListBody, NoteBody, SearchBody, TurnBody, found, meant, shown, text
from suite.http.memory_projects import add_projects
from suite.http.memory_transfer import add_transfer
from suite.memory.record import Forgotten, Imported, Project, Recall, Remembered, absent, checked_number
from suite.monitoring.probe import State, guarded
from suite.serving.reply import Reply

MAX_FOUND = 100


class MemoryPart(Protocol):
    """The part behind this port; options are those of Memory."""

    default: str

    def remember(self, question: str, reply: Any, **options: Any) -> Remembered:
        """Store a turn."""

    def note(self, text: str, kind: str = "fact", **options: Any) -> Remembered:
        """Store a fact or a summary."""

    def recall(self, query: str, **options: Any) -> Recall:
        """Turns that match."""

    def turns(self, project: str = "", **options: Any) -> list[Remembered]:
        """Turns without a query."""

    def get(self, id: str) -> Remembered:
        """One turn."""

    def edit(self, id: str, **changes: Any) -> Remembered:
        """Change a turn."""

    def forget(self, id: str) -> Forgotten:
        """Delete one turn."""

    def expire(self, now: float | None = None, project: str = "") -> int:
        """Delete what is over."""

    def sync(self, project: str = "") -> dict[str, int]:
        """Write pending vectors."""

    def queue(self, project: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """What waits for the vector store."""

    def stats(self, project: str = "") -> dict[str, Any]:
        """Numbers about a project."""

    def projects(self) -> list[Project]:
        """All projects."""

    def project(self, project: str = "") -> str:
        """The id of a project that there is."""

    def create_project(self, name: str, path: str = "") -> Project:
        """Make a project."""

    def join_project(self, id: str, name: str = "", path: str = "") -> str:
        """Note a project."""

    def export(self, project: str = "") -> Iterator[str]:
        """A project as lines."""

    def bring(self, lines: Iterable[str], project: str = "") -> Imported:
        """Import such lines."""

    def backup(self, project: str = "") -> dict[str, Any]:
        """A project in a file."""

    def optimize(self) -> dict[str, Any]:
        """Give space back."""

    def rebuild_words(self, project: str = "") -> int:
        """Make the word index anew."""

    def series(self) -> dict[str, float]:
        """Numbers for metrics."""

    def ready(self) -> State:
        """Would it serve?"""


def app(part: MemoryPart) -> FastAPI:
    """The app; a project that is not named is DEFAULT_PROJECT_ID, never one of the directory that the host runs in."""
    served = FastAPI(title="memory", docs_url="/v1/memory/docs", openapi_url="/v1/memory/openapi.json")
    served.state.endpoints = lambda: _endpoints(served)

    @served.get("/")
    def info() -> dict[str, Any]:
        return {"service": "memory-api", "available_endpoints": _endpoints(served)}

    @served.get("/v1/memory/health")
    def health() -> JSONResponse:
        state = guarded(part.ready)
        storage = bool(state.facts.get("storage"))
        body = {"status": "healthy" if state.ok else "unhealthy", "ok": state.ok, "reasons": list(state.reasons),
                "memory_system": "available" if storage else "error", "storage_available": storage,
                "vector_enabled": bool(state.facts.get("vectors"))}
        headers = {"Retry-After": str(state.retry_after)} if not state.ok and state.retry_after else None
        return JSONResponse(body, 200 if state.ok else 503, headers=headers)

    _writing(served, part)
    _finding(served, part)
    add_projects(served, part)
    add_transfer(served, part)
    return served


def _endpoints(served: FastAPI) -> list[str]:
    return sorted(f"{method} {route.path.replace(':path}', '}')}" for route in served.routes if isinstance(route, APIRoute)
                  for method in route.methods)


def _writing(served: FastAPI, part: MemoryPart) -> None:
    @served.post("/v1/memory/conversations")
    def remember(body: TurnBody) -> dict[str, Any]:
        context = {} if body.context is None else body.context
        flags = context if isinstance(context, dict) else {}
        reply: Any = body.ai_response
        if body.alias and isinstance(reply, str):  # a guest's Reply: the gateway's name of the model is one of the rules of importance
            reply = Reply(reply, body.token_count, 0, None, text(body.model_used), body.alias)  # type: ignore[arg-type]
        turn = part.remember(
            body.user_query, reply, project=meant(part, body.project_id, body.project_path), tags=body.tags or (), session=text(body.session_id),
            importance=body.importance, model=text(body.model_used), tokens=body.token_count,
            seconds=_seconds(body.response_time_ms) if body.seconds is None else body.seconds,
            context=context, saved=body.saved or flags.get("user_saved") is True, important=body.important or flags.get("user_important") is True,
            supersedes=text(body.supersedes), valid_from=body.valid_from)
        return _kept(turn, "The turn is remembered")

    @served.post("/v1/memory/notes")
    def note(body: NoteBody) -> dict[str, Any]:
        turn = part.note(body.text, body.kind, project=meant(part, body.project_id, body.project_path), tags=body.tags or (), about=text(body.about),
                         source=text(body.source), importance=body.importance, supersedes=text(body.supersedes), valid_from=body.valid_from)
        return _kept(turn, f"The {turn.kind} is stored")

    @served.patch("/v1/memory/conversations/{identity:path}")
    def edit(identity: str, body: EditBody) -> dict[str, Any]:
        return shown(part.edit(identity, question=body.user_query, reply=body.ai_response, tags=body.tags, importance=body.importance,
                               favourite=body.favourite, valid_until=body.valid_until))

    @served.delete("/v1/memory/conversations/{identity:path}")
    def forget(identity: str) -> dict[str, Any]:
        gone = part.forget(identity)
        if not gone.found:
            raise absent(identity)
        return {"success": bool(gone), "conversation_id": identity, **gone.to_dict()}


def _finding(served: FastAPI, part: MemoryPart) -> None:
    @served.post("/v1/memory/conversations/search")
    @served.post("/v1/memory/search")
    def search(body: SearchBody) -> dict[str, Any]:
        project = meant(part, body.project_id, body.project_path)
        if body.query in (None, ""):
            checked_number(body.limit, "limit", 1, MAX_FOUND)
            rows = [shown(turn) for turn in part.turns(project, order="important", limit=body.limit, **body.conditions())]
            how, note = "listing", ""
        else:
            how = body.how or ("hybrid" if body.use_vector_search or body.use_vector else "words")
            recalled = part.recall(body.query, how=how, limit=body.limit, project=project, **body.conditions())
            rows, note = [found(row) for row in recalled], recalled.note
        return {"success": True, "project_id": project, "query": body.query, "results": rows, "total_results": len(rows), "total": len(rows),
                "search_type": how, "note": note}

    @served.post("/v1/memory/turns")
    def turns(body: ListBody) -> dict[str, Any]:
        return _turns(part, body)

    @served.get("/v1/memory/turns")
    def turns_by_address(project_id: str = "", project_path: str = "", tag: str = "", importance_min: int = 1, since: str = "", until: str = "",
                         at: str = "", kind: str = "", session_id: str = "", favourite: bool | None = None, limit: int = 50, offset: int = 0,
                         order: str = "newest") -> dict[str, Any]:
        tags = [each.strip() for each in tag.split(",") if each.strip()]
        times = {name: _time(value) for name, value in (("since", since), ("until", until), ("at", at))}
        return _turns(part, ListBody(project_id=project_id, project_path=project_path, tags=tags, importance_min=importance_min, kind=kind,
                                     session_id=session_id, favourite=favourite, limit=limit, offset=offset, order=order, **times))

    @served.get("/v1/memory/conversation/{identity:path}")
    @served.get("/v1/memory/conversations/{identity:path}")
    def get(identity: str) -> dict[str, Any]:
        return shown(part.get(identity))


def _turns(part: MemoryPart, body: ListBody) -> dict[str, Any]:
    project = meant(part, body.project_id, body.project_path)
    rows = [shown(turn) for turn in part.turns(project, limit=body.limit, order=body.order, **body.conditions())]
    return {"success": True, "project_id": project, "results": rows, "total_results": len(rows)}


def _kept(turn: Remembered, what: str) -> dict[str, Any]:
    until = "for good" if turn.expires is None else "for as long as its importance says"
    return {"success": True, "conversation_id": turn.id, "project_id": turn.project, "importance_score": turn.importance,
            "message": f"{what} {until} (importance {turn.importance}: {'; '.join(turn.rules)}).", "memory": turn.to_dict()}


def _seconds(milliseconds: Any) -> Any:
    number = isinstance(milliseconds, (int, float)) and not isinstance(milliseconds, bool)
    return milliseconds / 1000 if number and abs(milliseconds) < 1e15 else milliseconds


def _time(value: str) -> Any:
    """A time in an address is text: seconds since 1970, or ISO 8601."""
    try:
        return float(value) if value else None
    except ValueError:
        return value
