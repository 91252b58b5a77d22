"""Port 8021, for administrators: actors and keys, what waits, the audit trail, sessions of programs, and what holds. Every route asks for a key."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import Body, FastAPI, Query, Request, Response

from suite.access.admin import Admin
from suite.access.approve import Approver
from suite.access.audit import Audit
from suite.access.opening import Openings
from suite.errors import BadRequest, NotFound
from suite.http.approvals import add_approvals, caller_of
from suite.monitoring.probe import State, guarded

COUNTED = 10_000  # entries of the trail that the numbers are about


class SecurityPart(Protocol):
    """The part behind this port: the tools, which know who may do what."""

    audit: Audit
    approver: Approver
    openings: Openings
    settings: Any

    def ready(self) -> State:
        """Whether calls would be taken."""

    def call(self, name: str, arguments: Any = None, actor: str | None = None, cwd: Any = None, watch: Any = None, caller: Any = None) -> Any:
        """Call a tool."""


def app(part: SecurityPart, admin: Admin, sessions: Any) -> FastAPI:
    """The app; the door in front of it lets actors' keys in, and each route asks for `access.admin`."""
    served = FastAPI(title="security")
    _add_people(served, admin)
    _add_sessions(served, part, admin, sessions)
    _add_records(served, part, admin)
    add_approvals(served, part)
    return served


def _add_people(served: FastAPI, admin: Admin) -> None:
    @served.get("/security/actors")
    def actors(request: Request) -> dict[str, Any]:
        return {"actors": [actor.to_dict() for actor in admin.actors(caller_of(request))]}

    @served.post("/security/actors", status_code=201)
    def add_actor(request: Request, name: Annotated[str, Body()], role: Annotated[str, Body()]) -> dict[str, Any]:
        return admin.add_actor(caller_of(request), name, role).to_dict()

    @served.put("/security/actors/{name}")
    def change_actor(request: Request, name: str, role: Annotated[str | None, Body()] = None,
                     active: Annotated[bool | None, Body()] = None) -> dict[str, Any]:
        return admin.change_actor(caller_of(request), name, role, active).to_dict()

    @served.get("/security/keys")
    def keys(request: Request) -> dict[str, Any]:
        return {"keys": [key.to_dict() for key in admin.keys(caller_of(request))]}

    @served.post("/security/keys", status_code=201)
    def create_key(request: Request, actor: Annotated[str, Body()], label: Annotated[str, Body()] = "",
                   days: Annotated[float | None, Body()] = None) -> dict[str, Any]:
        key, text = admin.create_key(caller_of(request), actor, label, days)
        return {**key.to_dict(), "key": text}

    @served.delete("/security/keys/{id}")
    def revoke_key(request: Request, id: str) -> dict[str, Any]:
        return admin.revoke_key(caller_of(request), id).to_dict()


def _add_sessions(served: FastAPI, part: SecurityPart, admin: Admin, sessions: Any) -> None:
    @served.get("/security/sessions")
    def listed(request: Request) -> dict[str, Any]:
        admin.must(caller_of(request), "sessions")
        rows = [session.to_dict() for session in sessions.list()]
        return {"success": True, "sessions": rows, "total_sessions": len(rows)}

    @served.get("/security/sessions/{id}")
    def one(request: Request, id: str) -> dict[str, Any]:
        admin.must(caller_of(request), id)
        for session in sessions.list():
            if session.to_dict()["session_id"] == id:
                return {"success": True, "session": session.to_dict()}
        raise NotFound(f"There is no session {id[:80]!r}; GET /security/sessions lists them.", param="id")

    @served.post("/security/sessions/cleanup")
    def cleanup(request: Request) -> dict[str, Any]:
        admin.must(caller_of(request), "sessions")
        before = len(sessions.list())
        gone = sessions.cleanup()
        return {"success": True, "cleanup_result": {"sessions_before": before, "sessions_after": len(sessions.list()), "cleaned_up": gone}}

    @served.post("/security/validate")
    def validate(request: Request, code: Annotated[str, Body(embed=True, min_length=1, max_length=200_000)]) -> dict[str, Any]:
        """Whether a program can be read at all. What it may do is not decided by looking at it: the sandbox decides that."""
        admin.must(caller_of(request), "validate")
        try:
            compile(code, "<program>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            return {"success": True, "validation": {"valid": False, "message": str(error), "error_type": type(error).__name__}}
        return {"success": True, "validation": {"valid": True, "message": "It can be read; what it may do the sandbox decides."}}

    @served.post("/security/execute")
    def execute(request: Request, code: Annotated[str, Body(min_length=1, max_length=200_000)], session_id: Annotated[str, Body()] = "",
                timeout: Annotated[int, Body(ge=1, le=300)] = 30) -> dict[str, Any]:
        """The tool execute_python, on the same way as every call: limited, approved, recorded."""
        caller = caller_of(request)
        admin.must(caller, "execute")
        done = part.call("execute_python", {"code": code, "timeout": timeout, "session": session_id}, caller=caller)
        return {"success": True, "execution_result": {**done.value, "sandbox_type": done.value["sandbox"], "execution_time": done.value["seconds"],
                                                      "audit": {"executed_by": done.actor, "entry": done.audit_seq, "session_id": session_id}}}


def _add_records(served: FastAPI, part: SecurityPart, admin: Admin) -> None:
    @served.get("/security/health")
    def health(request: Request, response: Response) -> dict[str, Any]:
        admin.must(caller_of(request), "health")
        state = guarded(part.ready)
        response.status_code = 200 if state.ok else 503
        return {"status": "healthy" if state.ok else "unhealthy", "reasons": list(state.reasons), **state.facts}

    @served.get("/security/stats")
    def stats(request: Request) -> dict[str, Any]:
        admin.must(caller_of(request), "stats")
        events = part.audit.find(COUNTED)
        outcomes = {outcome: sum(event.outcome == outcome for event in events) for outcome in ("allowed", "denied", "ask", "done", "failed")}
        programs = sum(event.outcome == "done" and event.subject in ("execute_python", "execute_bash") for event in events)
        recent = [event.to_dict() for event in events[-10:]]
        return {"success": True, "stats": {"total_events": part.audit.head()[0], "counted": len(events), **outcomes, "code_executions": programs,
                                           "waiting": part.approver.approvals.waiting(), "recent_events": recent}}

    @served.get("/security/settings")
    def settings(request: Request) -> dict[str, Any]:
        admin.must(caller_of(request), "settings")
        opening = part.openings.now()
        return {"success": True, "settings": {**guarded(part.ready).facts, "stage": part.settings.stage,
                                              "approve_all": None if opening is None else opening.to_dict()}}

    @served.post("/security/settings")
    def change_settings(request: Request) -> None:
        admin.must(caller_of(request), "settings")
        raise BadRequest("Settings are read once, at the start: write them into suite.toml or the environment, and start the stack anew.")

    @served.get("/security/logs/audit")
    def logs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100, actor: str = "", kind: str = "", subject: str = "",
             outcome: str = "") -> dict[str, Any]:
        admin.must(caller_of(request), "audit")
        found = part.audit.find(limit, actor=actor, kind=kind, subject=subject, outcome=outcome)
        return {"success": True, "logs": [event.to_dict() for event in reversed(found)], "total": len(found)}

    @served.post("/security/approve-all", status_code=201)
    def open_all(request: Request, minutes: Annotated[float, Body()], reason: Annotated[str, Body()]) -> dict[str, Any]:
        return part.openings.open(minutes, reason, caller_of(request)).to_dict()

    @served.delete("/security/approve-all")
    def close_all(request: Request) -> dict[str, Any]:
        closed = part.openings.close(caller_of(request))
        return {"closed": None if closed is None else closed.to_dict()}
