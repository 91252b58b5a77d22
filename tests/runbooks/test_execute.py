"""Executing a runbook in a real kernel: the archived notebook is the record, and nobody believes it without judging again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fake_stack import TOKEN, FakeStack, change

from suite.checks import criteria
from suite.checks.result import MIME
from suite.errors import BadRequest, NotFound
from suite.runbooks import execute as module
from suite.runbooks.execute import execute
from suite.runbooks.report import COLUMNS, read_report
from suite.settings import load, package_file

NINE = [f"P2.{number}" for number in range(1, 10)]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return load()


def test_a_healthy_stack_gives_a_pass_with_nine_records_in_an_archived_notebook(settings: Any) -> None:
    with FakeStack().served() as urls:
        report = execute("phase2_health", {"base_urls": urls, "token_env": "THE_TOKEN", "expect_profile": "smoke"}, settings, progress=False)
    assert report.verdict == "pass", report
    assert report.path.parent == settings.reports_dir and re.fullmatch(r"\d{8}T\d{6}Z-phase2_health\.ipynb", report.path.name)
    assert list(report.checks.columns) == COLUMNS and list(report.checks["state"]) == ["pass"] * 9
    assert report.smoke and "Smoke models" in repr(report) and "Smoke models" in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["verdict"] == "pass"
    assert TOKEN not in report.path.read_text(encoding="utf-8")


def test_a_red_check_gives_a_fail_with_all_nine_records(settings: Any) -> None:
    with FakeStack().bend("embedding POST /embed", change(dim=1)).served() as urls:
        report = execute("phase2_health", {"base_urls": urls, "token_env": "THE_TOKEN"}, settings, progress=False)
    assert (report.verdict, report.trouble) == ("fail", "")
    assert [result.id for result in report.results if result.state != "pass"] == ["P2.5"]
    recorded = [output.data[MIME]["id"] for cell in nbformat.read(report.path, 4).cells for output in cell.get("outputs", [])
                if MIME in output.get("data", {})]
    assert recorded == NINE


def test_a_kernel_that_dies_leaves_a_report_with_the_rest_not_run(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(package_file("runbooks/phase2_health.ipynb"), 4)
    place = next(index for index, cell in enumerate(notebook.cells) if "P2.4" in cell.source and cell.cell_type == "code")
    notebook.cells.insert(place, nbformat.v4.new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    nbformat.write(notebook, tmp_path / "deadly.ipynb")
    monkeypatch.setattr(module, "package_file", lambda relative: tmp_path / "deadly.ipynb")
    with FakeStack().served() as urls:
        report = execute("phase2_health", {"base_urls": urls, "token_env": "THE_TOKEN"}, settings, progress=False)
    assert report.verdict == "fail" and "died in cell 12 (P2.4 · " in report.trouble
    assert [result.state for result in report.results] == ["pass"] * 3 + ["not-run"] * 6
    again = read_report(nbformat.read(report.path, 4), "phase2_health", report.path, criteria.load(), 0, {})
    assert [result.state for result in again.results] == ["pass"] * 3 + ["not-run"] * 6


def test_a_stack_that_cannot_be_found_is_told_from_one_that_is_sick(settings: Any) -> None:
    report = execute("phase2_health", {"base_urls": "http://127.0.0.1", "token_env": "NOT_SET_ANYWHERE"}, settings, progress=False)
    assert report.verdict == "fail" and "NOT_SET_ANYWHERE" in report.trouble
    assert {result.state for result in report.results} == {"not-run"}


@pytest.mark.parametrize("parameters", [{"budget": 1}, {"budget_s": "soon"}, {"profile": 3}, {"base_urls": "[1]"}, {"settings": "x("}])
def test_an_unknown_or_mistyped_parameter_is_refused_before_a_kernel_starts(parameters: dict[str, Any], settings: Any) -> None:
    with pytest.raises(BadRequest):
        execute("phase2_health", parameters, settings, progress=False)
    assert not settings.reports_dir.exists()


def test_an_unknown_runbook_is_refused(settings: Any) -> None:
    with pytest.raises(NotFound, match="phase2_health"):
        execute("phase9", {}, settings)


def _executed(**states: str) -> dict[str, Any]:
    """An executed notebook in a few lines: nine records of a healthy stack; `states` are what single ones claim."""
    from suite.checks.check import perform
    from suite.checks.phase2 import CHECKS

    limits, stack, cells = criteria.load(), FakeStack().bend("embedding POST /embed", change(dim=1)), []
    target = stack.target()
    for check in CHECKS:
        record = perform(check, target, limits[check.id]).to_dict()
        cells.append({"outputs": [{"data": {MIME: record | {"state": states.get(check.id.replace(".", "_"), record["state"])}}}]})
    target.close()
    facts = {"smoke": False, "trouble": "", "mismatches": [], "host": {"profile": "smoke", "commit": "c0ffee1"}}
    return {"cells": [{"outputs": [{"data": {"application/vnd.suite.run+json": facts}}]}, *cells]}


def read(notebook: dict[str, Any], **more: Any) -> Any:
    return read_report(notebook, "phase2_health", Path("x.ipynb"), criteria.load(), 1.0, {}, **more)


def test_a_state_that_was_edited_into_a_pass_is_detected() -> None:
    report = read(_executed(P2_5="pass"))
    assert report.verdict == "fail"
    assert "the record says 'pass' but its evidence gives 'fail'" in report.results[4].why


def test_a_pass_for_all_that_was_computed_by_laxer_limits_is_detected() -> None:
    notebook = _executed()
    record = notebook["cells"][5]["outputs"][0]["data"][MIME]
    for item in record["evidence"]:
        if item.get("name") == "stated_dimension":
            item.update(limit=1, met=True)
    record.update(state="pass", observed={**record["observed"], "value": 0})
    assert read(notebook).results[4].state == "fail"


def test_a_missing_record_is_not_run_and_a_damaged_one_a_fail() -> None:
    notebook = _executed()
    notebook["cells"].pop(9)
    del notebook["cells"][1]["outputs"][0]["data"][MIME]["title"]
    report = read(notebook)
    assert report.results[8].state == "not-run"
    assert report.results[0].state == "fail" and "damaged" in report.results[0].why


def test_two_records_of_one_check_that_differ_are_a_fail() -> None:
    notebook = _executed()
    other = json.loads(json.dumps(notebook["cells"][1]))
    other["outputs"][0]["data"][MIME]["state"] = "fail"
    notebook["cells"].insert(1, other)
    assert "differ" in read(notebook).results[0].why


def test_a_notebook_without_a_run_record_could_not_run() -> None:
    notebook = _executed()
    notebook["cells"].pop(0)
    assert "before it had found or started a stack" in read(notebook).trouble


def test_the_runner_compares_the_stack_again_with_the_one_meant() -> None:
    assert read(_executed(), expected={"profile": "cpu", "commit": ""}).mismatches
    assert not read(_executed(), expected={"profile": "smoke", "commit": "c0ffee1"}).mismatches
