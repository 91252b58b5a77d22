"""From the executed phases of a release to its results: every state judged once more from the notebooks, then gates, score and verdict."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.checks import criteria as limits
from suite.checks.criteria import Criteria
from suite.checks.drill import grades, proven
from suite.checks.looser import loosened
from suite.checks.result import Result
from suite.errors import SuiteError
from suite.runbooks import archive, disk, facts
from suite.runbooks.catalog import RUNBOOKS
from suite.runbooks.expected import PHASES, absent, planned
from suite.runbooks.gates import load_risks, load_rules
from suite.runbooks.junit import junit
from suite.runbooks.lanes import resting
from suite.runbooks.readiness import Assessment, Source, assess
from suite.runbooks.reassess import INPUTS, inputs
from suite.runbooks.report import Report, read_report
from suite.settings import Settings, package_file

SCHEMA = 1
LOOKED_BACK = 50  # sealed releases that are looked through for the last one of the same profile


@dataclass(frozen=True)
class Case:
    """What the verdict of one release is computed from; `runs` by runbook, `stack` what the stack said of itself at the beginning and at the end."""

    release: str
    stage: str
    directory: Path
    reports: Path
    settings: Settings
    criteria: Criteria
    configuration: Mapping[str, Any]
    runs: Mapping[str, Mapping[str, Any]]
    stack: tuple[Mapping[str, Any], Mapping[str, Any]]
    began: float
    strict: bool = False
    trouble: str = ""


def conclude(case: Case) -> tuple[dict[str, Any], Criteria]:
    """results.json as a table, and the criteria as they held; nothing is written."""
    reports = _reports(case)
    profile, smoke = _profile(case, reports)
    held = case.criteria.under(profile)
    results = _results(case, reports, held)
    checks = planned(check for runbook in PHASES for check in RUNBOOKS.get(runbook, ()))
    known = [check for runbook in PHASES for check in RUNBOOKS.get(runbook, ())]
    graded = grades(case.settings.reports_dir, known, datetime.now(UTC), held)
    looser, unanswered = _looser(case, held, profile)
    host = case.stack[0].get("host") or {}
    found = {name: (str((report.facts.get("host") or {}).get("commit", "")), str((report.facts.get("host") or {}).get("config", "")))
             for name, report in reports.items()}
    source = Source(time.time(), str(case.configuration["commit"]), str(host.get("config", "")), found)
    against = [*unanswered, *_strangers(reports)]
    said = assess(results, checks, stage=case.stage, smoke=smoke, gates=load_rules(), graded=graded, strict=case.strict, source=source,
                  trouble=case.trouble, against=against)
    marks = resting({result.id: result for result in results})
    body = {"schema": SCHEMA, "release": case.release, "stage": case.stage, **_told(said, marks),
            INPUTS: inputs(checks, graded, strict=case.strict, source=source, trouble=case.trouble, against=against),
            "checks": [result.to_dict() for result in results], "runs": [dict(case.runs[name]) for name in PHASES if name in case.runs],
            "risks": _risks(results), "waivers": _waivers(results), "loosened": looser, "rests_on": marks,
            "grades": {name: grade.to_dict() for name, grade in graded.items()}, "strict": case.strict,
            "facts": _facts(case, held, profile, smoke)}
    return body, held


def _reports(case: Case) -> dict[str, Report]:
    """Each executed phase, read back from the notebook that will be sealed."""
    found, host = {}, case.stack[0].get("host") or {}
    expected = {key: str(host.get(key, "")) for key in ("profile", "commit")}
    for name, run in case.runs.items():
        if name in RUNBOOKS and run["path"] and RUNBOOKS[name]:
            notebook = json.loads((case.directory / run["path"]).read_bytes())
            found[name] = read_report(notebook, name, case.directory / run["path"], case.criteria, run["seconds"],
                                      proven(case.settings.reports_dir), run["trouble"], expected)
    return found


def _profile(case: Case, reports: Mapping[str, Report]) -> tuple[str, bool]:
    """Which profile was checked, and whether smoke models answered anywhere in it."""
    hosts = [case.stack[0].get("host") or {}, *((report.facts.get("host") or {}) for report in reports.values())]
    profile = next((str(host["profile"]) for host in hosts if host.get("profile")), case.settings.profile if case.trouble else "")
    return profile, any(host.get("smoke") for host in hosts) or any(report.smoke for report in reports.values())


def _results(case: Case, reports: Mapping[str, Report], held: Criteria) -> list[Result]:
    """One result for each of the checks, in order: the notebook's record judged again, or that it was not run and why."""
    found = {result.id: result for report in reports.values() for result in report.results}
    rows = []
    for check in planned(check for runbook in PHASES for check in RUNBOOKS.get(runbook, ())):
        run = case.runs.get(PHASES[check.phase - 1])
        why = run["trouble"] if run and run["trouble"] else "no runbook of this installation performs it"
        rows.append(found.get(check.id) or absent(check, why, held))
    return rows


def _strangers(reports: Mapping[str, Report]) -> list[str]:
    return [f"{name} checked another stack than the one meant: {'; '.join(report.mismatches)}"
            for name, report in reports.items() if report.mismatches]


def _looser(case: Case, held: Criteria, profile: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What is demanded less than in the last sealed release of this profile, and what of that nobody answers for."""
    day = datetime.now(UTC).date().isoformat()
    for row in archive.releases(case.reports)[::-1][:LOOKED_BACK]:
        try:
            if str((archive.results(row.path).get("facts") or {}).get("profile")) != profile:
                continue
            found = loosened(limits.load(row.path / archive.CRITERIA), held)
        except SuiteError as error:
            return [], [f"whether limits are looser than in {row.path.name} is not known: {error}"]
        return ([one.to_dict() | {"than": row.path.name} for one in found],
                [f"looser than {row.path.name}: {one}" for one in found if not one.waived(day)])
    return [], []


def _told(said: Assessment, marks: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    told = said.to_dict()
    told["not_verified"] = [*told["not_verified"], *(sentence for own in marks.values() for sentence in own)]
    return told


def _risks(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The accepted risks, each with how its checks stand: held, or open because of these."""
    states = {result.id: result.state for result in results}
    rows = []
    for risk in load_risks():
        against = [f"{name} is {states.get(name, 'not-run')}" for name in risk["checks"] if states.get(name) != "pass"]
        state = "open" if against or not risk["checks"] else "held"
        rows.append({**risk, "state": state, "why": "; ".join(against) or ("" if risk["checks"] else "no check lessens it: it is accepted")})
    return rows


def _waivers(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [{"id": result.id, **{key: value for key, value in item.items() if key != "name"}}
            for result in results for item in result.evidence if item.get("name") == "waiver"]


def _facts(case: Case, held: Criteria, profile: str, smoke: bool) -> dict[str, Any]:
    end = case.stack[1]
    head = (end.get("host") or {}).get("audit_head") or []
    return {**case.configuration, "criteria_sha256": held.digest, "models": end.get("models") or {}, "machine": facts.machine(), "profile": profile,
            "smoke": smoke, "started_at": _moment(case.began), "ended_at": _moment(time.time()), "audit_head": str(head[-1]) if head else "",
            "stack": str(end.get("trouble") or "")}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def write(case: Case, body: Mapping[str, Any], held: Criteria) -> None:
    """Write results.json, junit.xml, criteria.toml and evidence into the release's folder. Raises StorageError."""
    seconds = {row["id"]: _seconds(row) for row in body["checks"]}
    shown = [row | {"why": Result.from_dict(row).why} for row in body["checks"]]
    uncounted = body["weak"] if case.strict else []
    gates = package_file("runbooks/gates.toml").read_text(encoding="utf-8")
    ends = facts.without_places({"at_the_beginning": case.stack[0], "at_the_end": case.stack[1]})
    files = {archive.RESULTS: _json(body), archive.CRITERIA: held.to_toml(), archive.GATES: gates,
             "junit.xml": junit(case.release, shown, seconds, uncounted), "evidence/packages.txt": "\n".join(facts.packages()) + "\n",
             "evidence/settings.json": _json(facts.without_places(case.settings.values())), "evidence/stack.json": _json(ends),
             **{f"evidence/{row['id']}.json": _json(row["evidence"]) for row in body["checks"] if row["state"] != "not-run"}}
    try:
        (case.directory / "evidence").mkdir(mode=0o700, exist_ok=True)
        for name, text in files.items():
            disk.write_whole(case.directory / name, text.encode())
    except OSError as error:
        raise disk.unwritable(case.directory, error) from error


def _seconds(row: Mapping[str, Any]) -> float:
    try:
        return max(0.0, (datetime.fromisoformat(row["ended_at"]) - datetime.fromisoformat(row["started_at"])).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
