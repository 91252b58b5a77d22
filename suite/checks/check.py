"""A check as data, and how it is performed: it always ends in a result, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from suite.checks.condition import plain
from suite.checks.criteria import UNIT, Criterion, Judgement
from suite.checks.fault import Fault, Stack
from suite.checks.result import Result
from suite.checks.target import Target


@dataclass
class Observation:
    """What a check saw: values by condition name, free evidence, or the reason why it does not apply.

    `not_run`: the reason why it could not be performed, for want of something that is no part of the stack.
    """

    values: dict[str, Any] = field(default_factory=dict)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    not_applicable: str = ""
    not_run: str = ""

    def note(self, name: str, **facts: Any) -> None:
        """Keep a free piece of evidence."""
        self.evidence.append({"name": name, **facts})


@dataclass(frozen=True)
class Check:
    """One of the 33: its limits live in criteria.toml under the same id; `weight` is 3 for loss and security, 2 for function, 1 for hygiene.

    `function` writes what it sees into the Observation as it goes, so that nothing is lost when it raises. A drill demands red under `fault` and
    under each of the `others`; `prepare` gives its throw-away stack what the check needs besides a stack.
    """

    id: str
    title: str
    phase: int
    category: str
    weight: int
    fault: Fault
    function: Callable[[Target, Observation], None]
    others: tuple[Fault, ...] = ()
    prepare: Callable[[Stack, Target], None] | None = None


def perform(check: Check, target: Target, criterion: Criterion, proven_red_at: str | None = None) -> Result:
    """Run the check against the target; a check that raises is a fail with its message, and keeps what it had seen by then."""
    started, seen, raised = now(), Observation(), False
    try:
        check.function(target, seen)
    except Exception as error:  # noqa: BLE001 - the edge where any failure of a check becomes its result
        raised = True
        seen.note("error", reason=f"{type(error).__name__}: {error}"[:1000])
    if seen.not_applicable and criterion.may_not_apply and not raised:
        evidence = [{"name": "not-applicable", "reason": seen.not_applicable}]
        return _result(check, Judgement("not-applicable", 0, 0), criterion, evidence, started, proven_red_at)
    extra = [plain(item) for item in seen.evidence]
    if seen.not_run and not raised:
        evidence = [{"name": "not-run", "reason": seen.not_run}, *extra]
        return _result(check, Judgement("not-run", 0, 0), criterion, evidence, started, proven_red_at)
    entries, day = criterion.entries(seen.values), now()[:10]
    values = {entry["name"]: entry["observed"] for entry in entries}
    judged = criterion.judge(values, raised, day)
    if judged.broken:
        extra += criterion.waived(values, day)
    return _result(check, judged, criterion, entries + extra, started, proven_red_at)


def not_run(check: Check, criterion: Criterion, reason: str, proven_red_at: str | None = None) -> Result:
    """The result of a check that did not happen."""
    return _result(check, Judgement("not-run", 0, 0), criterion, [{"name": "not-run", "reason": reason}], now(), proven_red_at)


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _result(check: Check, judged: Judgement, criterion: Criterion, evidence: list[dict[str, Any]], started: str,
            proven_red_at: str | None) -> Result:
    happened = judged.state not in ("not-run", "not-applicable")
    observed = {"value": judged.broken if happened else None, "unit": UNIT, "n": judged.judged}
    return Result(check.id, check.title, check.phase, check.category, judged.state, observed, criterion.to_dict(),
                  0.0 - judged.broken if happened else None, tuple(evidence), started, now(), proven_red_at)
