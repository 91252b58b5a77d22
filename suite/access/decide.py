"""The decision: may this actor use this permission now? Deny unless something says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from suite.access.policy import ASK_FROM

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
    `mode` is SECURITY_MODE; an unknown mode is treated as the strictest.
    """
    if actor is None:
        return Decision("deny", f"Actor {asked[:80]!r} is not known; name a known actor or add this one.")
    if not actor.active:
        return Decision("deny", f"Actor {actor.name!r} is switched off; an administrator can switch it on again.")
    if rbac and actor.role not in policy.roles:
        return Decision("deny", f"Actor {actor.name!r} has the role {actor.role!r}, which the policy does not know; give it one of "
                                f"{', '.join(policy.roles)}.")
    if rbac and not policy.holds(actor.role, permission.name):
        return Decision("deny", f"Role {actor.role!r} of actor {actor.name!r} does not hold the permission {permission.name!r} that "
                                f"{permission.tool} needs.")
    why = f"role {actor.role!r} holds {permission.name!r}" if rbac else "RBAC_ENABLED is false, so roles were not asked"
    level = permission.sensitivity
    if level >= ASK_FROM.get(mode, min(ASK_FROM.values())):
        return Decision("ask", f"{permission.tool} is of {level.name} sensitivity and needs an approval in security mode {mode!r} ({why}).")
    return Decision("allow", f"Actor {actor.name!r} may use {permission.tool}: {why}.")
