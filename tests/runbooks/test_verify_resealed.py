"""What is forged before the seal, with the right key: whatever does not follow from the records is found all the same, and what follows is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from release_stage import Archive, edited_json

from suite.checks import criteria as limits
from suite.checks.check import Observation, perform
from suite.checks.result import MIME
from suite.checks.target import Target
from suite.runbooks import statement
from suite.runbooks.catalog import RUNBOOKS
from suite.runbooks.seal import seal
from suite.runbooks.verify import Verified, verify

NOTEBOOK = "phase2_health.ipynb"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def sealed_after(archive: Archive, *edits: tuple[str, Callable[[Any], Any]]) -> Verified:
    """A release that fails P2.5 and did not run P5.6, edited before it is sealed."""
    directory = archive.make("R1", broken=["P2.5"], skipped=["P5.6"])
    for name, change in edits:
        edited_json(directory / name, change)
    return verify(seal(directory, archive.reports, archive.key, runbooks=archive.runbooks).path, archive.key.public)


def row(body: dict[str, Any], check: str) -> dict[str, Any]:
    return next(found for found in body["checks"] if found["id"] == check)


def cell(body: dict[str, Any], check: str) -> dict[str, Any]:
    return next(found for found in body["cells"] if found["source"] == f'run.check("{check}")')


def runs(body: dict[str, Any]) -> dict[str, Any]:
    return next(run for run in body["runs"] if run["path"] == NOTEBOOK)


FORGED: dict[str, tuple[list[tuple[str, Callable[[Any], Any]]], str]] = {
    "a verdict": ([("results.json", lambda body: body.update(verdict="READY"))], "The verdict in results.json is 'READY', but 'NOT READY' follows"),
    "a sentence": ([("results.json", lambda body: body.update(line="READY"))], "The line in results.json is 'READY'"),
    "a score": ([("results.json", lambda body: body["score"].update(lowest=1.0))], "The score in results.json"),
    "a gate": ([("results.json", lambda body: body["gates"].pop())], "The gates in results.json"),
    "a category's share": ([("results.json", lambda body: body["score"]["categories"]["stability"].update(score=1.0))], "The score in results.json"),
    "a state": ([("results.json", lambda body: row(body, "P2.5").update(state="pass"))], "P2.5 is 'pass' in results.json, but: the record says 'pass'"),
    "a state in both places": ([("results.json", lambda body: row(body, "P2.5").update(state="pass")),
                                (NOTEBOOK, lambda body: cell(body, "P2.5")["outputs"][0]["data"][MIME].update(state="pass"))],
                               "P2.5 is 'pass' in results.json, but: the record says 'pass' but its evidence gives 'fail'"),
    "a pass of what was not run": ([("results.json", lambda body: row(body, "P5.6").update(state="pass"))], "P5.6 is 'pass' in results.json, but"),
    "a pass that a notebook does not have": ([(NOTEBOOK, lambda body: cell(body, "P2.1").update(outputs=[]))], "no notebook holds a record of it"),
    "a milder state than the record's": ([(NOTEBOOK, lambda body: cell(body, "P2.1")["outputs"][0]["data"][MIME].update(state="fail"))],
                                         "P2.1: state is 'pass' in results.json but 'fail'"),
    "another evidence": ([("results.json", lambda body: row(body, "P2.5")["evidence"].append({"name": "note", "reason": "it was the weather"}))],
                         "P2.5: the evidence in results.json is not that in phase2_health.ipynb"),
    "a second record": ([(NOTEBOOK, lambda body: cell(body, "P2.1")["outputs"].append(
        {"output_type": "display_data", "metadata": {}, "data": {MIME: {**cell(body, "P2.5")["outputs"][0]["data"][MIME], "state": "pass"}}}))],
        "the notebooks hold records of it that differ"),
    "a check that is not there": ([("results.json", lambda body: body["checks"].remove(row(body, "P5.6"))),
                                 ("phase5_validation.ipynb", lambda body: cell(body, "P5.6").update(outputs=[]))], "P5.6 is not in results.json"),
    "a check twice": ([("results.json", lambda body: body["checks"].append(row(body, "P2.1")))], "P2.1 stands twice in results.json"),
    "a further check left out": ([(NOTEBOOK, lambda body: cell(body, "P2.1")["outputs"].append(
        {"output_type": "display_data", "metadata": {}, "data": {MIME: {**cell(body, "P2.5")["outputs"][0]["data"][MIME], "id": "P2.10"}}}))],
        "P2.10 is recorded in phase2_health.ipynb, but results.json does not have it"),
    "a run without its notebook": ([("results.json", lambda body: body["runs"].append({"runbook": "x", "path": "x.ipynb", "state": "finished"}))],
                                   "x.ipynb is missing"),
    "no smoke": ([("results.json", lambda body: body["facts"].update(smoke=False))], "says that no smoke model was used, but one answered in"),
    "no inputs of a good verdict": ([("results.json", lambda body: (body.pop("inputs"), body.update(verdict="REHEARSAL")))],
                                    "REHEARSAL is not borne out"),
    "fewer checks to count": ([("results.json", lambda body: body["inputs"]["checks"].pop(10))], "none of the checks that the verdict was computed from"),
    "a cell's source": ([(NOTEBOOK, lambda body: cell(body, "P2.5").update(source='cheat("P2.5")'))], "is not the runbook's: 'cheat(\"P2.5\")'"),
    "a cell less": ([(NOTEBOOK, lambda body: body["cells"].pop(4))], "cells were removed or added"),
    "a count": ([(NOTEBOOK, lambda body: cell(body, "P2.5").update(execution_count=2))], "its execution counts are"),
    "a cell that was not executed": ([(NOTEBOOK, lambda body: cell(body, "P2.9").update(execution_count=None))], "its execution counts are"),
    "a gap in a run that was broken off": ([("results.json", lambda body: runs(body).update(state="crashed")),
                                            (NOTEBOOK, lambda body: cell(body, "P2.5").update(execution_count=None))], "cells were executed after one"),
    "parameters that are code": ([(NOTEBOOK, lambda body: body["cells"][2].update(source="budget_s = __import__('os')"))], "are no plain values"),
    "parameters twice": ([(NOTEBOOK, lambda body: body["cells"].insert(3, {**body["cells"][2], "execution_count": 3}))], "parameters were injected twice"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_does_not_follow_is_found_under_the_right_signature(name: str, archive: Archive) -> None:
    edits, sentence = FORGED[name]
    found = sealed_after(archive, *edits)
    assert not found.ok and any(sentence in doubt for doubt in found.doubts), found
    assert not any("after the seal" in doubt or "not signed" in doubt for doubt in found.doubts), found  # no file was: it is what they say


def test_without_a_forgery_nothing_speaks_against_a_release_that_failed(archive: Archive) -> None:
    found = sealed_after(archive)
    assert found.ok and found.facts["verdict"] == "NOT READY", found


def test_looser_limits_in_the_runners_copy_speak_against_the_records(archive: Archive) -> None:
    directory = archive.make("R1")
    file = directory / "criteria.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("limit = 384", "limit = 1", 1), encoding="utf-8")
    found = verify(seal(directory, archive.reports, archive.key, runbooks=archive.runbooks).path)
    assert any("is recorded as" in doubt for doubt in found.doubts), found


def test_a_run_that_was_broken_off_is_whole_as_far_as_it_came(archive: Archive) -> None:
    """A kernel that died: the cells after it have no count, their checks are not-run, and that is what the report says."""
    def cut(body: dict[str, Any]) -> None:
        for check in ("P2.8", "P2.9"):
            cell(body, check).update(execution_count=None, outputs=[])

    directory = archive.make("R1", skipped=["P2.8", "P2.9"])
    edited_json(directory / NOTEBOOK, cut)
    edited_json(directory / "results.json", lambda body: runs(body).update(state="crashed"))
    found = verify(seal(directory, archive.reports, archive.key, runbooks=archive.runbooks).path)
    assert found.ok, found


def test_the_limit_of_the_seal_a_kernel_that_writes_false_records_is_believed(archive: Archive) -> None:
    """What the report says that it does not prove: here a check claims, in the kernel, that all is well with a stack that nobody asked."""
    check = RUNBOOKS["phase2_health"][4]
    criterion = limits.load()[check.id]

    def lie(target: Target, seen: Observation) -> None:
        seen.values.update({condition.name: condition.limit for condition in criterion.conditions})

    target = Target({})
    false = perform(type(check)(check.id, check.title, check.phase, check.category, check.weight, check.fault, lie), target, criterion)
    target.close()
    directory = archive.make("R1", broken=["P2.5"])
    honest = json.loads((directory / "results.json").read_bytes())
    good = archive.make("R1")
    edited_json(directory / NOTEBOOK, lambda body: cell(body, "P2.5")["outputs"][0]["data"].update({MIME: false.to_dict()}))
    edited_json(directory / "results.json", lambda body: (row(body, "P2.5").update(false.to_dict()), body.update(
        {key: json.loads((good / "results.json").read_bytes())[key] for key in ("verdict", "line", "score", "gates")})))
    found = verify(seal(directory, archive.reports, archive.key, runbooks=archive.runbooks).path, archive.key.public)
    assert honest["verdict"] == "NOT READY" and found.facts["verdict"] == "REHEARSAL"
    assert found.ok, found
    assert statement.NOT_PROVEN in found.notes and "a kernel of the same user that writes false records" in statement.NOT_PROVEN
