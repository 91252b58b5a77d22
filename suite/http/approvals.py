"""Approvals on port 8020: under `/api/v1/approvals`, and under the original's `/api/approvals` for its clients."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

from fastapi import Body, FastAPI, Query, Request, Response

from suite.access.approval import Approval
from suite.access.approve import Approver
from suite.access.caller import Caller

MAX_OFFSET = 2**31 - 1  # a larger number is none to a database
Reason = Annotated[str, Body(embed=True)]


class ApprovalPart(Protocol):
    """The part behind this port."""

    approver: Approver


def caller_of(request: Request, client: str = "http") -> Caller:
    """Who the door found behind the request's token."""
    found: Caller = request.state.caller
    return Caller(found.actor, found.key, client)


def add_approvals(served: FastAPI, part: ApprovalPart) -> None:
    """Add the routes."""
    approver = part.approver

    @served.get("/api/v1/approvals")
    def listed(request: Request, status: str = "", user_id: str = "", tool_name: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 50,
               offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0) -> dict[str, Any]:
        rows = approver.list(caller_of(request), state=status, actor=user_id, tool=tool_name, limit=limit, offset=offset)
        return {"approvals": [_row(row) for row in rows], "count": len(rows), "limit": limit, "offset": offset}

    @served.get("/api/v1/approvals/{id}")
    def one(request: Request, id: str) -> dict[str, Any]:
        return _row(approver.look(id, caller_of(request)))

    @served.put("/api/v1/approvals/{id}")
    def decide(request: Request, id: str, action: Annotated[Literal["approve", "reject"], Body()], reason: Annotated[str, Body()]) -> dict[str, Any]:
        return _decided((approver.approve if action == "approve" else approver.reject)(id, reason, caller_of(request)))

    @served.delete("/api/v1/approvals/{id}", status_code=204)
    def cancel(request: Request, id: str) -> Response:
        approver.cancel(id, caller_of(request))
        return Response(status_code=204)

    @served.get("/api/approvals/pending")
    def pending(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        rows = approver.list(caller_of(request), state="pending", limit=limit)
        return {"pending_approvals": [_row(row) for row in rows], "count": len(rows)}

    @served.post("/api/approvals/{id}/approve")
    def approve(request: Request, id: str, reason: Reason) -> dict[str, Any]:
        return _decided(approver.approve(id, reason, caller_of(request)))

    @served.post("/api/approvals/{id}/reject")
    def reject(request: Request, id: str, reason: Reason) -> dict[str, Any]:
        return _decided(approver.reject(id, reason, caller_of(request)))

    @served.get("/api/approvals/{id}/status")
    def status(request: Request, id: str) -> dict[str, Any]:
        return _row(approver.look(id, caller_of(request)))


def _row(row: Approval) -> dict[str, Any]:
    """Ours, and the original's names beside them."""
    return {**row.to_dict(), "request_id": row.id, "status": row.state, "tool_name": row.tool, "user_id": row.actor, "requested_at": row.requested,
            "expires_at": row.expires, "responded_at": row.decided, "responder_id": row.decided_by, "response_reason": row.reason}


def _decided(row: Approval) -> dict[str, Any]:
    return {**_row(row), "responder": row.decided_by}
