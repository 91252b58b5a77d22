"""`suite ci`: the result of the tests is written for P4.2 or nothing is, and drills are chosen by the commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite import checkout
from suite.checks.tested import digest, read
from suite.cli.main import main

BEGAN = ["--started-at", "2026-01-01T00:00:00+00:00"]


def report(path: Path, cases: str = "<testcase/>") -> str:
    path.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", encoding="utf-8")
    return str(path)


def test_record_writes_the_result_of_what_is_checked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checkout, "commit", lambda: "c" * 40)
    out, given = tmp_path / "kept" / "result.json", [f"pytest={report(tmp_path / 'a.xml')}", f"nbval={report(tmp_path / 'b.xml')}"]
    assert main(["ci", "record", str(out), *given, "--commit", "c" * 40, *BEGAN, "--job", "7", "--json"]) == 0
    body = read(out)
    assert json.loads(capsys.readouterr().out)["rows"] == [body] and body["digest"] == digest(body) and (body["job"], body["state"]) == ("7", "finished")
    report(tmp_path / "b.xml", "<testcase><failure/></testcase>")
    assert main(["ci", "record", str(out), *given, "--commit", "c" * 40, *BEGAN]) == 1
    assert "failed: pytest 1 tests, 0 failed" in capsys.readouterr().out and read(out)["state"] == "failed"


@pytest.mark.parametrize(("given", "commit", "said"), [(["pytest"], "c" * 40, "STAGE=REPORT"), (["pytest="], "c" * 40, "STAGE=REPORT"),
                                                       (["pytest=nowhere.xml"], "c" * 40, "--junitxml"), ([], "d" * 40, "now 'cccc")])
def test_record_exits_2_and_leaves_no_file_when_it_cannot(given: list[str], commit: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checkout, "commit", lambda: "c" * 40)
    out = tmp_path / "result.json"
    out.write_text("of an earlier run", encoding="utf-8")
    given = given or [f"pytest={report(tmp_path / 'a.xml')}"]
    assert main(["ci", "record", str(out), *given, "--commit", commit, *BEGAN]) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_drills_prints_names_that_drill_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ci", "drills", "--commit", "c" * 40]) == 0
    names = capsys.readouterr().out.split()
    assert main(["ci", "drills", "--commit", "c" * 40, "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)["rows"]] == names and len(names) >= 4


def test_drills_exits_2_outside_of_a_checkout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checkout, "commit", lambda: "")
    assert main(["ci", "drills"]) == 2 and "--commit" in capsys.readouterr().err
