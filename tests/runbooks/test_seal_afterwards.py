"""`suite report seal`: what plain papermill wrote is archived, marked as sealed afterwards, and verified like any other release."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import papermill
import pytest
from fake_stack import TOKEN, FakeStack, change
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from release_stage import ODD, Archive, edited_json, places, put

from suite.errors import BadRequest, SuiteError
from suite.runbooks import archive as shelf
from suite.runbooks import statement
from suite.runbooks.afterwards import ALONE, seal_notebook
from suite.runbooks.verify import verify
from suite.settings import package_file


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """phase2_health as plain papermill executes it against a stack whose embedder has the wrong size: it raises in its last cell."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("THE_TOKEN", TOKEN)
        patched.setenv("DATA_DIR", str(folder / "data"))
        with FakeStack().bend("embedding POST /embed", change(dim=1)).served() as urls, pytest.raises(papermill.PapermillExecutionError):
            papermill.execute_notebook(str(package_file("runbooks/phase2_health.ipynb")), str(folder / "out.ipynb"),
                                       {"base_urls": urls, "token_env": "THE_TOKEN", "budget_s": 77.0}, kernel_name="python3", progress_bar=False)
    yield folder / "out.ipynb"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def test_it_is_archived_as_it_is_and_says_that_it_was_sealed_afterwards(executed: Path, archive: Archive) -> None:
    sealed = seal_notebook(executed, archive.reports, archive.key, "R1", "staging")
    found = verify(sealed.path, archive.key.public, sealed.head)
    assert found.ok, found
    assert found.facts["sealed"] == "afterwards" and statement.NOT_AT_ONCE in found.notes and found.facts["verdict"] == "NOT READY"
    assert (sealed.path / "phase2_health.ipynb").read_bytes() == executed.read_bytes()
    assert ALONE in (sealed.path / "report.html").read_text(encoding="utf-8") and (sealed.path / "phase2_health.html").is_file()
    results = shelf.results(sealed.path)
    states = {row["id"]: row["state"] for row in results["checks"]}
    assert len(states) == 33 and states["P2.5"] == "fail" and states["P2.4"] == "pass"
    assert {state for name, state in states.items() if not name.startswith("P2.")} == {"not-run"}
    assert "limit = 77.0" in (sealed.path / "criteria.toml").read_text(encoding="utf-8")  # the limits as they held in that run
    (row,) = shelf.releases(archive.reports)
    assert (row.release, row.stage, row.sealed, row.verdict) == ("R1", "staging", "afterwards", "NOT READY")
    assert TOKEN not in "".join(path.read_text(encoding="utf-8") for path in sealed.path.rglob("*") if path.is_file())


def test_a_release_sealed_by_the_runner_does_not_say_so(archive: Archive) -> None:
    assert statement.NOT_AT_ONCE not in verify(archive.seal("R1").path).notes


def test_what_was_edited_before_is_judged_again_and_cells_that_are_not_the_runbooks_are_found(executed: Path, archive: Archive) -> None:
    own = archive.folder / "out.ipynb"
    shutil.copyfile(executed, own)

    def lie(body: dict[str, Any]) -> None:
        for cell in body["cells"]:
            for output in cell.get("outputs", []):
                record = output.get("data", {}).get("application/vnd.suite.check+json", {})
                if record.get("id") == "P2.5":
                    record["state"] = "pass"

    edited_json(own, lie)
    sealed = seal_notebook(own, archive.reports, archive.key)
    assert shelf.results(sealed.path)["verdict"] == "NOT READY" and sealed.path.name.endswith("-out")
    assert {row["id"]: row["state"] for row in shelf.results(sealed.path)["checks"]}["P2.5"] == "fail"
    edited_json(own, lambda body: body["cells"][-1].update(source="cheat()"))
    found = verify(seal_notebook(own, archive.reports, archive.key).path)
    assert any("is not the runbook's: 'cheat()'" in doubt for doubt in found.doubts), found


def test_a_run_that_was_broken_off_has_the_rest_not_run(executed: Path, archive: Archive) -> None:
    own = archive.folder / "out.ipynb"
    shutil.copyfile(executed, own)

    def cut(body: dict[str, Any]) -> None:
        gone = False
        for cell in body["cells"]:
            gone = gone or 'run.check("P2.7")' in cell["source"]
            if gone and cell["cell_type"] == "code":
                cell.update(execution_count=None, outputs=[])

    edited_json(own, cut)
    sealed = seal_notebook(own, archive.reports, archive.key)
    results = shelf.results(sealed.path)
    assert results["runs"][0]["state"] == "crashed" and verify(sealed.path).ok, verify(sealed.path)
    assert [row["state"] for row in results["checks"] if row["id"] in ("P2.6", "P2.7", "P2.9")] == ["pass", "not-run", "not-run"]


@pytest.mark.parametrize(("text", "sentence"), [
    (b"", "is no notebook"), (b"{", "is no notebook"), (b"[]", "is no notebook: it has no cells"), (b'{"cells": [5]}', "is no notebook: it has no cells"),
    (json.dumps({"cells": [], "nbformat": 4}).encode(), "no cell of it holds the record of a run; execute one of runbooks/ first"),
    (json.dumps({"cells": [{"cell_type": "code", "outputs": [{"data": {"application/vnd.suite.run+json": {"runbook": "mine"}}}]}]}).encode(),
     "is an execution of another runbook: No runbook is called 'mine'"),
    (b"[" * 200_000, "is no notebook")])
def test_a_foreign_or_truncated_notebook_is_refused_and_nothing_stays(text: bytes, sentence: str, archive: Archive) -> None:
    (archive.folder / "out.ipynb").write_bytes(text)
    with pytest.raises(BadRequest) as told:
        seal_notebook(archive.folder / "out.ipynb", archive.reports, archive.key)
    assert sentence in told.value.message and "\n" not in told.value.message
    assert list(archive.reports.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_an_odd_value_anywhere_in_a_notebook_is_sealed_or_refused_in_a_sentence(executed: Path, tmp_path: Path, data: st.DataObject) -> None:
    body = json.loads(executed.read_bytes())
    own, archive = tmp_path / "odd.ipynb", Archive(tmp_path)
    own.write_text(json.dumps(put(body, data.draw(st.sampled_from(places(body))), data.draw(ODD))), encoding="utf-8")
    try:
        sealed = seal_notebook(own, archive.reports, archive.key)
    except SuiteError as error:
        assert "\n" not in error.message
    else:
        assert shelf.results(sealed.path)["verdict"] in ("NOT READY", "COULD NOT RUN") and isinstance(verify(sealed.path).ok, bool)
    assert shelf.unfinished(archive.reports) == []


def test_a_truncated_execution_is_refused(executed: Path, archive: Archive) -> None:
    (archive.folder / "out.ipynb").write_bytes(executed.read_bytes()[:-200])
    with pytest.raises(BadRequest, match="is no notebook"):
        seal_notebook(archive.folder / "out.ipynb", archive.reports, archive.key)
    with pytest.raises(BadRequest, match=r"none\.ipynb cannot be read \(No such file or directory\); name what papermill wrote"):
        seal_notebook(archive.folder / "none.ipynb", archive.reports, archive.key)


def test_a_packaged_runbook_that_was_never_executed_is_refused(archive: Archive) -> None:
    with pytest.raises(BadRequest, match="no cell of it holds the record of a run"):
        seal_notebook(package_file("runbooks/phase2_health.ipynb"), archive.reports, archive.key)
