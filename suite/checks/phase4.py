"""Phase 4: settings hold and do what they say, another job has run the tests, data lies where it should, recommendations are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from suite.access.mode import MODES, OF_STAGE
from suite.checks import fault_hardening as hard
from suite.checks import fault_place as place
from suite.checks import fault_security as fault
from suite.checks import fault_tested as job
from suite.checks.check import Check, Observation
from suite.checks.fault import WRONG_CHAT
from suite.checks.phase4_hardening import recommendations
from suite.checks.phase4_place import places
from suite.checks.phase4_tested import tested
from suite.checks.target import Target
from suite.checks.trace import MARK, marker

SWITCHES = ("rbac_enabled", "approvals_enabled", "rate_limit_enabled", "sandbox_enabled")
WATCHING = ("monitoring_enabled", "alertmanager_enabled", "loki_retention")
FLOOD = 200  # calls of one tool by one actor within a few seconds: more than any limit lets through


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


SETTINGS = Check("P4.1", "The security settings are those of the stage, and each does what it says", 4, "security", 3, fault.ROLES_OFF, settings,
                 (fault.APPROVALS_OFF, fault.LIMITS_OFF, fault.LAX_MODE, fault.UNTOLD_ALERTS, fault.BRIEF_LOG))
TESTED = Check("P4.2", "Another job has run the tests of this commit, and they passed", 4, "security", 2, job.OTHER_COMMIT, tested,
               (job.WRONG_DIGEST, job.UNFINISHED_JOB, job.FAILING_TEST, job.MISSING_STAGE, job.OWN_WORD), job.finished_job)
PLACES = Check("P4.3", "Models are those of the catalogue, and data lies where it is safe", 4, "security", 3, place.DAMAGED_MODEL, places,
               (WRONG_CHAT, place.OPEN_FOLDER, place.MISSING_FOLDER, place.STRANGE_OWNER, place.UNFIT_GROUND, place.OPEN_MODELS, place.MOVED_DATABASE,
                place.GONE_PROCESS))
RECOMMENDATIONS = Check("P4.4", "Each security recommendation holds, or somebody answers for it", 4, "security", 3, fault.OPEN_DOOR, recommendations,
                        (fault.FOREIGN_HOST, hard.FOREIGN_ORIGIN, hard.OPEN_SOCKET, fault.LOOSE_FILE, fault.LOGGED_TOKEN, fault.EDITED_AUDIT,
                         hard.PLAIN_LINK, hard.OLD_KEY, hard.LOOSE_SETTINGS, hard.OLD_BACKUP, hard.FEWER_RULES, hard.UNREADY_FOR_PROD))
CHECKS = (SETTINGS, TESTED, PLACES, RECOMMENDATIONS)
SECURITY = (SETTINGS, RECOMMENDATIONS)
