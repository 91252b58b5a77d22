"""The panel of releases over a real archive: list, one opened, what changed since another, history; and what is said in trouble."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_releases as made
import pytest
from openai_stage import until
from release_stage import Archive

import suite
from suite.bench import Bench

BROKEN = {"P2.4": made.check("P2.4", {"broken": 2}), "P5.5": made.check("P5.5", {"slowest": 2.9})}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("released")
    opened = suite.start(data_dir=home / "data", models_dir=models_dir, workspace_dir=home, rag_roots=str(home), port_base="auto")
    yield opened
    opened.stop()


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    made.sealed(tmp_path / "reports", [made.release("R1"), made.release("R2"), made.release("R3", BROKEN)])
    return tmp_path / "reports"


def choose(panel: Any, widget: Any, value: str) -> None:
    """A choice, and what follows from it, waited for."""
    before = panel._turn
    widget.value = value
    until(lambda: panel._turn > before and not [one for one in threading.enumerate() if one.name == "suite-panel-runs"])


def test_the_newest_is_opened_and_compared_with_the_one_before(bench: Bench, reports: Path) -> None:
    panel = suite.panels.runs(bench, reports)
    assert panel.said == "" and [row.release for row in panel.releases] == ["R1", "R2", "R3"]
    assert panel.opened["release"] == "R3" and (panel.difference.a, panel.difference.b) == ("R2", "R3")
    assert [(one.check, one.after) for one in panel.difference.changes] == [("P2.4", "fail")] and len(panel.past.checks) == 33
    assert "88.8 %" in panel.list.value and "P2.4" in panel.list.value and "broken is 2" in panel.card.value and ">not ready</span>" in panel.card.value and ">rehearsal</span>" in panel.list.value
    html, text = panel.twin()
    for words in ("R1", "R3", "not ready", "P2.4", "unexplained", "report.html", "3 releases"):
        assert words in html and words in text, words
    assert html.count("data:image/svg+xml") == 1 and "<script" not in html and "last green" in text


def test_what_is_chosen_is_shown(bench: Bench, reports: Path) -> None:
    panel = suite.panels.runs(bench, reports)
    first, second, third = (row.path.name for row in panel.releases)
    choose(panel, panel.release, first)
    assert panel.opened["release"] == "R1" and (panel.difference.a, panel.difference.b) == ("R2", "R1")
    choose(panel, panel.other, "")
    assert panel.difference is None and panel.changes.value == ""
    choose(panel, panel.check, "P5.5")
    assert [one.id for one in panel.past.checks] == ["P5.5"] and panel.past.figures["slowest"][-1] == ("R3", 2.9, 3.0)
    choose(panel, panel.other, third)
    assert (panel.difference.a, panel.difference.b) == ("R3", "R1") and panel.release.value == first and second in dict(panel.release.options).values()


def test_a_release_that_comes_is_found_and_what_was_chosen_stays(bench: Bench, reports: Path) -> None:
    panel = suite.panels.runs(bench, reports)
    choose(panel, panel.release, panel.releases[0].path.name)
    made.sealed(reports, [made.release("R4")])
    panel._ticks = 0
    for _ in range(4):
        panel.renew()
    assert len(panel.releases) == 3, "not every second"
    panel.renew()
    assert [row.release for row in panel.releases] == ["R1", "R2", "R3", "R4"] and panel.opened["release"] == "R1" and "R4" in panel.list.value
    shown = panel.opened
    panel._ticks = 4
    panel.renew()
    assert panel.opened is shown, "nothing has come"


def test_an_archive_without_releases_says_how_to_make_one(bench: Bench) -> None:
    panel = suite.panels.runs(bench)
    assert panel.reports == bench.settings.reports_dir and "suite check --release NAME" in panel.list.value
    assert all("No release is sealed" in part for part in panel.twin()) and panel.opened == {} and panel.release.options == ()
    panel._verify_clicked()
    assert "No release is sealed" in panel.said
    made.sealed(panel.reports, [made.release("R1")])
    panel.refresh().join()
    assert panel.opened["release"] == "R1" and panel.difference is None and panel.said == ""


def test_verifying_tells_a_report_that_was_changed(bench: Bench, tmp_path: Path) -> None:
    place, = made.sealed(tmp_path / "reports", [made.release("R1")])
    panel = suite.panels.runs(bench, tmp_path / "reports")
    panel._verify()
    assert panel._doubts.endswith(" more.") and panel._doubts.count("no criteria") == 5, "these releases are made without criteria and notebooks"
    body = json.loads((place / "results.json").read_bytes())
    (place / "results.json").write_text(json.dumps(body | {"verdict": "READY"}))
    panel._verify()
    assert panel.said.startswith("This report is not as it was sealed: ") and "results.json was changed" in panel._doubts and not panel.verify.disabled
    assert "results.json was changed" in panel.card.value and "results.json was changed" in panel.twin()[1]


def test_a_report_that_is_as_it_was_sealed_is_said_to_be_so(bench: Bench, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.seal("R1")
    panel = suite.panels.runs(bench, archive.reports)
    panel._verify_clicked()
    until(lambda: panel._doubts and not panel.verify.disabled)
    assert panel._doubts == "nothing speaks against it" and panel.said == "" and "nothing speaks against it" in panel.twin()[0]


def test_what_cannot_be_read_is_one_sentence_and_the_list_stays(bench: Bench, reports: Path) -> None:
    panel = suite.panels.runs(bench, reports)
    before = panel.list.value
    (panel.releases[-1].path / "results.json").write_text("{")
    panel.refresh().join()
    assert panel.said.startswith("BadRequest:") and "cannot be read as results" in panel.said and panel.list.value == before


def test_names_with_markup_or_signs_that_turn_the_text_are_shown_as_they_are(bench: Bench, tmp_path: Path) -> None:
    made.sealed(tmp_path / "reports", [made.release("<b>R\u202e1")])
    html, text = suite.panels.runs(bench, tmp_path / "reports").twin()
    assert "<b>R" not in html and "&lt;b&gt;R" in html and "\u202e" not in panel_list(html) and "\\u202e" in text


def panel_list(html: str) -> str:
    """The list of releases alone."""
    return html[:html.index("</table>")]
