"""Calls of tools: found, decided, recorded, run, recorded again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from suite.access.actor import Actors
from suite.access.audit import Audit
from suite.access.decide import Decision, decide
from suite.access.event import Event
from suite.access.permission import Permission
from suite.access.policy import ASK_FROM
from suite.errors import ApprovalNeeded, BadRequest, Denied, NotFound, NotReady, SuiteError, ToolFailed
from suite.monitoring.probe import State, bad, good, guarded
from suite.tools.builtin.files import FILE_TOOLS
from suite.tools.schema import check_arguments
from suite.tools.tool import NOBODY, Place, Tool, ToolResult, Watch

PRIVATE_FOLDERS = ("run", "sqlite", "backups", "logs", "memory", "vectors")  # of the data directory: ours, not the user's documents
PROBED = 10_000  # audit entries that deep() looks at
STRANGER = "nobody-known"  # the actor of the probe that must be denied


class ToolSettings(Protocol):
    """The settings that tools read."""

    data_dir: Path
    mcp_user_id: str
    rbac_enabled: bool
    security_mode: str


@dataclass(frozen=True)
class _Attempt:
    """One call on its way: who wants what, and how the audit names it."""

    tool: str
    arguments: Mapping[str, Any]
    actor: str
    cwd: Path
    kind: str = "tool_call"
    watch: Watch = NOBODY


class Tools:
    """The part `mcp-server`: the registered tools and the one way to call them."""

    name = "mcp-server"

    def __init__(self, audit: Audit, actors: Actors, workspace: Path, settings: ToolSettings, tools: Iterable[Tool] = FILE_TOOLS) -> None:
        self.audit, self.actors, self.policy, self.settings = audit, actors, actors.policy, settings
        self.workspace = workspace
        self._tools: dict[str, Tool] = {}
        self._offered = tuple(tools)
        self._open = False
        self._failure: SuiteError | None = None

    # ---- life ----

    def start(self) -> None:
        """Seed the actors and register the tools; what is missing is remembered, not raised."""
        self._failure = None
        try:
            self.workspace = self.workspace.resolve()
            if not self.workspace.is_dir():
                raise NotFound(f"The workspace {self.workspace} is not a folder; set WORKSPACE_DIR to one.")
            self.actors.seed()
            for tool in self._offered:
                if tool.name not in self._tools:
                    self.register(tool)
        except SuiteError as error:
            self._failure = error
        self._open = True

    def close(self) -> None:
        """Take no more calls."""
        self._open = False

    def register(self, tool: Tool) -> Tool:
        """Add a tool; permission and sensitivity come from the policy.

        Raises BadRequest when the name is taken or the policy has no row for it.
        """
        row = self.policy.permission(tool.name)
        if row is None:
            raise BadRequest(f"The policy has no row for the tool {tool.name!r}; add one to policy.toml.")
        if tool.name in self._tools:
            raise BadRequest(f"There is a tool {tool.name!r} already; choose another name.")
        ready = replace(tool, permission=row.name, sensitivity=row.sensitivity.name)
        self._tools[tool.name] = ready
        return ready

    # ---- use ----

    def list(self) -> list[Tool]:
        """The registered tools by name."""
        return [self._tools[name] for name in sorted(self._tools)]

    def info(self, name: str) -> dict[str, Any]:
        """A tool's description and what a call of it takes; raises NotFound."""
        tool = self._find(name)
        asks = self._permission(tool).sensitivity >= ASK_FROM[self.settings.security_mode]
        return {"tool_name": tool.name, "sensitivity": tool.sensitivity.lower(), "require_approval": asks, "permission": tool.permission,
                "description": tool.description, "inputSchema": dict(tool.schema)}

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, actor: str | None = None, cwd: Path | None = None,
             watch: Watch | None = None) -> ToolResult:
        """Decide, record and run one call.

        `actor` may name somebody who may do no more than MCP_USER_ID, who is the default. Relative paths start in `cwd` where that lies in
        the workspace, else in the workspace.
        Raises NotFound (no such tool), Denied, ApprovalNeeded, BadRequest (arguments), ToolFailed, StorageError (not recorded, so not run).
        """
        if not self._open:
            raise NotReady("The tools are not started; call suite.start().", part=self.name, retry_after=5)
        if self._failure is not None:
            raise NotReady(str(self._failure), part=self.name, retry_after=30)
        given = {} if arguments is None else arguments
        attempt = _Attempt(name, given, actor or self.settings.mcp_user_id, cwd or self.workspace, watch=watch or NOBODY)
        return self._call(attempt, self._speaks_for(attempt.actor))

    def _call(self, attempt: _Attempt, refusal: str | None = None) -> ToolResult:
        try:
            tool = self._find(attempt.tool)
        except NotFound as error:
            self._record(attempt, "failed", str(error))
            raise
        decision = Decision("deny", refusal) if refusal else self._decide(attempt, tool)
        if decision.outcome == "deny":
            seq = self._record(attempt, "denied", decision.reason).seq
            raise Denied(decision.reason, tool=tool.name, actor=attempt.actor, audit_seq=seq)
        try:
            arguments = check_arguments(tool.name, tool.schema, attempt.arguments)
        except BadRequest as error:
            self._record(attempt, "failed", str(error))
            raise
        if decision.outcome == "ask":
            seq = self._record(attempt, "ask", decision.reason).seq
            raise ApprovalNeeded(decision.reason, tool=tool.name, actor=attempt.actor, audit_seq=seq)
        allowed = self._record(attempt, "allowed", decision.reason)  # raises when it cannot be written, and then nothing runs
        return self._run(attempt, tool, arguments, decision, allowed.seq)

    def _run(self, attempt: _Attempt, tool: Tool, arguments: dict[str, Any], decision: Decision, allowed: int) -> ToolResult:
        began = time.perf_counter()
        try:
            assert tool.run is not None  # only tools with a function are registered
            text = json.dumps(tool.run(self._place(attempt.cwd), attempt.watch, **arguments), ensure_ascii=False, allow_nan=False).encode()
            value = json.loads(text)  # what a guest gets over HTTP: lists for tuples, text for odd keys
        except SuiteError as error:
            self._record(attempt, "denied" if isinstance(error, Denied) else "failed", str(error), decision_seq=allowed)
            raise
        except Exception as error:  # the edge of foreign code: every failure becomes one error and one audit entry
            reason = f"{tool.name} failed ({type(error).__name__}: {str(error)[:200]}); the audit entry {allowed} has its arguments."
            self._record(attempt, "failed", reason, decision_seq=allowed)
            raise ToolFailed(reason, tool=tool.name) from error
        seconds = time.perf_counter() - began
        done = self._record(attempt, "done", f"{tool.name} ended after {seconds:.3f} s.", decision_seq=allowed, seconds=round(seconds, 6),
                            result={"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()})
        return ToolResult(tool.name, value, attempt.actor, decision, seconds, done.seq)

    def _find(self, name: str) -> Tool:
        if name not in self._tools:
            raise NotFound(f"There is no tool {name[:80]!r}; known are {', '.join(sorted(self._tools)) or 'none'}.", param="name")
        return self._tools[name]

    def _permission(self, tool: Tool) -> Permission:
        row = self.policy.permission(tool.name)
        assert row is not None  # register() refused tools without a row
        return row

    def _decide(self, attempt: _Attempt, tool: Tool) -> Decision:
        actor = self.actors.find(attempt.actor)
        return decide(actor, self._permission(tool), self.policy, asked=attempt.actor, rbac=self.settings.rbac_enabled,
                      mode=self.settings.security_mode)

    def _speaks_for(self, name: str) -> str | None:
        """Why the holder of the key may not act as `name`; None when they may. The key is that of MCP_USER_ID."""
        owner = self.settings.mcp_user_id
        if name == owner:
            return None
        actor, ceiling = self.actors.find(name), self.actors.find(owner)
        if actor is None:
            return None  # decide() denies it with its own sentence
        if ceiling is None or not ceiling.active or not self.policy.covers(ceiling.role, actor.role):
            return f"Actor {owner!r} may not act as {name!r}, whose role {actor.role!r} may do more; name an actor who may do less."
        return None

    def _place(self, cwd: Path) -> Place:
        data = self.settings.data_dir
        cwd = cwd.resolve()
        inside = cwd == self.workspace or self.workspace in cwd.parents
        return Place(self.workspace, cwd if inside else self.workspace, tuple((data / name).resolve() for name in PRIVATE_FOLDERS))

    def _record(self, attempt: _Attempt, outcome: Any, reason: str, **detail: Any) -> Event:
        return self.audit.record(Event(attempt.actor, attempt.kind, attempt.tool, outcome, reason,
                                       {"arguments": attempt.arguments, "cwd": str(attempt.cwd), **detail}))

    # ---- the three questions ----

    def live(self) -> State:
        """Whether the part was started."""
        return good(tools=len(self._tools)) if self._open else bad("The tools are not started; call suite.start().")

    def ready(self) -> State:
        """Whether a call would be taken now: audit, policy, tools, workspace and the default actor are there."""
        return guarded(self._ready)

    def _ready(self) -> State:
        if not self._open:
            return self.live()
        if self._failure is not None:
            return bad(str(self._failure), retry_after=30)
        last = self.audit.tail(1)
        reasons = []
        if not self.policy.roles or not self.policy.tools:
            reasons.append("The policy is empty; reinstall local-ai-suite or mend policy.toml.")
        if not self._tools:
            reasons.append("No tool is registered; call start() again.")
        if not self.workspace.is_dir():
            reasons.append(f"The workspace {self.workspace} is not a folder; set WORKSPACE_DIR to one.")
        owner = self.actors.find(self.settings.mcp_user_id)
        if owner is None or not owner.active:
            state = "switched off" if owner else "not known"
            reasons.append(f"MCP_USER_ID names {self.settings.mcp_user_id!r}, who is {state}; name an active actor.")
        facts = {"tools": sorted(self._tools), "roles": sorted(self.policy.roles), "audit_entries": last[0].seq if last else 0,
                 "rbac_enabled": self.settings.rbac_enabled, "security_mode": self.settings.security_mode}
        return bad(*reasons, **facts) if reasons else good(**facts)

    def deep(self) -> State:
        """Make one call that must be allowed and one that must be denied, find both in the audit, and look whether its chain is whole.

        The entries are of kind `probe`. The newest 10 000 entries are looked at; `Audit.verify` looks at all.
        """
        return guarded(self._deep)

    def _deep(self) -> State:
        state = self._ready()
        if not state.ok:
            return state
        owner = self.settings.mcp_user_id
        try:
            done = self._call(_Attempt("list_files", {"path": "."}, owner, self.workspace, "probe"))
        except SuiteError as error:
            return bad(f"A call that must be allowed was not: {error}")
        try:
            self._call(_Attempt("list_files", {"path": "."}, STRANGER, self.workspace, "probe"))
            return bad(f"A call by the unknown actor {STRANGER!r} was allowed; look at the policy and at the table of actors.")
        except Denied as error:
            denied = int(error.facts["audit_seq"])
        facts = {"allowed_seq": done.audit_seq, "denied_seq": denied, "files": done.value["count"], "actor": owner}
        reasons = []
        for seq, outcome in ((done.audit_seq, "done"), (denied, "denied")):
            entry = self.audit.get(seq)
            if entry is None or entry.outcome != outcome or entry.kind != "probe":
                reasons.append(f"Audit entry {seq} is not the {outcome!r} probe that was just written; run `suite audit verify`.")
        reasons += self.audit.verify(newest=PROBED).findings
        return bad(*reasons, **facts) if reasons else good(**facts)
