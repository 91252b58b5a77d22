"""Limits of a check that are not those of the release before, as both results recorded them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from suite.checks.condition import Condition
from suite.checks.criteria import Criterion, loosened
from suite.runbooks.margin import conditions


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
    was, now = _demanded(before), _demanded(after)
    if not was.conditions or not now.conditions:
        return []
    laxer = {row.condition for row in loosened({was.id: was}, {was.id: now})}
    first, second = ({row.name: row.demand() for row in each.conditions} for each in (was, now))
    changed = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return [LimitChange(was.id, name, first.get(name, "not demanded"), second.get(name, "no longer demanded"), name in laxer) for name in changed]


def _demanded(check: Mapping[str, Any]) -> Criterion:
    """What was demanded of a check, as far as its record tells: not whether a condition might have been skipped."""
    rows = tuple(Condition(item["name"], item["op"], item["limit"], item["unit"], "as recorded") for item in conditions(check))
    return Criterion(check["id"], "as recorded", rows)
