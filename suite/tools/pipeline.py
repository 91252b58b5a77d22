"""The way of every call: limited, decided, checked, approved where it must be, recorded, run, recorded again.

Quick tools that only read are run before the first record: both are written in one transaction, and before it nobody gets an answer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from suite.access.actor import Actors
from suite.access.approval import Approval, Wish
from suite.access.approvals import Approvals
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.decide import Decision, decide
from suite.access.event import Event, settled
from suite.access.limit import Limits
from suite.access.mode import mode_of, owner_confirms
from suite.access.opening import Openings
from suite.access.permission import Permission
from suite.errors import ApprovalNeeded, BadRequest, Denied, NotFound, SuiteError, ToolFailed, TooMany
from suite.tools.schema import check_arguments
from suite.tools.series import LIMITED, ToolSeries
from suite.tools.tool import NOBODY, Place, Tool, ToolResult, Watch

CALL = "tool_call"
_DECIDED = ("allowed", "denied", "ask")
_ENDS = {TooMany: LIMITED, ApprovalNeeded: "ask", Denied: "denied"}  # how a call is counted that ends with such an error


class AccessSettings(Protocol):
    """The settings that decide about calls."""

    stage: str
    security_mode: str
    mcp_user_id: str
    rbac_enabled: bool
    rate_limit_enabled: bool
    approval_workflow_enabled: bool
    sandbox_enabled: bool


@dataclass(frozen=True)
class Attempt:
    """One call on its way: who wants what, who proved to be behind it, and how the audit names it."""

    tool: str
    arguments: Mapping[str, Any]
    actor: str
    caller: Caller
    cwd: Path
    kind: str = CALL
    watch: Watch = NOBODY

    @cached_property
    def settled(self) -> dict[str, Any]:
        """What every event about it says."""
        return settled({"arguments": self.arguments, "cwd": str(self.cwd), "client": self.caller.client, "key": self.caller.key})


class Pipeline:
    """Decides about calls and runs them; nothing is changed that was not recorded before, nothing is given out that was not recorded."""

    def __init__(self, audit: Audit, actors: Actors, settings: AccessSettings, approvals: Approvals, openings: Openings, limits: Limits,
                 tell: Callable[[Approval], None] = lambda approval: None, series: ToolSeries | None = None) -> None:
        self.audit, self.actors, self.policy, self.settings = audit, actors, actors.policy, settings
        self.approvals, self.openings, self.limits, self._tell = approvals, openings, limits, tell
        self._series = series or ToolSeries(CollectorRegistry())

    def run(self, attempt: Attempt, tool: Tool, row: Permission, place: Place) -> ToolResult:
        """Everything from the limit to the record of the outcome; raises what Tools.call names."""
        outcome = "done"
        try:
            return self._run_secured(attempt, tool, row, place)
        except BaseException as error:
            outcome = next((word for kind, word in _ENDS.items() if isinstance(error, kind)), "failed")
            raise
        finally:
            if attempt.kind == CALL:  # what a probe does says nothing about anybody
                self._series.ended(tool.name, outcome)

    def _run_secured(self, attempt: Attempt, tool: Tool, row: Permission, place: Place) -> ToolResult:
        refusal = self._speaks_for(attempt)
        if refusal:
            raise self._denied(attempt, refusal)
        with ExitStack() as held:
            if self.settings.rate_limit_enabled and attempt.kind == CALL:
                self._take_room(attempt, row, held)
            decision = self._decide(attempt, row)
            if decision.outcome == "deny":
                raise self._denied(attempt, decision.reason)
            arguments = self._checked(attempt, tool)
            together = row.quick and row.effect == "reads" and decision.outcome == "allow"
            if decision.outcome == "ask":
                decision = self._approved(attempt, arguments, decision)
            # raises when it cannot be written, and then nothing runs
            allowed = None if together else self.record(attempt, "allowed", decision.reason)
            return self._run(attempt, tool, arguments, place, decision, allowed)

    def record(self, attempt: Attempt, outcome: Any, reason: str, **detail: Any) -> int:
        """Write an event about a call, and give its number."""
        return self.audit.note(self._event(attempt, outcome, reason, **detail))

    def _event(self, attempt: Attempt, outcome: Any, reason: str, **detail: Any) -> Event:
        if outcome in _DECIDED and attempt.kind == CALL:
            self._series.decided(outcome)
        return Event(attempt.actor, attempt.kind, attempt.tool, outcome, reason, detail, settled=attempt.settled)

    def _take_room(self, attempt: Attempt, row: Permission, held: ExitStack) -> None:
        try:
            self.limits.take(attempt.actor, row)
            held.enter_context(self.limits.running(attempt.actor, row))
        except TooMany as error:
            self.record(attempt, "denied", str(error))
            raise

    def _denied(self, attempt: Attempt, reason: str) -> Denied:
        seq = self.record(attempt, "denied", reason)
        return Denied(reason, tool=attempt.tool, actor=attempt.actor, audit_seq=seq)

    def _decide(self, attempt: Attempt, row: Permission) -> Decision:
        return decide(self.actors.find(attempt.actor), row, self.policy, asked=attempt.actor, rbac=self.settings.rbac_enabled,
                      mode=mode_of(self.settings).name)

    def _checked(self, attempt: Attempt, tool: Tool) -> dict[str, Any]:
        try:
            return check_arguments(tool.name, tool.schema, attempt.arguments)
        except BadRequest as error:
            self.record(attempt, "failed", str(error))
            raise

    def _approved(self, attempt: Attempt, arguments: dict[str, Any], decision: Decision) -> Decision:
        """The decision once an approval is found, or none is needed; raises ApprovalNeeded where the call has to wait, TooMany where none may."""
        if not self.settings.approval_workflow_enabled:
            return Decision("allow", f"{decision.reason} APPROVAL_WORKFLOW_ENABLED is false, so nobody was asked.")
        wish = Wish(attempt.actor, attempt.tool, arguments, str(attempt.cwd))
        grant = self.approvals.take(wish)
        if grant is not None:
            return Decision("allow", f"{attempt.tool} was approved by {grant.decided_by!r} ({grant.rule}, {grant.id}): {grant.reason}")
        opening = self.openings.now()
        if opening is not None:
            return Decision("allow", f"{opening.by!r} has approved everything until {time.strftime('%H:%M:%SZ', time.gmtime(opening.ends))}: "
                                     f"{opening.reason}")
        try:
            waiting, fresh = self.approvals.ask(wish, decision.reason)
        except TooMany as error:
            self.record(attempt, "denied", str(error))
            raise
        seq = self.record(attempt, "ask", decision.reason, approval=waiting.id, again=not fresh)
        if fresh:
            self._tell(waiting)
        who = "you, or " if owner_confirms(self.settings) and attempt.caller.owner and attempt.actor == attempt.caller.actor else ""
        raise ApprovalNeeded(f"{decision.reason} Approval {waiting.id} waits for {round(waiting.expires - waiting.requested)} s: {who}somebody else "
                             f"with 'approvals.decide', runs `suite approvals approve {waiting.id[:8]}`; then make the same call again.",
                             tool=attempt.tool, actor=attempt.actor, audit_seq=seq, approval=waiting.id, expires=waiting.expires)

    def _run(self, attempt: Attempt, tool: Tool, arguments: dict[str, Any], place: Place, decision: Decision, allowed: int | None) -> ToolResult:
        """Run the tool; `allowed` is the number of the decision's event, None when it is to be written together with that of the outcome."""
        began = time.perf_counter()
        try:
            assert tool.run is not None  # only tools with a function are registered
            text = json.dumps(tool.run(place, attempt.watch, **arguments), ensure_ascii=False, allow_nan=False).encode()
            value = json.loads(text)  # what a guest gets over HTTP: lists for tuples, text for odd keys
        except BaseException as error:
            if allowed is None:
                allowed = self.record(attempt, "allowed", decision.reason)
            failure = self._failure(attempt, tool, error, allowed)
            if failure is error:
                raise
            raise failure from error
        finally:
            seconds = time.perf_counter() - began
            self._series.worked(tool.name, seconds)
        result = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}

        def ended(number: int) -> Event:
            return self._event(attempt, "done", f"{tool.name} ended after {seconds:.3f} s.", decision_seq=number, seconds=round(seconds, 6),
                               result=result)

        done = (self.audit.note_both(self._event(attempt, "allowed", decision.reason), ended) if allowed is None
                else self.audit.note(ended(allowed)))
        return ToolResult(tool.name, value, attempt.actor, decision, seconds, done)

    def _failure(self, attempt: Attempt, tool: Tool, error: BaseException, allowed: int) -> BaseException:
        """What is raised when a tool ended with this error, which is recorded."""
        if not isinstance(error, Exception):
            return error
        if isinstance(error, SuiteError):
            self.record(attempt, "denied" if isinstance(error, Denied) else "failed", str(error), decision_seq=allowed)
            return error
        # the edge of foreign code: every failure becomes one error and one audit entry
        reason = f"{tool.name} failed ({type(error).__name__}: {str(error)[:200]}); the audit entry {allowed} has its arguments."
        self.record(attempt, "failed", reason, decision_seq=allowed)
        return ToolFailed(reason, tool=tool.name)

    def _speaks_for(self, attempt: Attempt) -> str | None:
        """Why the caller may not act as that actor; None when they may: as themselves, or as one who may do no more."""
        owner = attempt.caller.actor
        if attempt.actor == owner:
            return None
        actor, ceiling = self.actors.find(attempt.actor), self.actors.find(owner)
        if actor is None:
            return None  # decide() denies it with its own sentence
        if ceiling is None or not ceiling.active or not self.policy.covers(ceiling.role, actor.role):
            return f"Actor {owner!r} may not act as {attempt.actor!r}, whose role {actor.role!r} may do more; name an actor who may do less."
        return None


def unknown(name: str, known: list[str]) -> NotFound:
    """The error for a tool that there is not."""
    return NotFound(f"There is no tool {name[:80]!r}; known are {', '.join(known) or 'none'}.", param="name")
