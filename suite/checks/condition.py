"""One named demand on one observed value, and how it is judged."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from suite.errors import SettingsError

_ORDER: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
OPS = ("==", "!=", *_ORDER)
_KEYS = {"name", "op", "limit", "unit", "reason", "optional", "degrades", "parameter"}


@dataclass(frozen=True)
class Condition:
    """A row of criteria.toml: the observed value `op` the limit must hold.

    `optional`: an observation of None is skipped, not broken. `degrades`: broken alone it makes the check degraded, not a fail.
    `parameter`: the runbook parameter that replaces the limit.
    """

    name: str
    op: str
    limit: Any
    unit: str
    reason: str
    optional: bool = False
    degrades: bool = False
    parameter: str = ""

    @classmethod
    def from_toml(cls, row: Mapping[str, Any], where: str) -> Condition:
        """Read one `[[ID.conditions]]` table; raises SettingsError when a key is missing, unknown or out of place."""
        if not isinstance(row, Mapping) or not row.get("name"):
            raise SettingsError(f"A condition in {where} is {row!r} but must be a table with a name.")
        missing, unknown = {"op", "limit", "unit", "reason"} - row.keys(), row.keys() - _KEYS
        if "unit" in missing:
            raise SettingsError(f"Condition {row['name']!r} in {where} has no unit; name that of its limit, or write unit = \"\" for a bare one.")
        if missing:
            raise SettingsError(f"Condition {row['name']!r} in {where} lacks {', '.join(sorted(missing))}; add what is missing.")
        if unknown:
            raise SettingsError(f"Condition {row['name']!r} in {where} has the unknown key {min(unknown)!r}; known are {', '.join(sorted(_KEYS))}.")
        if not isinstance(row["unit"], str):
            raise SettingsError(f"Condition {row['name']!r} in {where} has unit {row['unit']!r} but a unit is a word.")
        if row["op"] not in OPS:
            raise SettingsError(f"Condition {row['name']!r} in {where} has op {row['op']!r} but must have one of {', '.join(OPS)}.")
        if row["op"] in _ORDER and not _number(row["limit"]):
            raise SettingsError(f"Condition {row['name']!r} in {where} has limit {row['limit']!r} but {row['op']} needs a number.")
        if not str(row["reason"]).strip():
            raise SettingsError(f"Condition {row['name']!r} in {where} has no reason; say why the limit is what it is.")
        return cls(**row)

    def met(self, observed: Any) -> bool | None:
        """Whether the observed value holds; None when an optional value was not observed, False for any other missing value."""
        if observed is None:
            return None if self.optional else False
        if self.op in _ORDER:
            return _number(observed) and _ORDER[self.op](observed, self.limit)
        same = kind(observed) is kind(self.limit) and observed == self.limit
        return same if self.op == "==" else not same and not _nan(observed)

    def margin(self, observed: Any) -> float | None:
        """How far the observed number is on the right side of the limit, in `unit`; below 0 it is broken. None where nothing can be subtracted."""
        if self.op not in _ORDER or not _number(observed):
            return None
        return self.limit - observed if self.op in ("<", "<=") else observed - self.limit

    def entry(self, observed: Any) -> dict[str, Any]:
        """The evidence of this condition: `{name, observed, op, limit, unit, met, margin}`."""
        observed = plain(observed)
        return {"name": self.name, "observed": observed, "op": self.op, "limit": self.limit, "unit": self.unit, "met": self.met(observed),
                "margin": plain(self.margin(observed))}

    def demand(self) -> str:
        """What must hold, as text: `<= 3.0 s`."""
        return f"{self.op} {self.limit} {self.unit}".rstrip()

    def facts(self) -> dict[str, Any]:
        """The row of criteria.toml that says the same; what is not set is left out."""
        row = {name: getattr(self, name) for name in ("name", "op", "limit", "unit", "reason")}
        return row | {name: getattr(self, name) for name in ("optional", "degrades", "parameter") if getattr(self, name)}


def plain(value: Any) -> Any:
    """The value as JSON knows it; a number that is not finite becomes text, so that it meets no limit and survives any parser."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _nan(value: Any) -> bool:
    return value in ("nan", "inf", "-inf") or (isinstance(value, float) and not math.isfinite(value))


def kind(value: Any) -> type:
    """Numbers compare with numbers only: True is not 1."""
    return float if _number(value) else type(value)
