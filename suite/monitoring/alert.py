"""One alert: a rule whose condition holds, or held, for one label set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PENDING, FIRING, RESOLVED = "pending", "firing", "resolved"


@dataclass(frozen=True)
class Alert:
    """An alert at one moment; `active_since`, `fired_at` and `resolved_at` are UTC seconds, `value` is in `unit`.

    `labels` tell it from all others: alertname, severity, and those of its series. `summary` says what is the matter and what to do.
    """

    rule: str
    labels: Mapping[str, str]
    state: str
    active_since: float
    value: float = 0.0
    unit: str = ""
    summary: str = ""
    fired_at: float | None = None
    resolved_at: float | None = None

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What tells it from all others: its labels, sorted."""
        return tuple(sorted(self.labels.items()))

    @property
    def name(self) -> str:
        """The name of its rule."""
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        """How much it matters: critical, warning, info, none."""
        return self.labels.get("severity", "")

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Alert:
        """What `to_dict` gave."""
        return cls(**row)
