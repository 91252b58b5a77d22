"""What a tool needs from its caller: a permission, and how much harm the tool can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from suite.errors import SettingsError


class Sensitivity(IntEnum):
    """How much harm a tool can do; ordered."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def parse(cls, word: str) -> Sensitivity:
        """The level of that name; raises SettingsError for any other word."""
        try:
            return cls[str(word).upper()]
        except KeyError:
            raise SettingsError(f"Sensitivity {word!r} is none of {', '.join(cls.__members__)}; mend it in policy.toml.") from None


Effect = Literal["reads", "adds", "changes"]
AT_ONCE = {Sensitivity.LOW: 20, Sensitivity.MEDIUM: 10, Sensitivity.HIGH: 5, Sensitivity.CRITICAL: 2}  # calls of one tool by one actor


@dataclass(frozen=True)
class Permission:
    """The row of one tool: its `name` is what roles hold, e.g. `file.read`.

    An actor may call it `calls` + `burst` times in any `seconds`; 0 calls: as often as they like. A `quick` tool never takes
    more than some milliseconds.
    """

    tool: str
    name: str
    sensitivity: Sensitivity
    calls: int = 0
    seconds: int = 60
    burst: int = 0
    effect: Effect = "changes"
    web: bool = False
    quick: bool = False

    @property
    def most(self) -> int:
        """How many calls of one actor there may be in any `seconds`."""
        return self.calls + self.burst

    @property
    def at_once(self) -> int:
        """How many calls of one actor may run at the same time."""
        return AT_ONCE[self.sensitivity]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"tool": self.tool, "permission": self.name, "sensitivity": self.sensitivity.name, "calls": self.calls, "seconds": self.seconds,
                "burst": self.burst, "at_once": self.at_once, "effect": self.effect, "web": self.web, "quick": self.quick}
