"""Faults of access: doors that open, switches that do nothing, files that others read, a trail that somebody edited."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from suite.checks.fault import Fault, Stack


def switch(stack: Stack, **values: Any) -> None:
    """Let the tools work under other settings than those that were asked for."""
    tools = stack.parts["mcp-server"]
    names = ("data_dir", "stage", "security_mode", "mcp_user_id", "rbac_enabled", "rate_limit_enabled", "approval_workflow_enabled",
             "sandbox_enabled")
    tools.settings = tools._pipeline.settings = SimpleNamespace(**{**{name: getattr(tools.settings, name) for name in names}, **values})


def roles_off(stack: Stack) -> None:
    """Leave the roles aside."""
    switch(stack, rbac_enabled=False)


def approvals_off(stack: Stack) -> None:
    """Let sensitive calls go ahead."""
    switch(stack, approval_workflow_enabled=False)


def limits_off(stack: Stack) -> None:
    """Let everybody call as often as they like."""
    switch(stack, rate_limit_enabled=False)


def lax_mode(stack: Stack) -> None:
    """Ask for approval from CRITICAL on only."""
    switch(stack, security_mode="legacy")


def tell_nobody(stack: Stack) -> None:
    """Look at alert rules and tell nobody."""
    stack.monitor.watch.telling = False


def keep_briefly(stack: Stack) -> None:
    """Count lines of the log as deleted after a week."""
    stack.log.reader.days = 7


def open_door(stack: Stack) -> None:
    """Let any token open the port of the memory."""
    stack.servers.app("memory-api").matches = lambda token: True


def foreign_host(stack: Stack) -> None:
    """Let the gateway answer to any Host, as for a page that rebinds its name."""
    stack.servers.app("api-gateway").hosts |= {"evil.example"}


def loose_file(stack: Stack) -> None:
    """Let everybody read the database."""
    Path(stack.settings.data_dir, "sqlite", "suite.db").chmod(0o644)


def log_token(stack: Stack) -> None:
    """Write the access token into the log, as a careless line would."""
    with Path(stack.settings.data_dir, "logs", "careless.log").open("a", encoding="ascii") as file:
        file.write(f"GET /live with {stack.key.token}\n")
    Path(stack.settings.data_dir, "logs", "careless.log").chmod(0o600)


def edit_audit(stack: Stack) -> None:
    """Change who an entry of the audit trail is about."""
    with stack.storage.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'somebody-else' WHERE seq = (SELECT max(seq) FROM audit)")


def alter_bytes(stack: Stack) -> None:
    """Let read_file give other text than the file holds."""
    _replace(stack, "read_file", lambda honest: lambda place, watch, **given: {**honest(place, watch, **given), "content": "something else"})


def leave_workspace(stack: Stack) -> None:
    """Let read_file read whatever the process can."""
    def anything(place: Any, _watch: Any, path: str) -> dict[str, Any]:
        text = (place.cwd / path).read_text(encoding="utf-8", errors="replace")
        return {"path": path, "content": text, "size": len(text), "bytes": len(text), "type": ""}

    _replace(stack, "read_file", lambda honest: anything)


def trust_names(stack: Stack) -> None:
    """Believe whatever name a caller gives, as the original did."""
    from suite.access.decide import Decision

    stack.parts["mcp-server"]._pipeline._decide = lambda attempt, row: Decision("allow", "everybody may")


def _replace(stack: Stack, name: str, change: Any) -> None:
    tools = stack.parts["mcp-server"]._tools
    honest = tools[name]
    tools[name] = type(honest)(**{**{field: getattr(honest, field) for field in honest.__dataclass_fields__}, "run": change(honest.run)})


ROLES_OFF = Fault("roles were left aside", roles_off)
APPROVALS_OFF = Fault("sensitive calls went ahead without an approval", approvals_off)
LIMITS_OFF = Fault("nobody's calls were limited", limits_off)
LAX_MODE = Fault("approval was asked for CRITICAL tools only", lax_mode)
UNTOLD_ALERTS = Fault("nobody was told of alerts", tell_nobody)
BRIEF_LOG = Fault("lines of the log were kept for a week", keep_briefly)
OPEN_DOOR = Fault("any token opened the memory's port", open_door)
FOREIGN_HOST = Fault("the gateway answered to another Host", foreign_host)
LOOSE_FILE = Fault("everybody could read the database", loose_file)
LOGGED_TOKEN = Fault("the access token stood in a log", log_token)
EDITED_AUDIT = Fault("an entry of the audit trail was edited", edit_audit)
ALTERED_BYTES = Fault("read_file gave other text than the file holds", alter_bytes)
LEFT_WORKSPACE = Fault("read_file read files outside of the workspace", leave_workspace)
TRUSTED_NAMES = Fault("whatever actor was named was believed", trust_names)
