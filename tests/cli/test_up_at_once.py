"""`suite up` twice at the same moment, and interrupted while the host it started is on its way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import psutil
import pytest

from suite import host
from suite.cli.main import main

COMMAND = [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
           "from suite.cli.main import main; sys.exit(main())", "up"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, value in {"DATA_DIR": tmp_path / "data", "MODELS_DIR": models_dir, "SUITE_PORT_BASE": "auto"}.items():
        monkeypatch.setenv(name, str(value))
    yield tmp_path / "data"
    main(["down"])


def up() -> subprocess.Popen[str]:
    return subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def hosts_of(data: Path) -> list[int]:
    """Every process that would host, or hosts, this data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if "--foreground" in process.cmdline() and process.environ().get("DATA_DIR") == str(data) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def held(data: Path) -> bool:
    """Whether somebody holds the lock of the data directory."""
    if not (data / "run" / "host.lock").exists():
        return False
    try:
        with filelock.FileLock(data / "run" / "host.lock").acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def test_two_ups_at_once_give_one_host(data: Path) -> None:
    pair = [up(), up()]
    said = [child.communicate(timeout=120) for child in pair]
    assert [(child.returncode, errors) for child, (_, errors) in zip(pair, said, strict=True)] == [(0, ""), (0, "")]
    record = host.read(data / "run")
    assert record is not None and record.alive()
    assert {re.search(r"host pid (\d+),", text)[1] for text, _ in said} == {str(record.pid)}  # type: ignore[index]
    wait_until(lambda: hosts_of(data) == [record.pid])
    assert main(["down"]) == 0
    wait_until(lambda: hosts_of(data) == [])


@pytest.mark.parametrize("moment", ["begun", "locked", "recorded"])
def test_an_interrupt_of_up_leaves_no_child_no_port_and_no_lock(data: Path, moment: str) -> None:
    reached = {"begun": lambda: hosts_of(data), "locked": lambda: held(data), "recorded": (data / "run" / "host.json").exists}[moment]
    with up() as child:
        wait_until(reached)
        record = host.read(data / "run")
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=60)
    assert (child.returncode, out, errors) == (130, "", "suite: interrupted.\n")
    assert hosts_of(data) == [] and not held(data)
    assert [name for name in os.listdir(data / "run") if name != "host.lock"] == []
    ports = set(record.ports.values()) if record else set()
    assert moment != "recorded" or ports
    assert [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr.port in ports] == []
