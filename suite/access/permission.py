"""What a tool needs from its caller: a permission, and how much harm the tool can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

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


@dataclass(frozen=True)
class Permission:
    """The row of one tool: its `name` is what roles hold, e.g. `file.read`."""

    tool: str
    name: str
    sensitivity: Sensitivity

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"tool": self.tool, "permission": self.name, "sensitivity": self.sensitivity.name}
