"""A call that waits for an approval, and the grant that comes of it: good for one call of one actor with exactly these arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from suite.access.event import canonical

State = Literal["pending", "approved", "rejected", "cancelled", "used", "expired"]
STATES = ("pending", "approved", "rejected", "cancelled", "used", "expired")
SHORT = 8  # characters of an id that are enough where only one begins so


@dataclass(frozen=True)
class Approval:
    """One call that waits, or waited. `arguments` are all of them, secrets masked; `digest` is that of the unmasked ones and of the folder.

    Times are UTC seconds since 1970. `expires` ends the request, and once it is approved the grant; `rule` says by what right it was approved.
    """

    id: str
    actor: str
    tool: str
    digest: str
    arguments: dict[str, Any]
    cwd: str
    why: str
    requested: float
    expires: float
    state: State = "pending"
    decided: float | None = None
    decided_by: str = ""
    rule: str = ""
    reason: str = ""
    used: float | None = None

    def __repr__(self) -> str:
        return f"Approval({self.id[:SHORT]}, {self.state}: {self.tool} by {self.actor})"

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the digest: that of a short secret could be guessed."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "digest"}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Approval:
        """The approval that `to_dict` described."""
        return cls(**{name: data.get(name, "") if name == "digest" else data[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Wish:
    """A call as it is bound to an approval."""

    actor: str
    tool: str
    arguments: Mapping[str, Any]
    cwd: str

    @property
    def digest(self) -> str:
        """sha256 of the exact arguments and the folder that relative paths start in."""
        return hashlib.sha256(canonical({"arguments": dict(self.arguments), "cwd": self.cwd}).encode("ascii")).hexdigest()
