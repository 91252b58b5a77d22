"""Which limits are looser than those of the last release: each has to be answered for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.checks.condition import Condition, kind
from suite.checks.waiver import Waiver

if TYPE_CHECKING:
    from suite.checks.criteria import Criterion

_ABOVE, _BELOW = ("<", "<="), (">", ">=")


@dataclass(frozen=True)
class Loosened:
    """One demand that has become looser: of a condition, or of the whole check when `condition` is empty. `old` and `new` are what was and is
    demanded, as text; `new` is empty for what is demanded no longer. `waiver` is who answers for the looser limits of this check, if anybody.
    """

    id: str
    condition: str
    old: str
    new: str
    waiver: Waiver | None = None

    def waived(self, day: str) -> bool:
        """Whether somebody answers for it on a day given as YYYY-MM-DD."""
        return self.waiver is not None and self.waiver.holds(day)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"id": self.id, "condition": self.condition, "old": self.old, "new": self.new,
                "waiver": None if self.waiver is None else self.waiver.to_dict()}

    def __str__(self) -> str:
        what, who = f"{self.id} {self.condition}".rstrip(), self.waiver
        answer = f"answered for by {who.owner} until {who.expiry}: {who.reason}" if who else "nobody answers for it"
        return f"{what}: was {self.old}, is {self.new or 'demanded no longer'} ({answer})"


def loosened(old: Mapping[str, Criterion], new: Mapping[str, Criterion]) -> list[Loosened]:
    """What `new` demands less than `old`, by check: limits, conditions and checks that are gone, conditions that may be skipped, lower weights.

    Compare both as they hold under the same profile. A limit in another unit, or of another kind, counts as looser: nobody can say that it is not.
    """
    found = []
    for id, was in old.items():
        if id not in new:
            found.append(Loosened(id, "", "checked", ""))
            continue
        now = new[id]
        there = {condition.name: condition for condition in now.conditions}
        for condition in was.conditions:
            found += [Loosened(id, condition.name, one, other, now.waivers.looser) for one, other in _changes(condition, there.get(condition.name))]
        if now.may_not_apply and not was.may_not_apply:
            found.append(Loosened(id, "", "must apply", "may not apply", now.waivers.looser))
        if now.weight < was.weight:
            found.append(Loosened(id, "", f"weight {was.weight}", f"weight {now.weight}", now.waivers.looser))
    return found


def _changes(was: Condition, now: Condition | None) -> list[tuple[str, str]]:
    if now is None:
        return [(was.demand(), "")]
    found = [(was.demand(), now.demand())] if _laxer(was, now) else []
    if now.optional and not was.optional:
        found.append(("must be observed", "may be skipped"))
    if now.degrades and not was.degrades:
        found.append(("fails", "degrades"))
    return found


def _laxer(was: Condition, now: Condition) -> bool:
    """Whether some value could meet the new demand that did not meet the old one."""
    if was.unit != now.unit or kind(was.limit) is not kind(now.limit):
        return True
    if (was.op, was.limit) == (now.op, now.limit):
        return False
    if now.op == "==":
        return was.met(now.limit) is not True
    for side, sign in ((_ABOVE, 1), (_BELOW, -1)):
        if was.op in side and now.op in side:
            further = sign * (now.limit - was.limit)
            return further > 0 or (further == 0 and was.op == side[0] and now.op == side[1])
    return was.op != "!=" or now.op == "!=" or now.met(was.limit) is not False
