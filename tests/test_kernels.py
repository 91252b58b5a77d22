"""In real Jupyter kernels: a runbook beside an open notebook, and the kernelspec that starts with the bench ready."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 120


@pytest.fixture
def env(models_dir: Path, tmp_path: Path) -> dict[str, str]:
    return {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto"}


@contextmanager
def kernel(env: dict[str, str], name: str = "python3", **options: Any) -> Iterator[Any]:
    """A kernel client whose `run(code)` gives the text of the last expression."""
    manager = KernelManager(kernel_name=name, transport="ipc", **options)
    manager.start_kernel(env={**os.environ, **env})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=SECONDS)

    def run(code: str) -> str:
        said: list[str] = []

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "execute_result":
                said.append(content["data"]["text/plain"])
            elif message["msg_type"] == "error":
                said.append(f"{content['ename']}: {content['evalue']}")

        client.execute_interactive(code, timeout=SECONDS, output_hook=collect)
        return said[-1] if said else ""

    client.run = run
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()


def report_of(path: Path) -> tuple[list[dict[str, Any]], str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    checks = [output["data"]["application/vnd.suite.check+json"] for output in outputs if "application/vnd.suite.check+json" in output.get("data", {})]
    return checks, "".join("".join(output["data"].get("text/plain", "")) for output in outputs if "data" in output)


def test_a_papermill_run_beside_an_open_notebook_inspects_its_stack_and_loads_no_second_model(env: dict[str, str], tmp_path: Path) -> None:
    with kernel(env) as notebook:
        assert "GB" not in notebook.run("import os, suite; bench = suite.start(); os.getpid()")
        host = int(notebook.run("os.getpid()"))
        loads = notebook.run("bench.status()['host']['id']")
        out = tmp_path / "phase2_health.report.ipynb"
        done = subprocess.run([sys.executable, "-m", "papermill", str(ROOT / "runbooks" / "phase2_health.ipynb"), str(out), "--no-progress-bar"],
                              env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        checks, text = report_of(out)
        assert [check["state"] for check in checks] == ["pass"] * 9
        assert "already running, inspected as a guest" in text
        record = json.loads((tmp_path / "data" / "run" / "host.json").read_text(encoding="utf-8"))
        assert record["pid"] == host and f"'{record['id']}'" == loads
        assert notebook.run("bench.hosting, bench.chat('hello', max_tokens=1).tokens") == "(True, 1)"


def test_a_runbook_run_from_the_notebook_itself_answers_while_the_cell_waits(env: dict[str, str]) -> None:
    with kernel(env) as notebook:
        notebook.run("import suite; bench = suite.start()")
        notebook.run("report = bench.run('phase2_health')")
        assert notebook.run("report.verdict, len(report.checks)") == "('pass', 9)"
        assert notebook.run("bench.hosting") == "True"


def test_the_installed_kernelspec_starts_with_the_bench_ready(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    done = subprocess.run([sys.executable, "-m", "suite", "kernels", "install"], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0 and "kernel suite installed" in done.stdout, done.stderr
    manager = KernelSpecManager(kernel_dirs=[str(tmp_path / "jupyter" / "kernels")])
    assert {"suite", "suite-gpu"} <= set(manager.find_kernel_specs())
    assert manager.get_kernel_spec("suite").argv[0] == sys.executable
    with kernel(env, "suite", kernel_spec_manager=manager) as notebook:
        assert notebook.run("[part['ready'] for part in bench.status()['parts']]") == str([True] * 9)
        assert notebook.run("%%chat --max-tokens 1 --to reply\nhello") == "" and notebook.run("reply.tokens") == "1"


def test_a_kernel_that_is_restarted_can_start_the_stack_again(env: dict[str, str]) -> None:
    with kernel(env) as notebook:
        assert notebook.run("import suite; bench = suite.start(); bench.hosting") == "True"
    with kernel(env) as notebook:
        assert notebook.run("import suite; bench = suite.start(); bench.hosting") == "True"
