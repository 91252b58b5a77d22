"""`suite up`, `down`, `status`, `models`, `kernels`, `mcp`: exit codes, sentences, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from suite import host
from suite.cli.main import main
from suite.host import PORTS


@pytest.fixture(autouse=True)
def data(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory whose name holds all that a path may hold, and addresses and templates may not."""
    place = tmp_path / "한글 dir %41 {x}?#"
    for name, value in {"DATA_DIR": place, "MODELS_DIR": models_dir, "SUITE_PORT_BASE": "auto"}.items():
        monkeypatch.setenv(name, str(value))
    return place


@pytest.fixture
def up(data: Path, capsys: pytest.CaptureFixture[str]) -> host.HostRecord:  # type: ignore[misc]
    before = os.umask(0)
    try:
        assert main(["up"]) == 0
    finally:
        os.umask(before)
    found = host.read(data / "run")
    assert found is not None
    yield found
    main(["down"])
    capsys.readouterr()


def nothing_left(data: Path) -> None:
    assert [name for name in os.listdir(data / "run") if name != "host.lock"] == []
    with filelock.FileLock(data / "run" / "host.lock").acquire(timeout=0):
        assert True


def test_up_status_down(up: host.HostRecord, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert up.pid != os.getpid() and "Smoke profile" in capsys.readouterr().out
    assert main(["up"]) == 0 and f"host pid {up.pid}," in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 9
    assert main(["down"]) == 0 and capsys.readouterr().out == f"suite: stopped (pid {up.pid}).\n"
    nothing_left(data)
    assert main(["down"]) == 0 and "nothing runs" in capsys.readouterr().out
    assert main(["status"]) == 1 and "`suite up` starts it" in capsys.readouterr().out


def test_nothing_that_a_host_writes_is_for_others_whatever_the_umask(up: host.HostRecord, data: Path) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [data, *data.rglob("*")]}
    assert {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_a_host_that_dies_while_it_starts_gives_its_own_reason(data: Path, monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("API_GATEWAY_CODE_MODEL", "chat-7b")
    assert main(["up"]) == 2
    assert "API_GATEWAY_CHAT_MODEL is 'chat-7b' and API_GATEWAY_CODE_MODEL is 'chat-7b', but" in capsys.readouterr().err
    nothing_left(data)


def test_a_busy_port_is_said_and_nothing_stays(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        monkeypatch.setenv("SUITE_PORT_BASE", str(sock.getsockname()[1] - PORTS["rag"]))
        assert main(["up"]) == 2
    said = capsys.readouterr().err
    assert f"(rag) is taken by pid {os.getpid()}" in said and said.count("\n") == 1
    nothing_left(data)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_foreground_host_ends_in_order(data: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
               "from suite.cli.main import main; sys.exit(main())", "up", "--foreground"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("Local AI Suite")
        child.send_signal(sent)
        rest, errors = child.communicate(timeout=60)
    assert (child.returncode, errors, rest.splitlines()[-1]) == (0, "", "suite: stopping.")
    nothing_left(data)


@pytest.mark.parametrize("arguments", [["mcp"], ["models", "pull", "bert"], ["up", "--profile", "gpu9000"], ["up", "--stage", "qa"]])
def test_what_cannot_be_done_is_one_sentence_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("suite: ") and printed.err.count("\n") == 1


def test_models_are_listed_and_the_embedder_is_there(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    assert "smoke" in {row["name"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert main(["models", "pull", "minilm"]) == 0 and str(models_dir) in capsys.readouterr().out


def test_a_reader_that_goes_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "suite", "models", "list"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_deleted_directory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert main(["status"]) == 2 and "current directory was deleted" in capsys.readouterr().err
    os.chdir(tmp_path)
