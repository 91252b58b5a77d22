"""Limits of a check that are not those of the release before, as both results recorded them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from suite.runbooks.margin import conditions, number

_UPPER, _LOWER = ("<", "<="), (">", ">=")


@dataclass(frozen=True)
class LimitChange:
    """One condition whose demand changed; `looser` when something could meet it now that did not before, or nobody can say that it could not."""

    check: str
    condition: str
    before: str
    after: str
    looser: bool


def changed_limits(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[LimitChange]:
    """The conditions of one check that are demanded otherwise, or no longer; nothing where one of the two was not judged."""
    first, second = ({item["name"]: item for item in conditions(check)} for check in (before, after))
    if not first or not second:
        return []
    found = []
    for name, item in first.items():
        now = second.get(name)
        if now is None:
            found.append(LimitChange(before["id"], name, _demand(item), "no longer demanded", True))
        elif _key(item) != _key(now):
            found.append(LimitChange(before["id"], name, _demand(item), _demand(now), _looser(item, now)))
    found += [LimitChange(after["id"], name, "not demanded", _demand(item), False) for name, item in second.items() if name not in first]
    return found


def _key(item: Mapping[str, Any]) -> tuple[Any, ...]:
    return item["op"], type(item["limit"]) is bool, item["limit"], item["unit"]


def _demand(item: Mapping[str, Any]) -> str:
    return f"{item['op']} {item['limit']} {item['unit']}".rstrip()


def _looser(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    old, new = number(was["limit"]), number(now["limit"])
    if old is None or new is None or was["unit"] != now["unit"]:
        return True
    for side, sign in ((_UPPER, 1.0), (_LOWER, -1.0)):
        if was["op"] in side and now["op"] in side:
            further = sign * (new - old)
            return further > 0 or (further == 0 and was["op"] == side[0] and now["op"] == side[1])
    return True
