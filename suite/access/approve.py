"""Deciding about calls that wait: who may, by which rule, and that it is recorded before it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from suite.access.actor import Actors
from suite.access.approval import Approval
from suite.access.approvals import Approvals
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.decide import decide_act
from suite.access.event import Event
from suite.access.mode import ModeSettings, owner_confirms
from suite.errors import BadRequest, Denied, SuiteError

VIEW, DECIDE = "approvals.view", "approvals.decide"
OWNER_CONFIRM, APPROVER = "owner-confirm", "approver"
_WORDS = {"approved": "approve", "rejected": "reject", "cancelled": "cancel"}


class Approver:
    """The one way to decide. A caller may who holds `approvals.decide` and is not the one who asked.

    In stage dev the policy `owner-confirm` lets the owner of the notebook decide about their own calls, and the record says that it did.
    `tell` is given every approval that was decided.
    """

    def __init__(self, approvals: Approvals, actors: Actors, audit: Audit, settings: ModeSettings,
                 tell: Callable[[Approval], None] = lambda approval: None) -> None:
        self.approvals, self.actors, self.audit, self.settings, self._tell = approvals, actors, audit, settings, tell

    def approve(self, id: str, reason: str, caller: Caller) -> Approval:
        """Let the call go ahead once, until it expires. Raises NotFound, NotPending, BadRequest (no reason), or Denied."""
        return self._decide(id, "approved", reason, caller)

    def reject(self, id: str, reason: str, caller: Caller) -> Approval:
        """Refuse the call. Raises as `approve` does."""
        return self._decide(id, "rejected", reason, caller)

    def cancel(self, id: str, caller: Caller, reason: str = "withdrawn") -> Approval:
        """Withdraw a call that waits; whoever asked for it may, and whoever may decide. Raises NotFound, NotPending or Denied."""
        return self._decide(id, "cancelled", reason, caller)

    def look(self, id: str, caller: Caller) -> Approval:
        """One approval; whoever asked may see it, and whoever holds `approvals.view`. Raises NotFound or Denied."""
        found = self.approvals.get(id)
        if found.actor != caller.actor:
            self._must(VIEW, caller)
        return found

    def list(self, caller: Caller, **which: Any) -> list[Approval]:
        """Approvals as Approvals.list gives them, to whoever holds `approvals.view`. Raises Denied."""
        self._must(VIEW, caller)
        return self.approvals.list(**which)

    def _decide(self, id: str, state: Literal["approved", "rejected", "cancelled"], reason: str, caller: Caller) -> Approval:
        found = self.approvals.get(id)
        try:
            rule = self._rule(found, state, caller)
        except Denied as error:
            self._record(found, state, "denied", str(error), caller)
            raise
        if not reason.strip():
            raise BadRequest(f"Say why you {_WORDS[state]} the call: the reason is part of the record.", param="reason")
        self._record(found, state, "allowed", reason, caller, rule=rule)  # raises when it cannot be written, and then nothing is decided
        try:
            decided = self.approvals.decide(found.id, state, caller.actor, rule, reason)
        except SuiteError as error:  # another was quicker, or its time is over: the record must not say that it was done
            self._record(found, state, "failed", str(error), caller, rule=rule)
            raise
        self._tell(decided)
        return decided

    def _rule(self, found: Approval, state: str, caller: Caller) -> str:
        own = found.actor == caller.actor
        if own and state == "cancelled":
            return "requester"
        if own and caller.owner and owner_confirms(self.settings):
            return OWNER_CONFIRM
        if own:
            raise Denied(f"Actor {caller.actor!r} asked for this call and so may not {_WORDS[state]} it; another's key with {DECIDE!r} may.",
                         actor=caller.actor)
        self._must(DECIDE, caller)
        return APPROVER

    def _must(self, act: str, caller: Caller) -> None:
        decision = decide_act(self.actors.find(caller.actor), act, self.actors.policy, asked=caller.actor)
        if not decision.allowed:
            raise Denied(decision.reason, actor=caller.actor)

    def _record(self, found: Approval, state: str, outcome: Any, reason: str, caller: Caller, **detail: Any) -> None:
        about = {"approval": found.id, "asked_by": found.actor, "to": state, "arguments": found.arguments, "key": caller.key, "client": caller.client}
        self.audit.record(Event(caller.actor, "approval", found.tool, outcome, reason, about | detail))
