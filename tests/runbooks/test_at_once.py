"""The same runbook more than once at the same moment, on a real stack whose folders have names that templates could stumble over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import suite
from suite.runbooks import execute as module
from suite.runbooks.execute import execute

NAME = "100% {name} {0} %s 한글"  # papermill fills braces, and others percent signs


@pytest.fixture(scope="module")
def bench(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bench = suite.start(data_dir=str(tmp_path_factory.mktemp("data") / NAME), models_dir=str(models_dir), port_base="auto")
    yield bench
    bench.stop()


def test_runs_at_once_end_with_a_report_each(bench: suite.Bench, models_dir: Path) -> None:
    env = {**os.environ, "DATA_DIR": str(bench.settings.data_dir), "MODELS_DIR": str(models_dir)}
    with subprocess.Popen([sys.executable, "-m", "suite", "check", "phase2", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as other:
        report = bench.run("phase2_health")
        out, errors = other.communicate(timeout=120)
    heads = [json.loads(out)["reports"][0], report.to_dict()]
    assert (errors, [head["trouble"] for head in heads]) == ("", ["", ""])
    states = [{row["id"]: row["state"] for row in rows} for rows in (json.loads(out)["rows"], report.to_dict()["checks"])]
    assert [{name: state for name, state in row.items() if state != "pass"} for row in states] == [{}, {}]
    assert [len(row) for row in states] == [9, 9] and other.returncode == (heads[0]["verdict"] != "pass")
    verdicts = {Path(head["path"]): head["verdict"] for head in heads}
    assert len(verdicts) == 2 and set(bench.settings.reports_dir.glob("*.ipynb")) == set(verdicts)
    for path in verdicts:
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert kept["metadata"]["suite"]["verdict"] == verdicts[path] and path.stat().st_mode & 0o777 == 0o600
        assert len({output["execution_count"] for cell in kept["cells"] for output in cell.get("outputs", []) if "execution_count" in output}) >= 9


def test_two_reports_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: module._place(None, tmp_path / NAME, "book"), range(40)))
    assert len(set(paths)) == 40 and {path.stat().st_mode & 0o777 for path in paths} == {0o600}


def test_a_runbook_may_lie_in_and_go_to_a_folder_of_any_name(bench: suite.Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / NAME / "{book} 5%.ipynb"
    source.parent.mkdir()
    source.write_bytes(module.package_file("runbooks/phase2_health.ipynb").read_bytes())
    monkeypatch.setattr(module, "package_file", lambda relative: source)
    monkeypatch.chdir(tmp_path)
    out = Path(NAME) / "sub {x}" / "50%d.ipynb"
    settings = {"data_dir": str(bench.settings.data_dir), "reports_dir": str(bench.settings.reports_dir)}
    report = execute("phase2_health", {"settings": settings}, bench.settings, out=out, progress=False)
    assert report.verdict == "pass" and report.path == out and out.is_file()
    assert [path.name for path in (tmp_path / NAME / "sub {x}").iterdir()] == ["50%d.ipynb"]
