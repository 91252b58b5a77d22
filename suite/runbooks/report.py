"""What an executed runbook shows, read back from its outputs and judged again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import render
from suite.checks.check import not_run
from suite.checks.criteria import Criteria, examine
from suite.checks.result import MIME, SATISFIED, Result
from suite.runbooks.catalog import checks_of
from suite.runbooks.ending import Ending

if TYPE_CHECKING:
    import pandas

RUN_MIME = "application/vnd.suite.run+json"
SMOKE = "Smoke models were used: that the parts work together is shown, the worth of any model or answer is not."
COLUMNS = ["id", "title", "category", "state", "broken", "conditions", "why", "started_at", "ended_at", "proven_red_at"]


@dataclass(frozen=True)
class Report:
    """One executed runbook: `verdict` is pass or fail, `trouble` why it could not run at all, `seconds` the wall time of the execution.

    `ending` is how the kernel ended, `facts` what the runbook's first cell recorded of the stack.
    """

    runbook: str
    verdict: str
    path: Path
    results: tuple[Result, ...]
    seconds: float
    smoke: bool
    line: str
    trouble: str = ""
    mismatches: tuple[str, ...] = field(default=())
    ending: Ending = field(default_factory=Ending, repr=False, compare=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def checks(self) -> pandas.DataFrame:
        """One row per check: id, title, category, state, broken, conditions, why, started_at, ended_at, proven_red_at."""
        import pandas

        rows = [[r.id, r.title, r.category, r.state, r.observed["value"], r.observed["n"], r.why, r.started_at, r.ended_at, r.proven_red_at]
                for r in self.results]
        return pandas.DataFrame(rows, columns=COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"runbook": self.runbook, "verdict": self.verdict, "path": str(self.path), "seconds": self.seconds, "smoke": self.smoke,
                "trouble": self.trouble, "mismatches": list(self.mismatches), "checks": [result.to_dict() for result in self.results]}

    def __repr__(self) -> str:
        rows = [(r.id, r.state, r.title, r.why) for r in self.results]
        lines = [f"{self.line} ({self.seconds:.1f} s)", render.text_table(["check", "state", "title", "why"], rows), str(self.path)]
        return "\n".join([*lines, *([SMOKE] if self.smoke else [])])

    def _repr_html_(self) -> str:
        rows = [(r.id, r.title, r.state, r.why, r.proven_red_at or "never") for r in self.results]
        note = f"{self.seconds:.1f} s · {self.path}" + (f" · {SMOKE}" if self.smoke else "")
        return render.table(["check", "title", "state", "why", "proven red"], rows, title=self.line, note=note)


def verdict_line(name: str, results: Sequence[Result], facts: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the run as a whole passes, and the sentence that says so."""
    open_ones = [result for result in results if result.state not in SATISFIED]
    counts = {state: sum(result.state == state for result in results) for state in dict.fromkeys(result.state for result in results)}
    tally = ", ".join(f"{number} {state}" for state, number in counts.items())
    wrong = "; ".join(facts.get("mismatches") or [])
    ok = not open_ones and not wrong and not facts.get("trouble") and bool(results)
    line = f"{name}: {'PASS' if ok else 'FAIL'}, {tally} of {len(results)}"
    if open_ones and ok is False:
        line += f" (not passed: {', '.join(result.id for result in open_ones)})"
    line += f"; another stack than the one meant: {wrong}" if wrong else ""
    line += f"; {facts['trouble']}" if facts.get("trouble") else ""
    return ok, line + ("; smoke models" if facts.get("smoke") or any(result.smoke for result in results) else "")


def read_report(notebook: Mapping[str, Any], name: str, path: Path, criteria: Criteria, seconds: float, proven: Mapping[str, str],
                trouble: str = "", expected: Mapping[str, str] | None = None) -> Report:
    """The report of an executed notebook: every state computed again, every check that left no record not-run.

    `trouble` is what went wrong with the kernel; `expected` the profile and commit that were demanded, compared again here.
    """
    records, facts = _records(notebook), dict(_facts(notebook))
    criteria = criteria.under(str((facts.get("host") or {}).get("profile", "")))
    results = []
    for check in checks_of(name):
        own = [record for record in records if record.get("id") == check.id]
        if own:
            results.append(_judged(own, criteria))
        else:
            why = trouble or "the executed notebook holds no record of it"
            results.append(not_run(check, criteria[check.id], why, proven.get(check.id)))
    if not facts and checks_of(name):
        trouble = trouble or "The runbook ended before it had found or started a stack."
    facts["trouble"] = trouble or facts.get("trouble", "")
    host = facts.get("host") or {}
    missed = [f"its {key} is {host.get(key)!r}, expected was {value!r}" for key, value in (expected or {}).items()
              if value and not str(host.get(key, "")).startswith(value)]
    facts["mismatches"] = facts.get("mismatches") or missed
    ok, line = verdict_line(name, results, facts)
    smoke = bool(facts.get("smoke")) or any(result.smoke for result in results)
    return Report(name, "pass" if ok else "fail", path, tuple(results), seconds, smoke, line, facts["trouble"], tuple(facts["mismatches"]),
                  facts=facts)


def _judged(own: list[Mapping[str, Any]], criteria: Criteria) -> Result:
    """The last record of a check with its state computed again; what speaks against it is added to its evidence."""
    record = own[-1]
    state, doubts = examine(record, criteria)
    if len(own) > 1 and any(other.get("state") != record.get("state") for other in own):
        doubts.append("the notebook holds two records of this check that differ")
    try:
        result = Result.from_dict(record)
    except (KeyError, TypeError) as error:
        check = {"id": record.get("id"), "title": str(record.get("title", "")), "phase": 0, "category": "", "state": "fail",
                 "observed": {"value": None, "unit": "", "n": 0}, "criterion": {}, "margin": None}
        return Result(**check, evidence=({"name": "doubt", "reason": f"the record is damaged: {error}"},))
    if doubts:
        return replace(result, state="fail", evidence=(*result.evidence, *({"name": "doubt", "reason": doubt} for doubt in doubts)))
    return replace(result, state=state)


def _records(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for value in _outputs(notebook, MIME):
        found += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Mapping)]
    return found


def _facts(notebook: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((value for value in _outputs(notebook, RUN_MIME) if isinstance(value, Mapping)), {})


def _outputs(notebook: Mapping[str, Any], mime: str) -> list[Any]:
    return [output["data"][mime] for cell in notebook.get("cells", []) for output in cell.get("outputs", [])
            if isinstance(output.get("data"), Mapping) and mime in output["data"]]
