"""`suite bench serving` on the smoke model and tiny loads: rows, verdicts, a contender that dies, nothing left behind."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from suite.benchmark import serving as bench
from suite.benchmark.row import Limit, status
from suite.benchmark.scene import Scene
from suite.cli import bench as command
from suite.cli.main import main
from suite.errors import RunFailed
from suite.settings import Settings, load, package_file

TINY = bench.Load(prompt=4, reply=8, streams=3, reply_each=6, talk=60, long=4, beside=2, requests=4, warm=2)
KEYS = ["name", "value", "unit", "op", "limit", "met", "peer", "ratio"]


@pytest.fixture
def settings(tmp_path: Path, models_dir: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir), "llama_threads": 1}, environ={})


@pytest.fixture
def measured(settings: Settings) -> Any:
    """A measurement of the smoke model that is ready to run its sections; its processes end with the test."""
    before = psutil.Process().children(recursive=True)  # of other tests in this worker
    with Scene(settings, lambda text: None) as scene:
        yield bench._Serving(scene, 1, TINY, package_file("models/smoke.gguf"), quick=True)
    assert [child for child in psutil.Process().children(recursive=True) if child not in before] == []


def loosened(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Limits that anything meets, because a test asserts no time."""
    for name in names:
        known: Limit = getattr(bench, name)
        monkeypatch.setattr(bench, name, Limit(known.name, known.unit, ">=", 0.0 if known.limit is not None else None, known.peer))


def test_the_python_face_is_held_against_llama_cpp_alone(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loosened(monkeypatch, "FACE_MANY", "SECOND", "GAP", "PREFILL")
    rows = measured.streams_at_once() + measured.second_turn() + measured.long_prompt()
    assert all(list(row) == KEYS and row["value"] > 0 and "1 threads, quick" in row["name"] for row in rows)
    assert [row["met"] for row in rows] == [None, True, None, True, None, True, None, True] and status(rows) == 0
    assert all((row["ratio"] == row["value"]) is (row["unit"] == "x") for row in rows)


def test_a_limit_that_is_not_met_is_status_1(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loosened(monkeypatch, "FACE_MANY")
    monkeypatch.setattr(bench, "FACE_MANY", Limit("streams", "x", ">=", 1e9, "the bare low-level batch loop"))
    rows = measured.scene.measure([("streams", (bench.BARE_MANY, bench.FACE_MANY), measured.streams_at_once)])
    assert [row["met"] for row in rows] == [None, False] and status(rows) == 1


def test_a_contender_that_is_killed_is_status_2_and_says_so(measured: Any) -> None:
    limits = (bench.BARE_MANY, bench.FACE_MANY)
    measured.face()
    measured.bare().kill()
    rows = measured.scene.measure([("streams", limits, measured.streams_at_once), ("second turn", (bench.COLD, bench.SECOND), measured.second_turn)])
    assert [(row["value"], row["met"]) for row in rows[:2]] == [(None, None)] * 2 and "killed by SIGKILL" in rows[0]["name"]
    assert rows[2]["value"] > 0  # the other sections go on
    assert status([row for row in rows if row["met"] is not False]) == 2


def test_memory_and_streams_over_http_are_measured_on_a_stack(measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))  # where the token of a stack lies while it runs
    monkeypatch.setattr(bench, "GREW_SMOKE", Limit("requests: growth", "%", "<", 1e9))
    (row,) = measured.memory_of_smoke()
    assert row["met"] and row["unit"] == "%" and "4 after 2" in row["name"]
    _, where = measured.scene.stack("the smoke stack")
    http = measured._caller(where["urls"]["inference-chat"], where["token"], ignore_eos=True)
    rows = http([measured.text("a", 4), measured.text("b", 4)], 6)
    assert [row["tokens"] for row in rows] == [6, 6] and all(row["marks"] == sorted(row["marks"]) and row["marks"] for row in rows)
    tokens = [path for path in (tmp_path / "runtime").rglob("*") if path.is_file()]
    measured.scene.end("the smoke stack")
    assert tokens and not any(path.exists() for path in tokens)


def test_a_child_that_says_nothing_is_given_up(measured: Any) -> None:
    client = measured.scene.child("the client", "client")
    with pytest.raises(RunFailed, match="gave no answer within 0 s"):
        client.ask("steady", 0.01, url="http://127.0.0.1:9", token="", body={}, rate=1.0, seconds=1.0)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def test_a_process_ends_with_the_one_that_started_it() -> None:
    script = ("import os, psutil\nfrom suite.benchmark.child import Process\nsleeper = Process('sleeper', ['sleep', '600'])\n"
              "sleeper.wait_until(lambda: psutil.Process(sleeper.pid).name() == 'sleep', 60)\nprint(sleeper.pid, flush=True)\nos._exit(0)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # a killed measurement ends nothing itself
    wait_until(lambda: gone(int(done.stdout)))


def test_an_interrupted_measurement_leaves_nothing(tmp_path: Path, models_dir: Path) -> None:
    script = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nfrom suite.cli.main import main\nsys.exit(main())"
    places = {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script, "bench", "gateway", "--quick"], env={**os.environ, **places}, stderr=subprocess.PIPE,
                          text=True) as measuring:
        assert measuring.stderr is not None
        assert any("starting the gateway" in line for line in measuring.stderr)
        children = psutil.Process(measuring.pid).children(recursive=True)
        assert len(children) >= 3  # the client and the two stand-ins
        measuring.send_signal(signal.SIGINT)
        assert measuring.wait(60) == 130 and "interrupted" in measuring.stderr.read()
    assert all(gone(child.pid) for child in children) and list(tmp_path.glob("suite-bench-*")) == []


@pytest.mark.parametrize(("met", "code"), [([True, None], 0), ([True, False], 1)])
def test_the_command_prints_one_object_and_exits_by_the_rows(met: list[bool | None], code: int, monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    limits = [Limit("a", "x", ">=", 0.5, "peer") if each is not None else Limit("b", "s", "<=") for each in met]
    rows = [limit.row(1.0 if each is not False else 0.1) for limit, each in zip(limits, met, strict=True)]
    asked: list[Any] = []

    def measure(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
        asked.append((rounds, quick))
        return rows

    monkeypatch.setattr(bench, "serving", measure)
    assert main(["bench", "serving", "--json", "--quick", "--rounds", "2"]) == code and asked == [(2, True)]
    assert json.loads(capsys.readouterr().out) == {"rows": rows}
    assert main(["bench", "serving"]) == code and asked[1] == (3, False)
    assert ("NOT MET" in capsys.readouterr().out) is (code == 1)


def test_a_model_that_cannot_be_made_is_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("a file is in the way of the cache")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    arguments = argparse.Namespace(kind="serving", rounds=1, quick=True, json=False)
    assert command.run(arguments) == 2 and "could not measure" in capsys.readouterr().err
