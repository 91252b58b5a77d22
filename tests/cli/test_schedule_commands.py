"""`suite schedule` at a real Jupyter server with jupyter-scheduler: a definition is made, changed, listed, run and taken away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import scheduler_stage
from lab_stage import TOKEN, lab
from openai_stage import until

from suite.cli.main import main
from suite.errors import BadRequest
from suite.runbooks import schedule
from suite.runbooks.nightly import NOTEBOOK, notebook
from suite.runbooks.schedule import _crontab, _literals, choose

needs_scheduler = pytest.mark.skipif(not scheduler_stage.INSTALLED, reason="jupyter-scheduler is not installed: pip install 'local-ai-suite[schedule]'")
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scheduled")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[str]:
    env = {"PYTHONPATH": str(REPO), "DATA_DIR": str(place / "data"), "REPORTS_DIR": str(place / "reports")}
    with scheduler_stage.scheduler(place, env) as url:
        yield url


@pytest.fixture
def at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server's runtime file is found."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place / "runtime"))
    monkeypatch.setenv("THE_TOKEN", TOKEN)


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["schedule", "list", "--json"]) == 0
    return list(json.loads(capsys.readouterr().out)["rows"])


@needs_scheduler
def test_a_nightly_check_is_made_once_changed_and_taken_back(server: str, place: Path, at_home: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "nightly", "phase2_health", "--at", "02:30", "--timezone", "Asia/Seoul", "--release", "n1", "--stage", "dev"]) == 0
    assert capsys.readouterr().out.startswith(f"Made at {server}: suite nightly, 02:30 Asia/Seoul every day (")
    first, = rows(capsys)
    assert (first["schedule"], first["timezone"], first["active"], first["parameters"]["phases"]) == ("30 2 * * *", "Asia/Seoul", True, "['phase2_health']")
    assert json.loads((place / "work" / NOTEBOOK).read_text())["cells"][1]["source"] == notebook()["cells"][1]["source"].splitlines(keepends=True)
    # the same time with another parameter: the scheduler itself would leave it as it was
    again = ["schedule", "nightly", "--at", "02:30", "--timezone", "Asia/Seoul", "--release", "it's \"n2\"\n", "--server", server, "--token-env", "THE_TOKEN"]
    assert main([*again, "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert (changed["id"], changed["made"]) == (first["id"], False)
    second, = rows(capsys)
    assert second["parameters"]["release"] == repr("it's \"n2\"\n") and second["parameters"]["phases"] == "[]" and second["active"]
    assert main(["schedule", "list"]) == 0 and "02:30  Asia/Seoul  active" in capsys.readouterr().out
    assert main(["schedule", "remove"]) == 0 and capsys.readouterr().out == "1 removed\n"
    assert rows(capsys) == [] and main(["schedule", "remove"]) == 1


@needs_scheduler
def test_the_job_checks_a_release_and_seals_its_report(server: str, place: Path, at_home: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The scheduler starts it now rather than at night; of the five phases one is asked for, so that the verdict cannot be good and the job must fail."""
    with schedule.Scheduler(server, TOKEN) as scheduler:
        made = scheduler.nightly("03:00", "UTC", {"release": "tonight", "stage": "dev", "phases": ["phase2_health"]})
    with httpx.Client(base_url=server, headers={"Authorization": f"token {TOKEN}"}, trust_env=False, timeout=30) as client:
        job = client.post(f"/scheduler/job_definitions/{made.id}/jobs", json={}).json()["job_id"]
        until(lambda: client.get(f"/scheduler/jobs/{job}").json()["status"] in ("COMPLETED", "FAILED"), 240)
        done = client.get(f"/scheduler/jobs/{job}").json()
    assert done["status"] == "FAILED" and "NOT READY" in done["status_message"], done["status_message"]
    assert main(["report", "list", "--reports", str(place / "reports"), "--json"]) == 0
    sealed, = json.loads(capsys.readouterr().out)["rows"]
    assert sealed["release"] == "tonight" and sealed["path"] in done["status_message"]
    assert sealed["states"]["P2.1"] == "pass" and sealed["states"]["P5.1"] == "not-run"
    assert main(["report", "verify", sealed["path"]]) == 0 and main(["schedule", "remove"]) == 0


@needs_scheduler
def test_what_cannot_be_scheduled_is_said_in_one_sentence(server: str, at_home: None, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WRONG", "no-token")
    for arguments, words in ((["--token-env", "WRONG"], "does not accept the token"), (["--folder", "nowhere"], "has no folder 'nowhere'"),
                             (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'"), (["--at", "24:00"], "'24:00' is no time of day"),
                             (["phase9"], "no phase 'phase9'"), (["--server", "http://127.0.0.1:9"], "does not answer")):
        assert main(["schedule", "nightly", *arguments]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, said
    assert rows(capsys) == []


def test_a_server_without_the_scheduler_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    with lab(tmp_path, {}, "", "--ServerApp.jpserver_extensions={'jupyter_scheduler': False}", program="jupyter_server") as url:
        assert main(["schedule", "nightly"]) == 2
    assert capsys.readouterr().err.startswith(f"suite: The Jupyter server {url} has no scheduler that runs; `pip install 'local-ai-suite[schedule]'`")


def test_the_server_is_the_only_one_that_runs_or_the_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Exception, match="No Jupyter server of yours runs"):
        choose("", "")
    (tmp_path / "jpserver-1.json").write_text(json.dumps({"url": "http://127.0.0.1:1/", "token": "one", "pid": os.getpid()}))
    (tmp_path / "jpserver-2.json").write_text("half a li")
    (tmp_path / "jpserver-3.json").write_text(json.dumps({"url": "http://127.0.0.1:3/", "token": "gone", "pid": 1 << 22}))
    assert choose("", "") == ("http://127.0.0.1:1/", "one") and choose("", "mine") == ("http://127.0.0.1:1/", "mine")
    (tmp_path / "jpserver-4.json").write_text(json.dumps({"url": "http://127.0.0.1:4/", "token": "four", "pid": os.getpid()}))
    with pytest.raises(BadRequest, match=r"2 Jupyter servers run here \(http://127.0.0.1:1/, http://127.0.0.1:4/\)"):
        choose("", "")
    assert choose("http://127.0.0.1:4", "") == ("http://127.0.0.1:4", "four") and choose("http://elsewhere", "") == ("http://elsewhere", "")


def test_times_and_parameters_become_what_the_scheduler_reads() -> None:
    assert [_crontab(text) for text in ("02:00", "2:05", " 23:59 ", "00:00")] == ["0 2 * * *", "5 2 * * *", "59 23 * * *", "0 0 * * *"]
    for text in ("24:00", "12:60", "noon", "", "1:2:3", "12:5", "-1:00"):
        with pytest.raises(BadRequest, match="no time of day"):
            _crontab(text)
    assert eval(_literals({"release": "'; import os #"})["release"]) == "'; import os #", "a value is a value, whatever stands in it"
    with pytest.raises(BadRequest, match="no parameter 'relese'"):
        _literals({"relese": "x"})
