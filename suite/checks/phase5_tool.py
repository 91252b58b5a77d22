"""Phase 5, the tool call: the bytes that were asked for, and nothing else, for those who may, as often as they may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.checks import fault_security as fault
from suite.checks.check import Check, Observation
from suite.checks.phase4 import flooded, waiting
from suite.checks.target import Target
from suite.checks.trace import MARK, marker

PATH = "/tools/read_file/call"
OUTSIDE = ("/etc/passwd", "../" * 40 + "etc/passwd", "%2e%2e/%2e%2e/etc/passwd", ".env")


def tool_call(target: Target, seen: Observation) -> None:
    """P5.4: one allowed call that gives the known bytes, one denied actor, paths outside, one flood, one call that waits for its approval."""
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack is of another make and does not say where its workspace is, so that no known bytes can be put there"
        return
    with known_file(Path(str(record["host"]["workspace"]))) as (name, text):
        answer = target.call("POST", "mcp-server", PATH, json={"path": name})
        body: dict[str, Any] = answer.json() if answer.is_success else {}
        content = (body.get("result") or {}).get("content")
        seen.values |= {"status": answer.status_code, "bytes_different": None if content is None else _different(content, text)}
        stranger = f"nobody_{marker()}"
        denied = target.call("POST", "mcp-server", PATH, json={"path": name}, headers={"X-Actor": stranger})
        seen.values["denied_actor"] = denied.status_code
        seen.note("calls", allowed=(body.get("decision") or {}).get("reason"), denied=denied.text[:300], audit_seq=body.get("audit_seq"))
    statuses = {path: target.call("POST", "mcp-server", PATH, json={"path": path}).status_code for path in OUTSIDE}
    seen.values["read_outside"] = sum(status == 200 for status in statuses.values())
    seen.note("outside", statuses=statuses)
    with waiting(target) as (status, id):
        seen.values |= {"sensitive_call": status, "approval": bool(id)}
    seen.values["flood"] = flooded(target)
    entries = target.json("POST", "mcp-server", "/tools/list_files/call", json={}).get("audit_seq")
    first = body.get("audit_seq")
    seen.values["audit_entries"] = entries - first if isinstance(first, int) and isinstance(entries, int) else None


def _different(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


@contextmanager
def known_file(workspace: Path) -> Iterator[tuple[str, str]]:
    """A file of this check's own in the workspace: its name and its text; gone afterwards."""
    word = marker()
    name, text = f"{MARK}-{word}.txt", f"The lighthouse keeper counts 417 steps. 등대지기는 417계단을 셉니다. {word}\n"
    (workspace / name).write_text(text, encoding="utf-8")
    try:
        yield name, text
    finally:
        (workspace / name).unlink(missing_ok=True)


TOOL = (
    Check("P5.4", "A tool call gives the known bytes, and nothing that it must not", 5, "function", 3, fault.ALTERED_BYTES, tool_call,
          (fault.LEFT_WORKSPACE, fault.TRUSTED_NAMES, fault.APPROVALS_OFF, fault.LIMITS_OFF)),
)
