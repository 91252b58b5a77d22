"""The record of one check: what was asked, what was seen, and what follows; shown as a card and kept in the cell's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from suite import render

MIME = "application/vnd.suite.check+json"
SATISFIED = ("pass", "waived", "not-applicable")  # states that do not stop a release run
_KEYS = ("id", "title", "phase", "category", "state", "observed", "criterion", "margin", "evidence", "started_at", "ended_at", "proven_red_at")


@dataclass(frozen=True)
class Result:
    """One check's result. `observed` is {value, unit, n}, `criterion` {op, limit, unit, reason}; times are UTC, ISO 8601."""

    id: str
    title: str
    phase: int
    category: str
    state: str
    observed: Mapping[str, Any]
    criterion: Mapping[str, Any]
    margin: float | None
    evidence: tuple[Mapping[str, Any], ...] = field(default=())
    started_at: str = ""
    ended_at: str = ""
    proven_red_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape that scripts rely on; key order is fixed."""
        record = {key: getattr(self, key) for key in _KEYS}
        return record | {"observed": dict(self.observed), "criterion": dict(self.criterion), "evidence": [dict(item) for item in self.evidence]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Result:
        """The result that `to_dict` described; raises KeyError when a key is missing."""
        return cls(**{key: record[key] for key in _KEYS} | {"evidence": tuple(record["evidence"])})

    @property
    def conditions(self) -> list[Mapping[str, Any]]:
        """The judged conditions among the evidence."""
        return [item for item in self.evidence if "op" in item and "met" in item]

    @property
    def smoke(self) -> bool:
        """Whether a smoke model answered in this check."""
        return any(item.get("name") == "smoke" and item.get("observed") is True for item in self.evidence)

    @property
    def why(self) -> str:
        """One line: the message or the reason, the broken conditions, and the first refusal behind them; empty for a plain pass."""
        lines = [f"{item['name']} is {item['observed']} (demanded {item['op']} {item['limit']} {item['unit']})".replace(" )", ")")
                 for item in self.conditions if item["met"] is False]
        words = [str(item.get("reason")) for item in self.evidence if item.get("name") in ("error", "not-run", "not-applicable", "doubt")]
        words += [f"{item['condition']} waived by {item['owner']} until {item['expiry']}: {item['reason']}".lstrip() for item in self.evidence
                  if item.get("name") == "waiver"]
        words += [f"{item['owner']}'s waiver of {item['condition'] or self.id} expired on {item['expiry']}" for item in self.evidence
                  if item.get("name") == "expired-waiver"]
        refused = [str(item.get("reason")) for item in self.evidence if item.get("name") == "refused"][:1]
        seen = [line for line in lines if " is None " not in line]  # what could not be seen any more follows from the error or the refusal
        return "; ".join(words + (seen if words or (seen and refused) else lines) + refused) if self.state != "pass" else ""

    def __repr__(self) -> str:
        red = f"proven red {self.proven_red_at}" if self.proven_red_at else "never proven red"
        smoke = ", smoke model" if self.smoke else ""
        return f"{self.id} {self.state}: {self.title} ({red}{smoke})" + (f"\n  {self.why}" if self.why else "")

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [
            (item["name"], f"{_short(item['observed'])} (must be {item['op']} {_short(item['limit'])} {item['unit']}) {_mark(item['met'])}"
             + (f", margin {_short(item['margin'])}" if item.get("margin") is not None else ""))
            for item in self.conditions]
        rows += [(str(item.get("name", "evidence")), _short({key: value for key, value in item.items() if key != "name"}))
                 for item in self.evidence if item not in self.conditions]
        red = f"proven red {self.proven_red_at}" if self.proven_red_at else "never proven red: run `suite drill " + self.id + "`"
        smoke = " · a smoke model answered here: health is shown, quality is not" if self.smoke else ""
        return render.card(f"{self.id} {self.title}", rows, note=f"{self.started_at} to {self.ended_at} · {red}{smoke}", badge_text=self.state)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: self.to_dict(), "text/html": self._repr_html_(), "text/plain": repr(self)}


def _short(value: Any, limit: int = 200) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= limit else text[:limit] + " …"


def _mark(met: bool | None) -> str:
    return {True: "✓", False: "✗", None: "– skipped"}[met]
