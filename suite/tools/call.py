"""The part `mcp-server`: the registered tools and the one way to call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from suite.access.actor import Actors
from suite.access.approvals import Approvals
from suite.access.approve import Approver
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.limit import Limits
from suite.access.mail import Mail, MailSettings
from suite.access.mode import mode_of
from suite.access.opening import Openings
from suite.access.permission import Permission
from suite.errors import BadRequest, Denied, NotFound, NotReady, SuiteError
from suite.monitoring.probe import State, bad, good, guarded
from suite.tools.builtin.files import FILE_TOOLS
from suite.tools.lane import Lane
from suite.tools.pipeline import AccessSettings, Attempt, Pipeline, unknown
from suite.tools.roots import further_roots, within
from suite.tools.series import ToolSeries
from suite.tools.shelf import Shelf
from suite.tools.tool import NOBODY, Place, Tool, ToolResult, Watch

PRIVATE_FOLDERS = ("run", "sqlite", "backups", "logs", "memory", "vectors")  # of the data directory: ours, not the user's documents
PROBED = 10_000  # audit entries that deep() looks at
STRANGER = "nobody-known"  # the actor of the probe that must be denied


class ToolSettings(AccessSettings, MailSettings, Protocol):
    """The settings that tools read."""

    data_dir: Path
    approval_timeout: float
    approval_max_pending: int
    reports_dir: Path
    workspace_roots: str


class Tools:
    """The part `mcp-server`: the registered tools and the one way to call them.

    `approver` decides about calls that wait, `openings` are the times in which none has to; `more` gives further facts for `ready`.
    `shelf` is what can be read by address.
    """

    name = "mcp-server"

    def __init__(self, audit: Audit, actors: Actors, workspace: Path, settings: ToolSettings, tools: Iterable[Tool] = FILE_TOOLS,
                 more: Callable[[], dict[str, Any]] = dict, shelf: Shelf | None = None, series: ToolSeries | None = None) -> None:
        self.audit, self.actors, self.policy, self.settings = audit, actors, actors.policy, settings
        self.workspace = workspace
        self._further: tuple[Path, ...] = ()  # the roots beside it, known once started
        approvals = Approvals(audit.storage, settings.approval_timeout, settings.approval_max_pending)
        self.mail = Mail(settings)
        self.approver, self.openings = Approver(approvals, actors, audit, settings, self.mail.tell), Openings(audit.storage, actors, audit)
        self.limits, self._lane = Limits(), Lane()
        self.shelf = shelf or Shelf(audit, actors, settings.mcp_user_id, settings.reports_dir)
        self._pipeline = Pipeline(audit, actors, settings, approvals, self.openings, self.limits, self.mail.tell, series)
        self._tools: dict[str, Tool] = {}
        self._offered, self._more = tuple(tools), more
        self._private = tuple((settings.data_dir / name).resolve() for name in PRIVATE_FOLDERS)
        self._open = False
        self._failure: SuiteError | None = None

    # ---- life ----

    def start(self) -> None:
        """Seed the actors and register the tools; what is missing is remembered, not raised."""
        self._failure = None
        self._lane.open()
        try:
            self.workspace = self.workspace.resolve()
            if not self.workspace.is_dir():
                raise NotFound(f"The workspace {self.workspace} is not a folder; set WORKSPACE_DIR to one.")
            self._further = further_roots(self.settings.workspace_roots, self.workspace, self.settings.data_dir)
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
        self._lane.close()
        self.mail.close()

    def register(self, tool: Tool) -> Tool:
        """Add a tool; permission and sensitivity come from the policy.

        Raises BadRequest when the name is taken or the policy has no row for it.
        """
        row = self.policy.permission(tool.name)
        if row is None:
            raise BadRequest(f"The policy has no row for the tool {tool.name!r}; add one to policy.toml.")
        if tool.name in self._tools:
            raise BadRequest(f"There is a tool {tool.name!r} already; choose another name.")
        ready = replace(tool, permission=row.name, sensitivity=row.sensitivity.name, effect=row.effect, web=row.web)
        self._tools[tool.name] = ready
        return ready

    # ---- use ----

    def list(self) -> list[Tool]:
        """The registered tools by name."""
        return [self._tools[name] for name in sorted(self._tools)]

    def info(self, name: str) -> dict[str, Any]:
        """A tool's description and what a call of it takes; raises NotFound."""
        tool = self._find(name)
        row = self._permission(tool)
        asks = self.settings.approval_workflow_enabled and row.sensitivity >= mode_of(self.settings).ask_from
        return {"tool_name": tool.name, "sensitivity": tool.sensitivity.lower(), "require_approval": asks, "max_concurrent": row.at_once,
                "permission": tool.permission, "description": tool.description, "inputSchema": dict(tool.schema), "effect": row.effect,
                "web": row.web}

    def used(self, name: str, actor: str = "") -> dict[str, Any]:
        """How much of a tool's limits an actor has used (default: MCP_USER_ID), by the original's names; raises NotFound."""
        actor = actor or self.settings.mcp_user_id
        row = self._permission(self._find(name))
        used = self.limits.used(actor, row)
        return {"tool_name": name, "user_id": actor, "current_count": used.calls, "max_requests": row.calls, "burst_size": row.burst,
                "time_window": row.seconds, "concurrent_executions": used.running, "max_concurrent": row.at_once, "remaining": used.remaining,
                "enabled": self.settings.rate_limit_enabled}

    def lane_of(self, name: str) -> Lane | None:
        """The thread that calls of a tool share because they take no time; None for those that need one of their own."""
        row = self.policy.permission(name) if name in self._tools else None
        return self._lane if row is not None and row.quick else None

    def owner(self, client: str = "kernel") -> Caller:
        """Whoever works in the kernel, or holds its access token."""
        return Caller(self.settings.mcp_user_id, client=client)

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, actor: str | None = None, cwd: Path | None = None,
             watch: Watch | None = None, caller: Caller | None = None) -> ToolResult:
        """Limit, decide, record and run one call.

        `caller` is who proved to be behind it (None: the kernel's owner); `actor` may name somebody who may do no more. Relative paths start in
        `cwd` where that lies in the workspace, else in the workspace.
        Raises NotFound (no such tool), TooMany, Denied, ApprovalNeeded, BadArguments, ToolFailed, StorageError (not recorded, so not run).
        """
        if not self._open:
            raise NotReady("The tools are not started; call suite.start().", part=self.name, retry_after=5)
        if self._failure is not None:
            raise NotReady(str(self._failure), part=self.name, retry_after=30)
        caller = caller or self.owner()
        return self._call(Attempt(name, {} if arguments is None else arguments, actor or caller.actor, caller, cwd or self.workspace,
                                  watch=watch or NOBODY))

    def _call(self, attempt: Attempt) -> ToolResult:
        try:
            tool = self._find(attempt.tool)
        except NotFound as error:
            self._pipeline.record(attempt, "failed", str(error))
            raise
        return self._pipeline.run(attempt, tool, self._permission(tool), self._place(attempt))

    def _find(self, name: str) -> Tool:
        if name not in self._tools:
            raise unknown(name, sorted(self._tools))
        return self._tools[name]

    def _permission(self, tool: Tool) -> Permission:
        row = self.policy.permission(tool.name)
        assert row is not None  # register() refused tools without a row
        return row

    def _place(self, attempt: Attempt) -> Place:
        cwd = attempt.cwd
        if cwd != self.workspace:
            cwd = cwd.resolve()
        inside = any(within(cwd, root) for root in (self.workspace, *self._further))
        return Place(self.workspace, cwd if inside else self.workspace, self._private, attempt.actor, self._further)

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
        reasons += [f"The folder {root} of WORKSPACE_ROOTS is gone; bring it back or leave it out." for root in self._further if not root.is_dir()]
        owner = self.actors.find(self.settings.mcp_user_id)
        if owner is None or not owner.active:
            state = "switched off" if owner else "not known"
            reasons.append(f"MCP_USER_ID names {self.settings.mcp_user_id!r}, who is {state}; name an active actor.")
        facts = {"tools": sorted(self._tools), "roles": sorted(self.policy.roles), "audit_entries": last[0].seq if last else 0,
                 "rbac_enabled": self.settings.rbac_enabled, "security_mode": mode_of(self.settings).name,
                 "approvals_enabled": self.settings.approval_workflow_enabled, "rate_limit_enabled": self.settings.rate_limit_enabled,
                 "sandbox_enabled": self.settings.sandbox_enabled, **self._more()}
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
            done = self._call(Attempt("list_files", {"path": "."}, owner, self.owner(), self.workspace, "probe"))
        except SuiteError as error:
            return bad(f"A call that must be allowed was not: {error}")
        try:
            self._call(Attempt("list_files", {"path": "."}, STRANGER, self.owner(), self.workspace, "probe"))
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
