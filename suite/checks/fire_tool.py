"""Fire drills of the rules about tools, approvals and the audit trail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.access.approval import Wish
from suite.access.approvals import Approvals
from suite.access.checkpoint import FILE as HEAD
from suite.checks.fire import Fire, Scene, once

REJECTED, APPROVED, DENIED = 4, 2, 22
LONG = 7200.0  # seconds that a process of earlier settings let a call wait


def wish(scene: Scene, number: int = 0) -> None:
    """Call a tool that somebody has to approve."""
    scene.call("POST", "mcp-server", "/tools/write_file/call", json={"path": f"drill-{number}.txt", "content": "nothing"})


@contextmanager
def overdue(scene: Scene) -> Iterator[None]:
    """A call waits that was asked for under a longer APPROVAL_TIMEOUT, by a process that ran before; then it is withdrawn."""
    before = Approvals(scene.stack.storage, seconds=LONG)
    found, _ = before.ask(Wish(scene.stack.settings.mcp_user_id, "write_file", {"path": "drill.txt"}, "/"), "a drill")
    yield
    scene.call("DELETE", "mcp-server", f"/api/v1/approvals/{found.id}")


def decide(scene: Scene) -> None:
    """Ask for several calls, approve some, and reject most."""
    for number in range(REJECTED + APPROVED):
        wish(scene, number)
    waiting: list[dict[str, Any]] = scene.call("GET", "mcp-server", "/api/v1/approvals", params={"status": "pending"}).json()["approvals"]
    for place, row in enumerate(waiting):
        body = {"action": "reject" if place < REJECTED else "approve", "reason": "a drill"}
        scene.call("PUT", "mcp-server", f"/api/v1/approvals/{row['id']}", json=body)


def deny(scene: Scene) -> None:
    """Call a tool as a guest, who may not, again and again."""
    for _ in range(DENIED):
        scene.call("POST", "mcp-server", "/tools/write_file/call", json={"path": "drill.txt", "content": ""}, headers={"X-Actor": "guest_user"})


@contextmanager
def broken_trail(scene: Scene) -> Iterator[None]:
    """Where the end of the audit trail is noted lies a folder, and a tool is called."""
    file = Path(scene.stack.settings.data_dir) / "sqlite" / HEAD
    text = file.read_bytes()
    file.unlink()
    file.mkdir()
    scene.call("POST", "mcp-server", "/tools/list_files/call", json={})
    yield
    file.rmdir()
    file.write_bytes(text)


FIRES = (
    Fire("ApprovalsExpired/warning", "caused", "nobody decided about a call in time", once(wish)),
    Fire("ApprovalOverdue/warning", "caused", "a call has waited since a process of a longer APPROVAL_TIMEOUT", overdue),
    Fire("ApprovalsRejected/warning", "caused", "4 of 6 calls were rejected", once(decide)),
    Fire("DeniedSpike/warning", "caused", "a guest called a tool of developers 22 times", once(deny)),
    Fire("AuditFailing/critical", "caused", "the end of the audit trail could not be noted", broken_trail),
)
