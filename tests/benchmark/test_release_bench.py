"""`suite bench release` with a handful of releases: rows, verdicts, and what must not be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.benchmark import release as bench
from suite.benchmark.row import status
from suite.cli.main import main
from suite.runbooks.verify import Verified
from suite.settings import Settings, load

KEYS = ["name", "value", "unit", "op", "limit", "met", "peer", "ratio"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data")}, environ={})


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "FEW", 4)
    for section in ("whole", "engine"):  # whole releases are run in test_release_run_bench.py
        monkeypatch.setattr(bench.release_run, section, lambda *_: [])


def test_every_row_is_measured_and_says_on_how_much(settings: Settings) -> None:
    said: list[str] = []
    rows = bench.release(settings, 2, True, said.append)
    limits = (bench.SEAL, bench.VERIFY, bench.LIST, bench.CHAIN, bench.DIFF, bench.PAST, bench.NEXT)
    assert all(list(row) == KEYS for row in rows) and [row["name"].split(" (")[0] for row in rows] == [limit.name for limit in limits]
    assert all(row["value"] is not None and row["value"] >= 0 for row in rows) and status(rows) in (0, 1)
    assert rows[2]["name"].endswith("(4 releases)") and rows[0]["name"].endswith("files)") and said == ["all checks from cold", "the engine", "one release", "an archive of 4 releases"]


@pytest.mark.parametrize(("place", "lost"), [("one", 2), ("many", 5)])
def test_what_is_not_verified_is_not_measured(place: str, lost: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench.verify

    def doubtful(path: Path, *more: str) -> Verified:
        return Verified(path, ("It is not as it was.",), ()) if place in path.parts else real(path, *more)

    monkeypatch.setattr(bench, "verify", doubtful)
    rows = bench.release(settings, 1, True, lambda text: None)
    missing = [row for row in rows if row["value"] is None]
    assert len(missing) == lost and all("It is not as it was" in row["name"] for row in missing) and status(rows) == 2


def test_the_command_prints_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert main(["bench", "release", "--quick", "--rounds", "1", "--json"]) in (0, 1)
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 7
