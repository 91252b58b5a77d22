"""The audit trail on port 8020: its newest entries, whether the chain is whole, and where it ends."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Request

from suite.access.actor import Actors
from suite.access.audit import Audit
from suite.http.approvals import caller_of
from suite.tools.trail import Trail


class AuditPart(Protocol):
    """The part behind this port."""

    audit: Audit
    actors: Actors


def add_audit(served: FastAPI, part: AuditPart) -> None:
    """Add the routes; each is for a caller who holds `audit.read`, and for the kernel's owner."""
    trail = Trail(part.audit, part.actors)

    @served.get("/api/v1/audit")
    def listed(request: Request, limit: int = 100, actor: str = "", kind: str = "", subject: str = "", outcome: str = "") -> dict[str, Any]:
        trail.must_read(caller_of(request))
        entries = trail.entries(limit, actor, kind, subject, outcome)
        return {"entries": [entry.to_dict() for entry in entries], "count": len(entries), "limit": limit}

    @served.get("/api/v1/audit/verify")
    def verify(request: Request) -> dict[str, Any]:
        trail.must_read(caller_of(request))
        return trail.verify().to_dict()

    @served.get("/api/v1/audit/head")
    def head(request: Request) -> dict[str, Any]:
        trail.must_read(caller_of(request))
        seq, digest = trail.head()
        return {"seq": seq, "digest": digest}
