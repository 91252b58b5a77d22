"""How far an observed value lies from its limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_UPPER, _LOWER = ("<", "<="), (">", ">=")


def number(value: Any) -> float | None:
    """The value where it is a finite number; True is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def margin(condition: Mapping[str, Any]) -> float | None:
    """What is left before the limit of a recorded condition is reached, in its unit: negative beyond it, None where there is no order."""
    observed, limit = number(condition.get("observed")), number(condition.get("limit"))
    if observed is None or limit is None:
        return None
    if condition.get("op") in _UPPER:
        return limit - observed
    return observed - limit if condition.get("op") in _LOWER else None


def spent(condition: Mapping[str, Any]) -> float | None:
    """The share of the limit that is used up (1 is at the limit, more is beyond); None where that means nothing."""
    if margin(condition) is None:
        return None
    observed, limit = float(condition["observed"]), float(condition["limit"])
    if condition["op"] in _UPPER:
        return observed / limit if limit > 0 and observed >= 0 else None
    return limit / observed if observed > 0 and limit >= 0 else None


def conditions(check: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The judged conditions of a check as results.json holds it."""
    return [item for item in check.get("evidence") or [] if isinstance(item, Mapping) and "op" in item and "met" in item]
