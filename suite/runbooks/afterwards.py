"""Seal what plain papermill wrote: one executed runbook, archived afterwards, which is marked as such."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.checks import criteria as limits
from suite.errors import BadRequest, NotFound
from suite.runbooks import disk, statement
from suite.runbooks.archive import CRITERIA, GATES, PARTIAL, RESULTS
from suite.runbooks.catalog import checks_of
from suite.runbooks.digest import cells, text
from suite.runbooks.expected import absent, planned
from suite.runbooks.final import write_html, write_report
from suite.runbooks.gates import load_rules
from suite.runbooks.parameters import parameters_of
from suite.runbooks.readiness import Source, assess
from suite.runbooks.reassess import INPUTS, inputs
from suite.runbooks.recompute import counts
from suite.runbooks.report import RUN_MIME, read_report
from suite.runbooks.seal import Sealed, seal
from suite.runbooks.sign import SigningKey
from suite.settings import package_file

ALONE = "this archive holds one runbook, executed by plain papermill and sealed afterwards"
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")


def seal_notebook(notebook: Path, reports: Path, key: SigningKey, release: str = "", stage: str = "dev",
                  waivers: str | Path | None = None) -> Sealed:
    """Archive and seal one executed runbook; `release` is its name in the archive, by default the file's, `waivers` the file of those that held.

    Raises BadRequest for a file that is no executed runbook of ours, StorageError when the archive cannot be written.
    """
    body, facts = _executed(notebook)
    name = str(facts["runbook"])
    release = release or notebook.name.removesuffix(".ipynb")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        reports.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = _fresh(reports.absolute(), f"{stamp}-{_SAFE.sub('-', release).strip('.-') or 'release'}")
        try:
            criteria = _criteria(body, str(facts.get("profile") or ""), waivers, folder / CRITERIA)
            shutil.copyfile(notebook, folder / f"{name}.ipynb")
            results = _results(body, name, folder / f"{name}.ipynb", criteria, facts, release, stage)
            disk.write_whole(folder / RESULTS, (json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
            write_html(folder / f"{name}.ipynb")
            write_report(results, folder)
            return seal(folder, reports, key, sealed_as=statement.AFTERWARDS)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise disk.unwritable(reports, error) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRequest(f"{notebook} holds records that cannot be read ({type(error).__name__}: {str(error)[:80]}); name what papermill wrote."
                         ) from error


def _executed(file: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    try:
        body = json.loads(file.read_bytes())
    except OSError as error:
        raise BadRequest(f"The notebook {file} cannot be read ({error.strerror}); name what papermill wrote.") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{file} is no notebook ({type(error).__name__}: {str(error)[:100]}); name what papermill wrote, whole.") from error
    if not _shaped(body):
        raise BadRequest(f"{file} is no notebook: it has no cells as a notebook has them; name what papermill wrote.")
    found = [output["data"][RUN_MIME] for cell in cells(body) for output in cell.get("outputs", []) if RUN_MIME in output.get("data", {})]
    if not found or not isinstance(found[0], Mapping) or "runbook" not in found[0]:
        raise BadRequest(f"{file} is no executed runbook of this suite: no cell of it holds the record of a run; execute one of runbooks/ first.")
    try:
        checks_of(str(found[0]["runbook"]))
    except NotFound as error:
        raise BadRequest(f"{file} is an execution of another runbook: {error}") from error
    return body, found[0]


def _shaped(body: Any) -> bool:
    """Whether it has the shape of a notebook, as far as it is read here."""
    if not isinstance(body, dict) or not isinstance(body.get("cells"), list) or not isinstance(body.get("metadata", {}), dict):
        return False
    for cell in body["cells"]:
        if not isinstance(cell, dict) or not isinstance(cell.get("metadata", {}), dict) or not isinstance(cell.get("outputs", []), list):
            return False
        if not all(isinstance(output, dict) and isinstance(output.get("data", {}), dict) for output in cell.get("outputs", [])):
            return False
    return True


def _fresh(reports: Path, name: str) -> Path:
    for number in range(1, 1000):
        folder = reports / f".{name}{'' if number == 1 else f'-{number}'}{PARTIAL}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise BadRequest(f"{reports} holds a thousand releases called {name}; name another with --release.")


def _criteria(notebook: Mapping[str, Any], profile: str, waivers: str | Path | None, copy: Path) -> limits.Criteria:
    """The criteria that the notebook was executed under, as they held with its profile and parameters; the copy is written."""
    given = parameters_of(notebook)
    parameters = {"budget_s": given["budget_s"]} if "budget_s" in given else {}
    found = limits.load(str(given.get("criteria") or ""), parameters, waivers=waivers).under(profile)
    copy.write_text(found.to_toml(), encoding="utf-8")
    return found


def _results(notebook: Mapping[str, Any], name: str, path: Path, criteria: limits.Criteria, facts: Mapping[str, Any],
             release: str, stage: str) -> dict[str, Any]:
    state = "finished" if not counts(notebook, True) else "crashed"
    times = [cell["metadata"]["papermill"] for cell in cells(notebook) if isinstance((cell.get("metadata") or {}).get("papermill"), Mapping)]
    seconds = sum(float(row.get("duration") or 0) for row in times)
    report = read_report(notebook, name, path, criteria, round(seconds, 2), {})
    own = {result.id for result in report.results}
    results = [*report.results, *(absent(check, ALONE, criteria) for check in planned() if check.id not in own)]
    checks = planned(checks_of(name))
    run = {"runbook": name, "state": state, "seconds": report.seconds, "trouble": report.trouble, "path": path.name,
           "started_at": str(times[0].get("start_time")) if times else "", "ended_at": str(times[-1].get("end_time")) if times else "",
           "cells": [{"index": number, "title": text(cell.get("source")).strip().partition("\n")[0][:80],
                      "seconds": (cell.get("metadata") or {}).get("papermill", {}).get("duration")}
                     for number, cell in enumerate(cells(notebook)) if cell.get("cell_type") == "code"], "crash": None}
    commit, config = str(facts.get("commit") or ""), str(facts.get("config") or "")
    source = Source(time.time(), commit, config, {name: (commit, config)})
    shutil.copyfile(package_file("runbooks/gates.toml"), path.parent / GATES)
    found = assess(results, checks, stage=stage, smoke=report.smoke, gates=load_rules(path.parent / GATES), graded={}, source=source,
                   trouble=report.trouble).to_dict()
    return {"schema": 1, "release": release, "stage": stage, **{key: found[key] for key in ("verdict", "line", "score", "gates")},
            "checks": [result.to_dict() for result in results], "runs": [run], "risks": [], "waivers": [],
            "not_verified": [f"All but {name}: {ALONE}.", statement.NOT_AT_ONCE, *found["not_verified"]],
            INPUTS: inputs(checks, {}, strict=False, source=source, trouble=report.trouble),
            "facts": {"commit": commit, "settings_sha256": config, "criteria_sha256": criteria.digest, "models": {}, "machine": {},
                      "profile": str(facts.get("profile") or ""), "smoke": report.smoke, "started_at": str(facts.get("begun_at") or ""),
                      "ended_at": "", "seconds": report.seconds, "audit_head": ""}}
