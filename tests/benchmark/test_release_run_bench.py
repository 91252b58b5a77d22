"""`suite bench release`, the part that runs runbooks: what is measured went through, and what did not is no figure."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from suite.benchmark import release_run as bench
from suite.benchmark.scene import Scene
from suite.errors import RunFailed
from suite.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, models_dir: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir)}, environ={})


@pytest.mark.timeout(600)
def test_the_engine_is_measured_beside_papermills_own_on_one_stack(settings: Settings) -> None:
    said: list[str] = []
    with Scene(settings, said.append) as scene:
        rows = bench.engine(scene, 1, said.append)
    share, seconds = rows
    assert share["peer"] == "papermill's own engine" and share["limit"] == 1.05 and 0.2 < share["value"] < 5
    assert seconds["value"] > 0.5 and seconds["ratio"] == share["value"] and "round 1 of 1" in said


def answered(status: int, commit: str, blocking: list[str]) -> subprocess.CompletedProcess[str]:
    checks = [{"id": "P1.5", "state": "fail" if any(line.startswith("P1.5") for line in blocking) else "pass"}]
    return subprocess.CompletedProcess([], status, json.dumps({"results": {"facts": {"commit": commit}, "blocking": blocking, "checks": checks, "line": "NOT READY"}}), "")


@pytest.mark.parametrize(("status", "commit", "blocking"), [(3, "c", []), (0, "c", []), (1, "c-dirty", ["P1.5 is fail", "gate evidence: the tree of c was changed"]),
                                                            (1, "c", ["P1.5 is fail"])])
def test_a_release_that_went_through_is_timed(status: int, commit: str, blocking: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(bench.subprocess, "run", lambda command, **more: given.update(more, command=command) or answered(status, commit, blocking))
    rows = bench.whole(settings, 2)
    assert [row["name"] for row in rows] == [bench.WHOLE.name, bench.SLOWEST.name] and rows[0]["limit"] == 60 and rows[0]["met"] is True
    assert given["env"]["PORT_BASE"] == "auto" and not Path(given["env"]["DATA_DIR"]).exists() and "--release" in given["command"]


@pytest.mark.parametrize(("status", "commit", "blocking"), [(1, "c", ["P2.1 is fail"]), (1, "c-dirty", ["P1.5 is fail", "P2.1 is fail"]), (1, "c-dirty", ["gate evidence: P1.1 ended"]),
                                                            (2, "c", ["P1.1 is not-run"])])
def test_the_time_of_a_release_that_did_not_go_through_means_nothing(status: int, commit: str, blocking: list[str], settings: Settings,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: answered(status, commit, blocking))
    with pytest.raises(RunFailed, match="means nothing"):
        bench.whole(settings, 1)


def test_a_release_that_could_not_run_says_what_it_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, "", "suite check could not run: no port"))
    with pytest.raises(RunFailed, match="no port"):
        bench.whole(settings, 1)
