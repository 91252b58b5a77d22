"""How checks stand is read from the newest finished reports, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_stack import TOKEN, FakeStack, change

from suite.runbooks import series as module
from suite.runbooks.execute import execute
from suite.runbooks.series import MOST_UNFINISHED, CheckSeries
from suite.settings import load

NOW = 10_000.0


def write(folder: Path, name: str, at: float = NOW, runbook: str = "phase2_health", **states: str) -> Path:
    path = folder / f"{name}-{runbook}.ipynb"
    checks = [{"check": check.replace("_", "."), "phase": int(check[1]), "state": state} for check, state in states.items()]
    path.write_text(json.dumps({"cells": [], "metadata": {"suite": {"at": at, "checks": checks}}}))
    return path


def seen(series: CheckSeries) -> tuple[dict[str, str], dict[str, float]]:
    states, ages = series.collect()
    assert all(sample.value == 1 for sample in states.samples)
    return ({sample.labels["check"]: f"{sample.labels['phase']} {sample.labels['state']}" for sample in states.samples},
            {sample.labels["runbook"]: sample.value for sample in ages.samples})


@pytest.fixture
def series(tmp_path: Path) -> CheckSeries:
    return CheckSeries(tmp_path, clock=lambda: NOW)


def test_the_newest_report_of_each_runbook_counts_and_of_two_that_have_a_check_the_newer(series: CheckSeries, tmp_path: Path) -> None:
    assert seen(series) == ({}, {})
    write(tmp_path, "20260101T000000Z", NOW - 900, P2_1="pass", P2_2="fail")
    write(tmp_path, "20260101T000500Z", NOW - 600, P2_1="fail", P2_2="pass")
    write(tmp_path, "20260101T001000Z", NOW - 300, "review_security", P2_2="not-run", P4_1="waived")
    write(tmp_path, "20260101T001000Z-10", NOW - 290, "review_security", P2_2="degraded", P4_1="pass")
    write(tmp_path, "20260101T001000Z-9", NOW - 295, "review_security", P2_2="fail", P4_1="fail")
    assert seen(series) == ({"P2.1": "2 fail", "P2.2": "2 degraded", "P4.1": "4 pass"}, {"phase2_health": 600, "review_security": 290})


def test_the_phases_of_the_newest_releases_count_too(series: CheckSeries, tmp_path: Path) -> None:
    for number, (age, state) in enumerate(((900, "pass"), (300, "fail"))):
        release = tmp_path / f"2026010{number + 1}T000000Z-R1"
        release.mkdir()
        write(release, "x", NOW - age, P2_1=state).rename(release / "phase2_health.ipynb")
    write(tmp_path, "20260101T120000Z", NOW - 600, P2_1="degraded", P2_2="pass")
    (tmp_path / "20260103T000000Z-R1").write_text("")  # a file, and no release
    assert seen(series) == ({"P2.1": "2 fail"}, {"phase2_health": 300})
    for number in range(module.MOST_RELEASES):
        (tmp_path / f"2026020{number + 1}T000000Z-R2").mkdir()
    assert seen(series) == ({"P2.1": "2 degraded", "P2.2": "2 pass"}, {"phase2_health": 600}), "no more folders are looked into than those"


def test_an_unfinished_a_damaged_or_a_foreign_notebook_counts_for_nothing(series: CheckSeries, tmp_path: Path) -> None:
    write(tmp_path, "20260101T000000Z", P2_1="pass")
    (tmp_path / "20260101T000001Z-phase2_health.ipynb").write_text("")
    (tmp_path / "20260101T000002Z-phase2_health.ipynb").write_text('{"cells": [], "metadata": {}}')
    (tmp_path / "20260101T000003Z-phase2_health.ipynb").write_text('{"metadata": {"suite": {"verdict": "pass"}}}')  # of an older version
    write(tmp_path, "mine", P2_1="fail")
    (tmp_path / "20260101T000004Z-phase2_health.ipynb").symlink_to(tmp_path / "pruned")  # listed, and gone when it is looked at
    assert seen(series) == ({"P2.1": "2 pass"}, {"phase2_health": 0})
    for number in range(MOST_UNFINISHED):
        (tmp_path / f"20260102T00000{number}Z-phase2_health.ipynb").write_text("[]")
    assert seen(series) == ({}, {})


def test_a_report_is_read_again_only_when_its_file_has_changed(series: CheckSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    summary = module._summary
    monkeypatch.setattr(module, "_summary", lambda path: reads.append(path.name) or summary(path))
    path = write(tmp_path, "20260101T000000Z", P2_1="pass")
    seen(series)
    seen(series)
    assert len(reads) == 1
    write(tmp_path, "20260101T000000Z", P2_1="not-run")
    assert seen(series)[0] == {"P2.1": "2 not-run"} and len(reads) == 2
    path.unlink()
    assert seen(series) == ({}, {}) and series._read == {}


def test_a_clock_that_went_back_gives_no_negative_age(tmp_path: Path) -> None:
    write(tmp_path, "20260101T000000Z", NOW, P2_1="pass")
    assert seen(CheckSeries(tmp_path, clock=lambda: NOW - 500))[1] == {"phase2_health": 0}


def test_what_a_real_run_writes_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    settings: Any = load()
    with FakeStack().bend("embedding POST /embed", change(dim=1)).served() as urls:
        execute("phase2_health", {"base_urls": urls, "token_env": "THE_TOKEN"}, settings, progress=False)
    states, ages = seen(CheckSeries(settings.reports_dir))
    assert states == {f"P2.{number}": "2 fail" if number == 5 else "2 pass" for number in range(1, 10)} and 0 <= ages["phase2_health"] < 600
