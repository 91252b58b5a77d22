"""A made release: five notebooks as papermill leaves them, with records of all 33 checks under the packaged criteria, and what lies beside."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.checks import criteria as limits
from suite.checks.check import Check, Observation, not_run, perform
from suite.checks.condition import Condition
from suite.checks.criteria import Criterion
from suite.checks.fault import CLOSED_PORT
from suite.checks.result import MIME, Result
from suite.checks.target import Target
from suite.runbooks.archive import PARTIAL
from suite.runbooks.digest import of_file, of_json
from suite.runbooks.expected import IDS, PHASES, Planned, category, planned
from suite.runbooks.gates import load_rules
from suite.runbooks.readiness import Source, assess
from suite.runbooks.reassess import INPUTS, inputs
from suite.settings import package_file

BEGUN, ENDED = "2026-11-29T01:00:00.000+00:00", "2026-11-29T01:00:01.000+00:00"
INVENTED = """
[{0!r}]
reason = "Made for {0}."
weight = 2
conditions = [{{ name = "seconds", op = "<=", limit = 3.0, unit = "s", reason = "Made." }}]
"""


@dataclass(frozen=True)
class Proven:
    """The grade of a check that was drilled."""

    state: str = "proven"
    why: str = ""


@dataclass(frozen=True)
class Made:
    """A release that is ready to be sealed: its folder in the archive, and the folder of the runbooks that it was made from."""

    directory: Path
    runbooks: Path


def make_release(reports: Path, runbooks: Path, name: str = "20261129T010000Z-R1", release: str = "R1", *, broken: Iterable[str] = (),
                 skipped: Iterable[str] = (), audit_head: str = "a" * 64) -> Made:
    """The folder `reports/.<name>.partial`: the checks in `broken` fail, those in `skipped` were not run, all others pass."""
    directory = reports / f".{name}{PARTIAL}"
    (directory / "evidence").mkdir(parents=True)
    (directory / "criteria.toml").write_text(_criteria(), encoding="utf-8")
    criteria = limits.load(directory / "criteria.toml")
    with closing(Target({})) as target:
        results = [_result(target, one, criteria[one.id], one.id in tuple(broken), one.id in tuple(skipped)) for one in planned()]
    runs = []
    for phase, runbook in enumerate(PHASES, 1):
        own = [result for result in results if result.phase == phase]
        source = _source(runbooks, runbook, [result.id for result in own])
        (directory / f"{runbook}.ipynb").write_text(json.dumps(_executed(source, own), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (directory / f"{runbook}.html").write_text(f"<!doctype html><title>{runbook}</title><p>{len(own)} checks</p>\n", encoding="utf-8")
        (directory / "evidence" / f"{runbook}.json").write_text(json.dumps({"checks": [result.id for result in own]}), encoding="utf-8")
        runs.append({"runbook": runbook, "state": "finished", "seconds": 1.0, "trouble": "", "path": f"{runbook}.ipynb", "started_at": BEGUN,
                     "ended_at": ENDED, "cells": [{"index": 3, "title": result.title, "seconds": 0.1} for result in own], "crash": None})
    shutil.copyfile(package_file("runbooks/gates.toml"), directory / "gates.toml")
    facts, grades = _facts(directory, audit_head), {one: Proven() for one in IDS}
    source = Source(time.time(), facts["commit"], facts["settings_sha256"])
    found = assess(results, planned(), stage="dev", smoke=True, gates=load_rules(directory / "gates.toml"), graded=grades, source=source).to_dict()
    body = {"schema": 1, "release": release, "stage": "dev", **{key: found[key] for key in ("verdict", "line", "score", "gates", "not_verified")},
            "checks": [result.to_dict() for result in results], "runs": runs, "risks": [], "waivers": [], "facts": facts,
            INPUTS: inputs(planned(), grades, strict=False, source=source)}
    (directory / "results.json").write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (directory / "junit.xml").write_text(f'<testsuites tests="{len(results)}"/>\n', encoding="utf-8")
    (directory / "report.html").write_text(f"<!doctype html><title>{release}</title><p>{found['line']}</p>\n", encoding="utf-8")
    return Made(directory, runbooks)


def satisfied(condition: Condition) -> Any:
    """A value that the condition holds for."""
    if condition.op in ("==", "<=", ">="):
        return condition.limit
    if condition.op == "!=":
        return not condition.limit if isinstance(condition.limit, bool) else f"not {condition.limit}" if isinstance(condition.limit, str) \
            else condition.limit + 1
    return condition.limit + (1 if condition.op == ">" else -1)


def _criteria() -> str:
    packaged = package_file("runbooks/criteria.toml").read_text(encoding="utf-8")
    known = limits.load()
    return packaged + "".join(INVENTED.format(name) for name in IDS if name not in known)


def _result(target: Target, one: Planned, criterion: Criterion, broken: bool, skipped: bool) -> Result:
    def look(_: Target, seen: Observation) -> None:
        seen.values.update({condition.name: None if broken else satisfied(condition) for condition in criterion.conditions})
        if broken:
            seen.note("error", reason="made to fail")
        seen.note("smoke", observed=True, reason="made")

    check = Check(one.id, one.title, one.phase, category(one.id), one.weight, CLOSED_PORT, look)
    if skipped:
        return not_run(check, criterion, "its cell was not executed")
    return perform(check, target, criterion, "2026-11-01T00:00:00.000+00:00")


def _source(runbooks: Path, runbook: str, checks: list[str]) -> dict[str, Any]:
    """The runbook as it is before it is executed, kept in the folder of runbooks."""
    cells = [_cell("markdown", f"# {runbook}\n\n> Made."), _cell("code", 'budget_s: float = 120.0\ncriteria: str = ""', "parameters"),
             _cell("code", f'run = suite.runbook("{runbook}")\nrun')]
    for check in checks:
        cells += [_cell("markdown", f"## {check} · Made"), _cell("code", f'run.check("{check}")')]
    notebook = {"cells": [{**cell, "id": f"cell-{number:02d}"} for number, cell in enumerate(cells)], "metadata": {"kernelspec": {"name": "python3"}},
                "nbformat": 4, "nbformat_minor": 5}
    runbooks.mkdir(parents=True, exist_ok=True)
    (runbooks / f"{runbook}.ipynb").write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")
    return notebook


def _executed(source: Mapping[str, Any], results: list[Result]) -> dict[str, Any]:
    """What papermill makes of it: a cell of injected parameters, counts, times, and one record in each check's cell."""
    shown = {f'run.check("{result.id}")': result for result in results}
    notebook = json.loads(json.dumps(source))
    place = next(number for number, cell in enumerate(notebook["cells"]) if "parameters" in cell["metadata"].get("tags", []))
    notebook["cells"].insert(place + 1, {**_cell("code", "# Parameters\nbudget_s = 120.0\n", "injected-parameters"), "id": "made-00"})
    for number, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
        cell["execution_count"] = number
        cell["metadata"]["papermill"] = {"duration": 0.1, "start_time": BEGUN, "end_time": ENDED, "status": "completed"}
        result = shown.get(cell["source"])
        if result is not None:
            data = {MIME: result.to_dict(), "text/html": result._repr_html_(), "text/plain": repr(result)}
            cell["outputs"] = [{"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}]
    notebook["metadata"]["papermill"] = {"duration": 1.0, "start_time": BEGUN, "end_time": ENDED, "parameters": {"budget_s": 120.0}}
    return notebook


def _cell(kind: str, source: str, *tags: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {"tags": list(tags)} if tags else {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _facts(directory: Path, audit_head: str) -> dict[str, Any]:
    return {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty_diff_sha256": "", "packages_sha256": of_json("packages"),
            "criteria_sha256": of_file(directory / "criteria.toml"), "settings_sha256": of_json("settings"), "models": {"smoke": of_json("smoke")},
            "machine": {"cpu": "made", "cores": 2}, "python": "3.12", "suite": "0.7.0", "started_at": BEGUN, "ended_at": ENDED, "seconds": 5.0,
            "profile": "smoke", "smoke": True, "audit_head": audit_head}
