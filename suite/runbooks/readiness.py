"""Whether a release may go out: category scores, hard gates that no percentage outvotes, and a verdict that says what was not verified."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from suite.checks.result import SATISFIED, Result
from suite.errors import BadRequest
from suite.runbooks.expected import CATEGORIES, Planned, absent
from suite.runbooks.gates import STAGES, Excuse, Gate, Rules

READY, NOT_READY, COULD_NOT_RUN, REHEARSAL = "READY", "NOT READY", "COULD NOT RUN", "REHEARSAL"
EXIT = {READY: 0, NOT_READY: 1, COULD_NOT_RUN: 2, REHEARSAL: 3}
SHARE = {"pass": 1.0, "degraded": 0.5, "fail": 0.0, "not-run": 0.0, "waived": 0.0}  # what does not apply leaves the denominator
_WORST = ("fail", "not-run", "degraded", "waived", "pass", "not-applicable")
SMOKE = "Whether any model answers well: smoke models prove that the parts work together, so this can be a rehearsal at most."
CLOCK_SECONDS = 5.0  # by how much a record may lie in the future before the clock is no longer believed


class Counted(Protocol):
    """What is asked of a check: which it is, what it counts towards, and how much (suite.checks.check.Check, Planned)."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def phase(self) -> int: ...
    @property
    def category(self) -> str: ...
    @property
    def weight(self) -> int: ...


class Graded(Protocol):
    """How a check was proven (suite.checks.drill.Grade): `state` is proven or weak."""

    @property
    def state(self) -> str: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True)
class Source:
    """What the evidence must be of: the moment of the verdict (UTC seconds), this commit and this configuration, and what each run found."""

    now: float
    commit: str = ""
    config: str = ""
    found: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # by runbook: commit and configuration of the stack that was checked


@dataclass(frozen=True)
class Assessment:
    """The verdict and all that it follows from. Scores are shares from 0 to 1; None where nothing could be scored."""

    verdict: str
    line: str
    categories: Mapping[str, Mapping[str, Any]]
    lowest: float | None
    mean: float | None
    gates: tuple[Mapping[str, Any], ...]
    blocking: tuple[str, ...]
    excused: tuple[str, ...]
    weak: tuple[str, ...]
    not_verified: tuple[str, ...]

    @property
    def score(self) -> dict[str, Any]:
        """`{"categories": {name: {score, state, weight, checks}}, "lowest", "mean"}`."""
        return {"categories": {name: dict(row) for name, row in self.categories.items()}, "lowest": self.lowest, "mean": self.mean}

    def to_dict(self) -> dict[str, Any]:
        """JSON form: verdict, line, score, gates, blocking, excused, weak, not_verified."""
        return {"verdict": self.verdict, "line": self.line, "score": self.score, "gates": [dict(gate) for gate in self.gates],
                "blocking": list(self.blocking), "excused": list(self.excused), "weak": list(self.weak), "not_verified": list(self.not_verified)}


def assess(results: Iterable[Result], checks: Sequence[Counted], *, stage: str, smoke: bool, gates: Rules, graded: Mapping[str, Graded],
           strict: bool = False, source: Source | None = None, trouble: str = "", against: Sequence[str] = ()) -> Assessment:
    """The verdict over `checks`, of which each without a result is not-run; `graded` says which of them were proven able to fail.

    With `strict` a weak check's pass counts nothing. `trouble` is why the run as a whole broke off, `against` what else forbids the release.
    Raises BadRequest for an unknown stage.
    """
    if stage not in STAGES:
        raise BadRequest(f"The stage is {stage!r} but must be one of {', '.join(STAGES)}.")
    found = _by_check(results, checks)
    source = source or Source(time.time())
    weak = tuple(check.id for check in checks if found[check.id].state == "pass" and _weak(graded, check.id))
    earned = {name: "not-run" if strict and name in weak else result.state for name, result in found.items()}
    categories = {name: _category([check for check in checks if check.category == name], earned) for name in _categories(checks)}
    scores = [row["score"] for row in categories.values() if row["score"] is not None]
    lowest, mean = (min(scores), sum(scores) / len(scores)) if scores else (None, None)
    excused = tuple(name for name, excuse in gates.excuses.items() if smoke and name in found and _excused(found[name], excuse))
    judged = tuple(_gate(gate, found, weak if strict else (), source, gates.seconds) for gate in gates.gates)
    blocking = (*_blocking(found, earned, categories, judged, excused, gates.floor[stage], lowest, smoke), *against)
    verdict = _verdict(found, blocking, smoke, trouble)
    words = tuple(_not_verified(checks, found, categories, judged, weak, strict, graded, smoke, gates))
    return Assessment(verdict, _line(verdict, stage, lowest, mean, categories, blocking, excused, gates, trouble), categories, lowest, mean, judged,
                      blocking, excused, weak, words)


def _by_check(results: Iterable[Result], checks: Sequence[Counted]) -> dict[str, Result]:
    """One result per check: the worst where there are several."""
    found: dict[str, Result] = {}
    for result in results:
        present = found.get(result.id)
        if present is None or _WORST.index(result.state) < _WORST.index(present.state):
            found[result.id] = result
    return {check.id: found.get(check.id) or absent(Planned(check.id, check.title, check.phase, check.category, check.weight),
                                                    "no record of it was found") for check in checks}


def _categories(checks: Sequence[Counted]) -> list[str]:
    return [*CATEGORIES, *dict.fromkeys(check.category for check in checks if check.category not in CATEGORIES)]


def _category(members: Sequence[Counted], earned: Mapping[str, str]) -> dict[str, Any]:
    counted = [check for check in members if earned[check.id] != "not-applicable"]
    weight = sum(check.weight for check in counted)
    score = sum(check.weight * SHARE[earned[check.id]] for check in counted) / weight if weight else None
    return {"score": score, "state": "unverified" if score is None else "scored", "weight": weight, "checks": [check.id for check in members]}


def _weak(graded: Mapping[str, Graded], name: str) -> bool:
    return name not in graded or graded[name].state != "proven"


def _excused(result: Result, excuse: Excuse) -> bool:
    reasons = [str(item.get("reason")) for item in result.evidence if item.get("name") == result.state]
    return result.state in excuse.states and any(excuse.says in reason for reason in reasons)


def _gate(gate: Gate, found: Mapping[str, Result], uncounted: Sequence[str], source: Source, seconds: float) -> dict[str, Any]:
    """Passed, failed, or not-run where nothing failed but something did not happen; what does not apply has not happened here."""
    said = [_evidence(found, source, seconds)] if gate.evidence else []
    said += [_of_check(found.get(name), name, gate.conditions.get(name, ()), name in uncounted) for name in gate.checks]
    wrong = [why for state, why in said if state == "fail"]
    missing = [why for state, why in said if state == "not-run"]
    state = "fail" if wrong else "not-run" if missing else "pass"
    return {"name": gate.name, "title": gate.title, "state": state, "checks": list(gate.checks), "why": "; ".join(wrong + missing)}


def _of_check(result: Result | None, name: str, conditions: Sequence[str], uncounted: bool) -> tuple[str, str]:
    if result is None or result.state in ("not-run", "not-applicable"):
        reason = result.why if result is not None else "no record of it was found"
        return "not-run", f"{name} is {result.state if result else 'not-run'} ({reason})"
    if uncounted:
        return "fail", f"{name} passed, but was not proven able to fail"
    if not conditions:
        return ("pass", "") if result.state == "pass" else ("fail", f"{name} is {result.state}")
    if any(item.get("name") in ("doubt", "error") for item in result.evidence):
        return "fail", f"{name} is {result.state} ({result.why})"
    held = {item["name"]: item["met"] for item in result.conditions}
    broken = [condition for condition in conditions if held.get(condition) is not True]
    return ("fail", f"{name} does not hold {', '.join(broken)}") if broken else ("pass", "")


def _evidence(found: Mapping[str, Result], source: Source, seconds: float) -> tuple[str, str]:
    """Whether every record is young enough, not of the future, and of the commit and configuration that the release is about."""
    doubts = []
    for name, result in found.items():
        if result.state == "not-run":
            continue  # there is no evidence that could be too old; the check stands against the release by itself
        began, ended = _moment(result.started_at), _moment(result.ended_at)
        if began is None or ended is None:
            doubts.append(f"{name} does not say when it was done")
        elif ended < began or ended > source.now + CLOCK_SECONDS:
            doubts.append(f"{name} ended at {result.ended_at}, before it began or in the future: a clock was set back")
        elif source.now - began > seconds:
            doubts.append(f"{name} was begun at {result.started_at}, more than {seconds / 3600:g} h ago")
    for runbook, (commit, config) in source.found.items():
        if commit != source.commit:
            doubts.append(f"{runbook} checked commit {commit or 'not known'}, the release is of {source.commit or 'not known'}")
        if config != source.config:
            doubts.append(f"{runbook} checked a stack with another configuration")
    if not source.commit:
        doubts.append("nobody knows which commit this is: it is no git checkout")
    if "-dirty" in source.commit:
        doubts.append(f"the tree of commit {source.commit} was changed, so no commit is what was checked")
    if doubts:
        return "fail", "; ".join(doubts[:4]) + (f"; and {len(doubts) - 4} more" if len(doubts) > 4 else "")
    happened = any(result.state != "not-run" for result in found.values())
    return ("pass", "") if happened else ("not-run", "there is no evidence")


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, TypeError):
        return None


def _blocking(found: Mapping[str, Result], earned: Mapping[str, str], categories: Mapping[str, Mapping[str, Any]],
              judged: Sequence[Mapping[str, Any]], excused: Sequence[str], floor: float, lowest: float | None, smoke: bool) -> Iterable[str]:
    """Every sentence that stands against the release; on smoke without what nothing there can make pass."""
    for name, state in earned.items():
        if state not in SATISFIED and name not in excused:
            yield f"{name} is {found[name].state}" + (", but weak" if found[name].state == "pass" else "")
    for gate in judged:
        only_excused = gate["state"] == "not-run" and gate["checks"] and set(gate["checks"]) <= set(excused)
        if gate["state"] != "pass" and not only_excused:
            yield f"gate {gate['name']}: {gate['why']}"
    for name, row in categories.items():
        if row["state"] == "unverified" and not (smoke and set(row["checks"]) <= set(excused) and row["checks"]):
            yield f"category {name} is unverified"
    if lowest is not None and lowest < floor and not smoke:
        yield f"the lowest category has {lowest:.0%}, less than {floor:.0%}"


def _verdict(found: Mapping[str, Result], blocking: Sequence[str], smoke: bool, trouble: str) -> str:
    if trouble or all(result.state == "not-run" for result in found.values()):
        return COULD_NOT_RUN
    return NOT_READY if blocking else REHEARSAL if smoke else READY


def _line(verdict: str, stage: str, lowest: float | None, mean: float | None, categories: Mapping[str, Mapping[str, Any]],
          blocking: Sequence[str], excused: Sequence[str], gates: Rules, trouble: str) -> str:
    """One sentence for people."""
    least = [name for name, row in categories.items() if row["score"] is not None and row["score"] == lowest]
    share = f"lowest category {lowest:.0%} ({', '.join(least)}), mean {mean:.0%}" if lowest is not None else "nothing could be scored"
    words = [f"{verdict} for {stage}: {share}", *([trouble] if trouble else [])]
    words += ["against it: " + "; ".join(blocking[:6]) + (f"; and {len(blocking) - 6} more" if len(blocking) > 6 else "")] if blocking else []
    words += [f"{name} could not pass here: {gates.excuses[name].why}" for name in excused]
    return "; ".join(words)


def _not_verified(checks: Sequence[Counted], found: Mapping[str, Result], categories: Mapping[str, Mapping[str, Any]],
                  judged: Sequence[Mapping[str, Any]], weak: Sequence[str], strict: bool, graded: Mapping[str, Graded], smoke: bool,
                  gates: Rules) -> Iterable[str]:
    """What this release check does not show, sentence by sentence."""
    if smoke:
        yield SMOKE
    for check in checks:
        result = found[check.id]
        if result.state in ("not-run", "not-applicable", "waived"):
            yield f"{check.id} {check.title}: {result.state} ({result.why})"
    for name in weak:
        why = graded[name].why if name in graded else "it was never drilled"
        yield f"{name} passed, but nobody knows that it can fail: {why}" + (" (it counts nothing)" if strict else "")
    for gate in judged:
        if gate["state"] == "not-run":
            yield f"Gate {gate['name']}, {gate['title']}: {gate['why']}"
    for name, row in categories.items():
        if row["state"] == "unverified":
            yield f"Category {name}: nothing in it applied or was there, so it has no share"
    yield from gates.beyond
