"""What a measurement is held to and how its outcome is written down: a row has name, value, unit, op, limit, met, peer, ratio."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

HOLDS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
COULD_NOT = "could not measure"
SHARE = "x"  # the unit of a value that is a share of the peer's


@dataclass(frozen=True)
class Limit:
    """One row to be: `op` and `limit` say which values are good (no `limit`: a figure to know), `peer` what it is held against.

    With the unit `x` the value is the share of the peer's figure itself.
    """

    name: str
    unit: str
    op: str
    limit: float | None = None
    peer: str | None = None

    def row(self, value: float, ratio: float | None = None, note: str = "") -> dict[str, Any]:
        """The row of a measured value; `ratio` is value over the peer's, `note` goes into the name."""
        met = None if self.limit is None else bool(HOLDS[self.op](value, self.limit))
        ratio = value if self.unit == SHARE and self.peer else ratio
        return {"name": self.name + (f" ({note})" if note else ""), "value": round(value, 4), "unit": self.unit, "op": self.op, "limit": self.limit,
                "met": met, "peer": self.peer, "ratio": None if ratio is None else round(ratio, 4)}

    def unmeasured(self, why: str) -> dict[str, Any]:
        """The row of a value that could not be had: never a pass."""
        return {"name": f"{self.name}: not measured ({why})", "value": None, "unit": self.unit, "op": self.op, "limit": self.limit, "met": None,
                "peer": self.peer, "ratio": None}


def status(rows: Iterable[dict[str, Any]]) -> int:
    """The exit status: 1 when a limit is not met, 2 when all measured ones are but some could not be measured, else 0."""
    rows = list(rows)
    if any(row["met"] is False for row in rows):
        return 1
    return 2 if not rows or any(row["met"] is None and (row["limit"] is not None or row["value"] is None) for row in rows) else 0


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    if row["value"] is None:
        return f"{row['name']}  {COULD_NOT.upper()}"
    peer = f" of {row['peer']}" if row["peer"] and row["unit"] == SHARE else f" beside {row['peer']}" if row["peer"] else ""
    held = "" if row["limit"] is None else f"  ({row['op']} {row['limit']:g} {row['unit']}: {'met' if row['met'] else 'NOT MET'})"
    return f"{row['name']}  {row['value']:.2f} {row['unit']}{peer}{held}"
