"""A check as data, and how it is performed: it always ends in a result, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from suite.checks.condition import plain
from suite.checks.criteria import UNIT, Criterion
from suite.checks.fault import Fault
from suite.checks.result import Result
from suite.checks.target import Target


@dataclass
class Observation:
    """What a check saw: values by condition name, free evidence, or the reason why it does not apply."""

    values: dict[str, Any] = field(default_factory=dict)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    not_applicable: str = ""

    def note(self, name: str, **facts: Any) -> None:
        """Keep a free piece of evidence."""
        self.evidence.append({"name": name, **facts})


@dataclass(frozen=True)
class Check:
    """One of the 33: its limits live in criteria.toml under the same id; `weight` is 3 for loss and security, 2 for function, 1 for hygiene."""

    id: str
    title: str
    phase: int
    category: str
    weight: int
    fault: Fault
    function: Callable[[Target], Observation]


def perform(check: Check, target: Target, criterion: Criterion, proven_red_at: str | None = None) -> Result:
    """Run the check against the target; a check that raises is a fail with its message."""
    started, seen = now(), Observation()
    try:
        seen = check.function(target)
    except Exception as error:  # noqa: BLE001 - the edge where any failure of a check becomes its result
        seen.note("error", reason=f"{type(error).__name__}: {error}"[:1000])
    if seen.not_applicable and criterion.may_not_apply:
        return _result(check, "not-applicable", criterion, {}, [{"name": "not-applicable", "reason": seen.not_applicable}], started, proven_red_at)
    ended = now()
    state = criterion.state({name: plain(value) for name, value in seen.values.items()}, ended[:10])
    extra = [plain(item) for item in seen.evidence]
    if state == "waived" and criterion.waiver is not None:
        extra.append({"name": "waiver", **criterion.waiver.to_dict()})
    return _result(check, state, criterion, seen.values, extra, started, proven_red_at)


def not_run(check: Check, criterion: Criterion, reason: str, proven_red_at: str | None = None) -> Result:
    """The result of a check that did not happen."""
    return _result(check, "not-run", criterion, {}, [{"name": "not-run", "reason": reason}], now(), proven_red_at)


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _result(check: Check, state: str, criterion: Criterion, values: Mapping[str, Any], extra: list[dict[str, Any]], started: str,
            proven_red_at: str | None) -> Result:
    happened = state not in ("not-run", "not-applicable")
    entries = criterion.entries(values) if happened else []
    broken = sum(entry["met"] is False for entry in entries)
    judged = sum(entry["met"] is not None for entry in entries)
    observed = {"value": broken if happened else None, "unit": UNIT, "n": judged}
    return Result(check.id, check.title, check.phase, check.category, state, observed, criterion.to_dict(), -float(broken) if happened else None,
                  tuple(entries + extra), started, now(), proven_red_at)
