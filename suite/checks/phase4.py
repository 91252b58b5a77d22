"""Phase 4, the part about security: settings hold, and do what they say; recommendations are looked at, not ticked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from suite.access.mode import MODES, OF_STAGE
from suite.checks import fault_security as fault
from suite.checks.check import Check, Observation
from suite.checks.target import Target
from suite.checks.trace import MARK, marker

SWITCHES = ("rbac_enabled", "approvals_enabled", "rate_limit_enabled", "sandbox_enabled")
WATCHING = ("monitoring_enabled", "alertmanager_enabled", "loki_retention")
FLOOD = 200  # calls of one tool by one actor within a few seconds: more than any limit lets through
EVIL = "evil.example"
PRIVATE = ("run", "sqlite", "backups", "logs", "vectors", "memory")


def settings(target: Target, seen: Observation) -> None:
    """P4.1: what the running tools say of themselves against the table of stages, and one attempt that each switch must stop."""
    record = _ours(target, seen)
    if record is None:
        return
    stage = str(record["host"]["stage"])
    facts = target.json("GET", "mcp-server", "/health").get("facts") or {}
    mode, wanted = MODES.get(str(facts.get("security_mode"))), MODES[OF_STAGE[stage]]
    seen.values |= {name: facts.get(name) for name in SWITCHES}
    seen.values["mode_weaker"] = None if mode is None else max(0, mode.ask_from - wanted.ask_from)
    seen.note("effective", stage=stage, wanted_mode=wanted.name, **{name: facts.get(name) for name in (*SWITCHES, "security_mode", "sandbox")})
    _watching(target, record["host"].get("watching") or {}, seen)
    seen.values["guest_writes"] = _status(target, "write_file", {"path": f"{MARK}.txt", "content": ""}, actor="guest_user")
    with waiting(target) as (status, _):
        seen.values["high_call"] = status
    seen.values["flood"] = flooded(target)
    seen.values["strange_program"] = _status(target, "execute_python", {"code": "print(1)"}, actor="guest_user")


def recommendations(target: Target, seen: Observation) -> None:
    """P4.4: what the report recommends, each looked at: doors, addresses, files, records."""
    record = _ours(target, seen)
    if record is None:
        return
    host = record["host"]
    wrong = {"Authorization": "Bearer wrong"}
    doors = {part: [target.call("GET", part, "/live", headers=more).status_code for more in (wrong, {"Host": EVIL}, {"Origin": f"http://{EVIL}"})]
             for part in target.urls}
    for number, name in enumerate(("opened_by_wrong_token", "opened_by_foreign_host", "opened_by_foreign_origin")):
        seen.values[name] = sum(found[number] not in (401, 403, 421) for found in doors.values())
    seen.note("doors", statuses=doors)
    seen.values["beyond_loopback"] = _beyond_loopback(int(host["pid"]), seen)
    data = Path(str(host.get("data_dir") or "/none"))
    if data.is_dir():
        loose = sorted(str(path.relative_to(data)) for path in _files(data) if path.stat().st_mode & 0o077)
        seen.values["readable_by_others"] = len(loose)
        told = [path.name for path in (data / "logs").rglob("*") if path.is_file() and target.token and target.token.encode() in path.read_bytes()]
        seen.values["token_in_logs"] = len(told)
        seen.note("files", readable_by_others=loose[:20], token_in=told)
    whole, why = target.deep("mcp-server")
    seen.values["audit_whole"] = whole
    if why:
        seen.note("audit", reasons=why)


@contextmanager
def waiting(target: Target) -> Iterator[tuple[int, str]]:
    """A call of a HIGH tool that must wait: its status and the approval's id; withdrawn at the end, and whatever it wrote removed."""
    name = f"{MARK}-{marker()}.txt"
    answer = target.call("POST", "mcp-server", "/tools/write_file/call", json={"path": name, "content": "a release check"})
    with suppress(ValueError):
        id = str(((answer.json().get("error") or {}).get("facts") or {}).get("approval") or "")
    try:
        yield answer.status_code, id
    finally:
        if id:
            target.call("DELETE", "mcp-server", f"/api/v1/approvals/{id}")
        record = target.parts() or {"host": {}}
        Path(str(record["host"].get("workspace") or "/none"), name).unlink(missing_ok=True)


def flooded(target: Target) -> int | None:
    """The first status with which too many calls of one actor are refused; None when none was."""
    for _ in range(FLOOD):
        status = _status(target, "list_files", {}, actor="guest_user")
        if status != 200:
            return status
    return None


def _ours(target: Target, seen: Observation) -> dict[str, Any] | None:
    record = target.parts()
    if record is None:
        seen.not_applicable = "this stack is of another make and does not say which settings hold; compare its own ones with the table of stages"
    return record


def _watching(target: Target, holds: dict[str, Any], seen: Observation) -> None:
    """The settings of monitoring that hold, and whether it does what they say: targets are looked at, and whoever tells of alerts is ready."""
    seen.values |= {name: holds.get(name) for name in WATCHING}
    looked = target.json("GET", "monitoring", "/api/v1/targets")["data"]["activeTargets"] if "monitoring" in target.urls else []
    seen.values["targets_watched"] = sum(row["health"] == "up" for row in looked)
    seen.values["alerts_port"] = target.call("GET", "alerts", "/-/ready").status_code if "alerts" in target.urls else None


def _status(target: Target, tool: str, arguments: dict[str, Any], actor: str = "") -> int:
    return target.call("POST", "mcp-server", f"/tools/{tool}/call", json=arguments, headers={"X-Actor": actor} if actor else {}).status_code


def _beyond_loopback(pid: int, seen: Observation) -> int | None:
    """How many sockets of the host listen on more than this machine; None where its process cannot be looked at."""
    try:
        sockets = psutil.Process(pid).net_connections("inet")
    except psutil.Error as error:
        seen.note("sockets", reason=f"{type(error).__name__}: {error}")
        return None
    open_ones = [f"{row.laddr.ip}:{row.laddr.port}" for row in sockets if row.status == psutil.CONN_LISTEN
                 and not row.laddr.ip.startswith("127.") and row.laddr.ip != "::1"]
    seen.note("sockets", beyond_loopback=open_ones)
    return len(open_ones)


def _files(data: Path) -> Iterator[Path]:
    for name in PRIVATE:
        for path in (data / name).rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path


SECURITY = (
    Check("P4.1", "The security settings are those of the stage, and each does what it says", 4, "security", 3, fault.ROLES_OFF, settings,
          (fault.APPROVALS_OFF, fault.LIMITS_OFF, fault.LAX_MODE, fault.UNTOLD_ALERTS, fault.BRIEF_LOG)),
    Check("P4.4", "The security recommendations hold", 4, "security", 3, fault.OPEN_DOOR, recommendations,
          (fault.FOREIGN_HOST, fault.LOOSE_FILE, fault.LOGGED_TOKEN, fault.EDITED_AUDIT)),
)
