"""Releases whose kernel, or whose runner, is killed: a readable report with 33 states, and an archive that is whole before and after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from fake_stack import TOKEN, FakeStack

import suite
from suite.runbooks import archive, journal, lanes
from suite.runbooks.catalog import checks_of
from suite.runbooks.expected import IDS, PHASES
from suite.runbooks.release import check_release
from suite.runbooks.verify import verify, verify_chain

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def bench(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    bench = suite.start(data_dir=str(tmp_path_factory.mktemp("data")), models_dir=str(models_dir), port_base="auto", monitoring_interval=1)
    yield bench
    bench.stop()


def kernels() -> list[psutil.Process]:
    """The kernels that this process has started; other tests may have left children that ended and were not waited for."""
    alive = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "ipykernel_launcher" in " ".join(child.cmdline())]


@pytest.mark.parametrize("phase", PHASES)
def test_a_kernel_that_is_killed_in_a_phase_leaves_a_report_with_33_states(phase: str, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly, tell, killed = checks_of(phase)[1].id, lanes.Plan.tell, []

    def kill(plan: lanes.Plan, runbook: str, title: str, done: int, total: int) -> None:
        if runbook == phase and title.startswith(f"{deadly} "):
            killed.extend(child.pid for child in kernels())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        tell(plan, runbook, title, done, total)

    monkeypatch.setattr(lanes.Plan, "tell", kill)
    done = check_release("K1", "dev", bench.settings, phases=[phase], progress=False, start=suite.start)
    states = {row["id"]: row["state"] for row in done.results["checks"]}
    own = [check.id for check in checks_of(phase)]
    assert len(killed) == 1 and list(states) == list(IDS)
    assert states[own[0]] != "not-run" and {states[name] for name in IDS if name != own[0]} == {"not-run"}
    run = next(run for run in done.results["runs"] if run["runbook"] == phase)
    assert run["state"] == "crashed" and "SIGKILL" in run["crash"]["how"] and run["crash"]["title"].startswith(f"{deadly} ")
    assert run["crash"]["memory"]["kernel_peak"] > 20 << 20 and run["crash"]["exit"] == -9
    text = "\n".join(cell.source for cell in nbformat.read(done.path / f"{phase}.ipynb", 4).cells)
    assert "## The kernel died" in text and "## What was not run" in text
    assert "The kernel died" in (done.path / f"{phase}.html").read_text(encoding="utf-8") and (done.path / "report.html").stat().st_size > 10_000
    assert done.verdict == "NOT READY" and (done.path / "junit.xml").read_text(encoding="utf-8").count("<testcase") == 33
    assert verify(done.path).ok, verify(done.path)
    assert not bench.stopped, "a stack that was there before goes on"


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    with FakeStack().served() as served:
        yield served


def runner(tmp_path: Path, urls: dict[str, str], *more: str) -> subprocess.Popen[str]:
    """`suite check --release` of phase 2 in a process of its own."""
    env = {**os.environ, "DATA_DIR": str(tmp_path / "data"), "THE_TOKEN": TOKEN}
    command = [sys.executable, "-m", "suite", "check", "phase2", "--release", "R1", "--stage", "dev", "--json", "-p", f"base_urls={json.dumps(urls)}", "-p",
               "token_env=THE_TOKEN", *more]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def has(name: str, least: int = 1) -> Callable[[Path], bool]:
    def look(partial: Path) -> bool:
        try:
            return (partial / name).stat().st_size >= least
        except OSError:
            return False
    return look


def noted(partial: Path) -> bool:
    try:
        return "phase2_health" in json.loads((partial / journal.FILE).read_bytes())["runs"]
    except (OSError, ValueError):
        return False


@pytest.mark.parametrize("moment", [has(journal.FILE), has("phase2_health.ipynb", 20_000), noted, has("release.ipynb", 5_000)],
                         ids=["begun", "in the middle of the phase", "after the phase", "in the release's notebook"])
def test_a_runner_that_is_killed_leaves_the_archive_whole_and_can_go_on(moment: Callable[[Path], bool], tmp_path: Path, urls: dict[str, str]) -> None:
    reports = tmp_path / "data" / "reports"
    with runner(tmp_path, urls) as process:
        while not any(moment(partial) for partial in archive.unfinished(reports)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
    assert archive.releases(reports) == [] and [path for path in reports.iterdir() if not path.name.startswith(".")] == []
    [partial] = archive.unfinished(reports)
    for notebook in partial.glob("*.ipynb"):
        assert notebook.stat().st_size == 0 or nbformat.read(notebook, 4).cells, "what is there is whole"
    kept = json.loads((partial / journal.FILE).read_bytes())["runs"].get("phase2_health")
    assert kept is not None or moment is not noted
    with runner(tmp_path, urls, "--resume") as process:
        out, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    done = json.loads(out)
    assert len(done["rows"]) == 33 and sum(row["state"] == "pass" for row in done["rows"]) == 9
    assert Path(done["path"]).name == partial.name[1:].removesuffix(archive.PARTIAL)
    assert verify(Path(done["path"])).ok and verify_chain(reports).facts["releases"] == 1 and archive.unfinished(reports) == []
    again = next(run for run in done["results"]["runs"] if run["runbook"] == "phase2_health")
    assert again == kept if kept else again["state"] == "finished", "a phase that was finished is not executed again"


def test_a_runner_that_is_killed_twice_a_second_never_harms_what_was_sealed(tmp_path: Path, urls: dict[str, str]) -> None:
    reports = tmp_path / "data" / "reports"
    with runner(tmp_path, urls) as process:
        first = json.loads(process.communicate(timeout=300)[0])
    before = {path: path.read_bytes() for path in Path(first["path"]).rglob("*") if path.is_file()}
    with runner(tmp_path, urls) as process:
        while not archive.unfinished(reports):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
    assert {path: path.read_bytes() for path in Path(first["path"]).rglob("*") if path.is_file()} == before
    assert verify(Path(first["path"]), head=first["head"]).ok and verify_chain(reports, head=first["head"]).ok


def test_no_kernel_outlives_its_runner(tmp_path: Path, urls: dict[str, str]) -> None:
    with runner(tmp_path, urls) as process:
        while not any(has("phase2_health.ipynb", 20_000)(partial) for partial in archive.unfinished(tmp_path / "data" / "reports")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert children
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_ctrl_c_ends_the_run_and_its_kernels_and_leaves_what_can_be_resumed(tmp_path: Path, urls: dict[str, str]) -> None:
    reports = tmp_path / "data" / "reports"
    with runner(tmp_path, urls) as process:
        while not any(has("phase2_health.ipynb", 20_000)(partial) for partial in archive.unfinished(reports)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors and out == "", (process.returncode, errors)
    assert psutil.wait_procs(children, timeout=60)[1] == []
    [partial] = archive.unfinished(reports)
    assert json.loads((partial / journal.FILE).read_bytes())["runs"].keys().isdisjoint({"phase2_health", "phase5_validation"})
