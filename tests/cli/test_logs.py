"""`suite logs`: what the log of the data directory holds, with and without a stack."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from suite.cli.main import main
from suite.monitoring.log import FileLog


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "data" / "logs"
    made.mkdir(parents=True)
    monkeypatch.setenv("DATA_DIR", str(made.parent))
    return made


def test_lines_are_shown_oldest_first_and_narrowed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = FileLog(folder)
    logging.getLogger("suite.knowledge").info("fine\nin two lines")
    logging.getLogger("suite.memory").error("bad", exc_info=ValueError("inside"))
    log.close()
    assert main(["logs"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[2:] == ["info", "rag", "fine"] and shown[1] == "    in two lines" and shown[2].split()[2:] == ["error", "memory-api", "bad"]
    assert shown[-1] == "    ValueError: inside"
    assert main(["logs", "--level", "warning", "--service", "memory-api", "--since", "1h", "--contains", "bad", "-n", "5", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["message"], row["service"], row["level"]) == ("bad", "memory-api", "error")
    assert main(["logs", "--service", "qdrant", "--json"]) == 0 and json.loads(capsys.readouterr().out) == {"rows": []}


def test_a_data_directory_without_a_log_has_no_lines_and_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "none"))
    assert main(["logs", "--json"]) == 0 and json.loads(capsys.readouterr().out) == {"rows": []} and not (tmp_path / "none").exists()


@pytest.mark.parametrize(("words", "said"), [
    (["--since", "soon"], "since is 'soon'"), (["--level", "loud"], "level is 'loud'"), (["--service", "x"], "service is 'x'"), (["-n", "0"], "n is 0"),
    (["--follow", "--until", "1h"], "until goes with lines that were written"),
])
def test_what_cannot_be_asked_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["logs", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("suite: ") and said in error and error.count("\n") == 1


def test_following_shows_the_last_and_the_new_until_it_is_interrupted(folder: Path) -> None:
    log = FileLog(folder)
    logging.getLogger("suite").info("before, not asked for")
    logging.getLogger("suite").warning("before")
    process = subprocess.Popen([sys.executable, "-m", "suite", "logs", "--follow", "--level", "warning", "--json"], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["message"] == "before"
    logging.getLogger("suite").error("after")
    assert json.loads(process.stdout.readline())["message"] == "after"
    process.send_signal(2)
    assert process.wait(20) == 130 and process.stdout.read() == ""
    process.stdout.close()
    log.close()
