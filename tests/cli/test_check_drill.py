"""`suite check` and `suite drill`: exit codes, the one JSON object, and checks proven red on real stacks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_stack import TOKEN, FakeStack, change

from suite.checkout import commit
from suite.checks import phase1, phase2
from suite.checks.drill import grades, proven
from suite.cli import check
from suite.cli.main import main


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DATA_DIR": tmp_path / "data", "MODELS_DIR": models_dir, "SUITE_PORT_BASE": "auto", "THE_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("route", "status", "verdict"), [("nothing", 0, "pass"), ("embedding POST /embed", 1, "fail")])
def test_check_exits_by_the_verdict_and_prints_one_object(route: str, status: int, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeStack().bend(route, change(dim=1)).served() as urls:
        assert main(["check", "phase2", "--json", "-p", f"base_urls={json.dumps(urls)}", "-p", "token_env=THE_TOKEN"]) == status
    printed = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in printed["rows"]] == [f"P2.{number}" for number in range(1, 10)]
    assert [report["verdict"] for report in printed["reports"]] == [verdict]


@pytest.mark.parametrize("name", ["phase3", "p3", "phase3_monitoring"])
def test_phase_3_has_three_names(name: str) -> None:
    assert check._runbook(name) == "phase3_monitoring"


def test_phase_3_on_a_stack_that_is_not_watched_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeStack().served() as urls:
        assert main(["check", "phase3", "--json", "-p", f"base_urls={json.dumps(urls)}", "-p", "token_env=THE_TOKEN"]) == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["id"], row["state"]) for row in rows] == [(f"P3.{number}", "fail") for number in range(1, 7)]


@pytest.mark.parametrize("arguments", [["phase9"], ["phase2", "-p", "nonsense=1"], ["phase2", "-p", "budget_s"],
                                       ["phase2", "-p", "profile=gpu-9000"]])
def test_check_exits_2_when_it_could_not_run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments, "--json"]) == 2
    assert "rows" in json.loads(capsys.readouterr().out)


def test_drill_proves_checks_red_each_on_a_stack_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = int(commit()[:8] or "0", 16)  # all nine are in .ci/full; here three that come round with the commit
    chosen = sorted(f"P2.{1 + (number + 3 * turn) % 9}" for turn in range(3))
    status = main(["drill", *chosen, "--json"])
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["rows"]
    assert [row["id"] for row in rows if not row["red"]] == [], printed.err
    assert status == 0 and [row["id"] for row in rows] == chosen and all(set(row) == {"id", "fault", "red", "at", "code", "on"} for row in rows)
    reports = tmp_path / "data" / "reports"
    assert set(proven(reports)) == set(chosen)
    drilled = [check for check in phase2.CHECKS if check.id in chosen]
    assert {grade.state for grade in grades(reports, drilled, datetime.now(UTC)).values()} == {"proven"}


def test_a_check_of_cards_that_was_proven_on_a_made_one_is_weak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "P1.2"]) == 0
    assert "red on fake:nvml, real" in capsys.readouterr().out
    cards = next(check for check in phase1.CHECKS if check.id == "P1.2")
    grade = grades(tmp_path / "data" / "reports", [cards], datetime.now(UTC))["P1.2"]
    assert (grade.state, grade.why) == ("weak", "it was proven on fake:nvml only")


def test_drill_refuses_a_check_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "P7"]) == 2
    assert "P7" in capsys.readouterr().err


def test_drill_has_alert_rules_fire_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["drill", "alerts", "AlertRehearsal", "--json"])
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["rows"]
    assert [(row["id"], row["red"], row["how"]) for row in rows] == [("AlertRehearsal/warning", True, "caused")], printed.err
    assert status == 0


def test_drill_of_an_alert_that_does_not_arrive_exits_1_and_of_one_that_does_not_exist_2(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["drill", "alerts", "PartUp"]) == 2
    assert "PartUp" in capsys.readouterr().err
    monkeypatch.setenv("LLAMA_CTX", "nonsense")
    assert main(["drill", "alerts", "AlertRehearsal"]) == 2
    monkeypatch.delenv("LLAMA_CTX")
    monkeypatch.setenv("ALERTMANAGER_ENABLED", "false")
    assert main(["drill", "alerts", "AlertRehearsal"]) == 1
    printed = capsys.readouterr()
    assert "NOT PROVEN" in printed.out + printed.err and "0 of 1 alert rules" in printed.out


def test_bench_measures_a_cold_run_and_prints_it_beside_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["bench", "phase2", "--rounds", "1", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [list(row) for row in rows] == [["name", "value", "unit", "op", "limit", "met", "peer", "ratio"]] * 2
    assert (rows[0]["limit"], rows[0]["met"], status) in ((15.0, True, 0), (15.0, False, 1))  # a test asserts no time
