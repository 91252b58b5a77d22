"""The decision: may this actor use this permission now? Deny unless something says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from suite.access.mode import MODES, STRICTEST

if TYPE_CHECKING:
    from suite.access.actor import Actor
    from suite.access.permission import Permission
    from suite.access.policy import Policy

Outcome = Literal["allow", "deny", "ask"]


@dataclass(frozen=True)
class Decision:
    """An outcome and its reason, always one sentence."""

    outcome: Outcome
    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a decision without a reason")

    @property
    def allowed(self) -> bool:
        """Whether the call may go ahead now."""
        return self.outcome == "allow"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"outcome": self.outcome, "reason": self.reason}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Decision:
        """The decision that `to_dict` described."""
        return cls(data["outcome"], data["reason"])


def decide(actor: Actor | None, permission: Permission, policy: Policy, *, asked: str = "", rbac: bool = True, mode: str = "normal") -> Decision:
    """Decide for `actor` (None: nobody of the name `asked` is known).

    `rbac` false leaves the roles aside, not the rest: the actor must be known and active, and sensitive tools still need approval.
    `mode` is the name of a Mode; an unknown one is treated as the strictest.
    """
    refusal = _refusal(actor, permission.name, permission.tool, policy, asked, rbac)
    if refusal or actor is None:
        return Decision("deny", refusal)
    why = f"role {actor.role!r} holds {permission.name!r}" if rbac else "RBAC_ENABLED is false, so roles were not asked"
    level = permission.sensitivity
    if level >= MODES.get(mode, STRICTEST).ask_from:
        return Decision("ask", f"{permission.tool} is of {level.name} sensitivity and needs an approval in security mode {mode!r} ({why}).")
    return Decision("allow", f"Actor {actor.name!r} may use {permission.tool}: {why}.")


def decide_act(actor: Actor | None, act: str, policy: Policy, *, asked: str = "") -> Decision:
    """Decide for a permission that belongs to no tool, e.g. `approvals.decide`; RBAC_ENABLED does not open these."""
    refusal = _refusal(actor, act, "this", policy, asked, rbac=True)
    if refusal or actor is None:
        return Decision("deny", refusal)
    return Decision("allow", f"Role {actor.role!r} of actor {actor.name!r} holds {act!r}.")


def _refusal(actor: Actor | None, permission: str, what: str, policy: Policy, asked: str, rbac: bool) -> str:
    """Why the actor may not; empty when nothing stands against it."""
    if actor is None:
        return f"Actor {asked[:80]!r} is not known; name a known actor or add this one."
    if not actor.active:
        return f"Actor {actor.name!r} is switched off; an administrator can switch it on again."
    if rbac and actor.role not in policy.roles:
        return f"Actor {actor.name!r} has the role {actor.role!r}, which the policy does not know; give it one of {', '.join(policy.roles)}."
    if rbac and not policy.holds(actor.role, permission):
        return f"Role {actor.role!r} of actor {actor.name!r} does not hold the permission {permission!r} that {what} needs."
    return ""
