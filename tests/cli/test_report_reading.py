"""`suite report diff` and `suite report history` over a real archive."""

from __future__ import annotations

import json
import xml.etree.ElementTree as tree
from pathlib import Path

import made_releases as made
import pytest

from suite.cli.main import main

BROKEN = {"P2.4": made.check("P2.4", {"broken": 2})}


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive of the settings: two good releases, a bad one, and one on another machine."""
    folder = tmp_path / "reports"
    made.sealed(folder, [made.release("R1"), made.release("R2"), made.release("R3", BROKEN), made.release("R4", facts={"machine": {"cores": 64}})])
    monkeypatch.setenv("REPORTS_DIR", str(folder))
    return folder


def test_diff_says_what_is_worse_and_exits_so(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "diff", "R1", "R2"]) == 0
    assert capsys.readouterr().out.startswith("R1 (REHEARSAL) → R2 (REHEARSAL): nothing is worse\n")
    assert main(["report", "diff", "R2", "R3"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("R2 (REHEARSAL) → R3 (NOT READY): worse\n") and "broken is 2 (demanded == 0 parts)" in out and "unexplained" in out
    assert main(["report", "diff", "R3", "R2", "--reports", str(reports)]) == 0, "the way back is no worse"
    capsys.readouterr()
    assert main(["report", "diff", "R2", "R3", "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert body["worse"] is True and body["verdicts"] == ["REHEARSAL", "NOT READY"]
    assert body["rows"][0] == {"what": "state", "check": "P2.4", "before": "pass", "after": "fail",
                               "said": "Check P2.4 of the stack: broken is 2 (demanded == 0 parts)"}


def test_figures_of_another_machine_are_not_compared_and_the_reason_is_given(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "diff", "R1", "R4"]) == 0
    out = capsys.readouterr().out
    assert "Figures are not compared: The figures of 'R4' were measured under another load shape (machine)" in out and "Not the same ground: machine." in out


def test_a_release_that_is_not_there_is_said_in_one_sentence(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "diff", "R1", "R9"]) == 2
    assert capsys.readouterr().err == f"suite: No sealed release is called 'R9' in {reports}; `suite report list` names them.\n"


def test_history_lists_every_check_or_one_with_its_figures_and_writes_the_plot(reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 releases" and len(lines) == 35 and lines[1].split()[:3] == ["check", "state", "releases"]
    assert main(["report", "history", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert next(row for row in rows if row["check"] == "P2.4") | {"last green": "", "last red": ""} == {
        "check": "P2.4", "state": "pass", "releases": 4, "flaky": True, "flips": 2, "last green": "", "last red": ""}
    assert main(["report", "history", "P2.4", "--json", "--svg", str(tmp_path / "plot.svg")]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [row["check"] for row in body["rows"]] == ["P2.4"] and [point[0] for point in body["figures"]["slowest"]] == ["R1", "R2", "R3", "R4"]
    titles = [title.text for title in tree.parse(tmp_path / "plot.svg").iter("{http://www.w3.org/2000/svg}title")]
    assert titles[1:] == ["R1: pass", "R2: pass", "R3: fail", "R4: pass"]
    assert main(["report", "history", "P7.7"]) == 2 and "has a check 'P7.7'" in capsys.readouterr().err
    assert main(["report", "history", "--svg", str(tmp_path / "no" / "plot.svg")]) == 2 and "cannot be written" in capsys.readouterr().err
