"""The whole stack in one process: nine parts on real ports, and what happens when a start goes wrong."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock
import httpx
import pytest

import suite
from suite import bench as benches
from suite.errors import ApprovalNeeded, DataDirError, Denied, HostGone, HostMismatch, NotReady, PortBusy, SettingsError, StartError, StorageError
from suite.host import PARTS, PORTS, choose_ports


@pytest.fixture(scope="module")
def running(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[suite.Bench]:
    """One stack for the tests that only look."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "work").mkdir()
    bench = suite.start("smoke", data_dir=str(folder / "data"), models_dir=str(models_dir), workspace_dir=str(folder / "work"), port_base="auto")
    yield bench
    bench.stop()

WATCHING = ("monitoring", "alerts", "logs", "dashboard")


def nothing_left(data: Path, before: set[threading.Thread]) -> None:
    """No thread beyond those of before, no lock, no record, no token."""
    for thread in threading.enumerate():  # one that is on its way out (a timer of a hundredth of a second) may still end
        if thread not in before and isinstance(thread, threading.Timer):
            thread.join(5)
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    if (data / "run").is_dir():
        assert [name for name in os.listdir(data / "run") if name != "host.lock"] == []
        with filelock.FileLock(data / "run" / "host.lock").acquire(timeout=0):
            assert True


def test_all_nine_parts_are_ready_and_their_start_is_recorded(running: suite.Bench) -> None:
    parts = running.status()["parts"]
    assert [part["name"] for part in parts] == list(PARTS)
    assert [(part["name"], part["reasons"]) for part in parts if not part["ready"]] == []
    assert all(part["started_s"] <= part["ready_s"] for part in parts)


def test_every_part_answers_the_three_questions(running: suite.Bench) -> None:
    for name, part in running._behind.parts.items():
        for question in (part.live, part.ready, part.deep):
            state = question()
            assert state.ok, (name, question.__name__, state.reasons)


def test_every_port_has_its_questions_and_needs_the_token(running: suite.Bench) -> None:
    target = running.target()
    with httpx.Client() as client:
        for part, url in target.urls.items():
            assert client.get(url + "/health").status_code == 200, part
            assert "facts" not in client.get(url + "/health").json()
            assert client.get(url + "/live").status_code == 401, part
            if part in WATCHING:  # no part is behind it
                continue
            assert client.get(url + "/metrics").status_code == 200, part
            assert client.post(url + "/deep").status_code == 401, part
            assert client.post(url + "/deep", headers={"Authorization": f"Bearer {target.token}"}, timeout=60).json()["ok"], part


def test_the_ports_are_the_originals_shifted_by_one_number(running: suite.Bench) -> None:
    ports = running.status()["host"]["ports"]
    assert {ports[part] - PORTS[part] for part in PORTS} == {ports["api-gateway"] - 8000}


def test_nothing_listens_beyond_this_machine(running: suite.Bench) -> None:
    import psutil

    addresses = {c.laddr.ip for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_the_record_and_the_log_hold_no_token(running: suite.Bench) -> None:
    token = running.target().token
    data = running.settings.data_dir
    assert len(token) == 64
    for file in [data / "run" / "host.json", *(data / "logs").iterdir()]:
        assert token not in file.read_text(encoding="utf-8", errors="replace"), file
    assert oct((Path(json.loads((data / "run" / "host.json").read_text())["token_file"])).stat().st_mode & 0o777) == "0o600"


def test_the_card_says_that_smoke_models_answer(running: suite.Bench) -> None:
    assert "Smoke profile" in repr(running) and "Smoke profile" in running._repr_html_()
    reply = running.chat("Hello", max_tokens=4)
    assert reply.smoke and "smoke" in repr(reply).lower()


def test_starting_again_in_the_same_process_gives_the_same_bench(running: suite.Bench) -> None:
    same = {name: str(getattr(running.settings, name)) for name in ("data_dir", "models_dir", "workspace_dir")}
    assert suite.start("smoke", **same) is running
    with pytest.raises(HostMismatch, match="its profile is 'smoke', asked was 'cpu'"):
        suite.start("cpu", **same)
    assert suite.start("cpu", attach=True, **same) is running


def test_a_small_session_works_end_to_end(running: suite.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    work = running.settings.workspace_dir
    (work / "handbook.md").write_text("# 운영\n\n백업은 매일 새벽 3시에 돕니다.\n\nThe office opens at nine.\n", encoding="utf-8")
    monkeypatch.chdir(work)
    docs = running.collection("session")
    assert docs.add("*.md").new == 1
    answer = docs.ask("백업은 몇 시에 도나요?")
    assert "새벽 3시" in answer.citations[0].quote
    remembered = running.memory.remember("When is the backup?", "At three in the morning.")
    assert running.memory.recall("backup morning")[0].id == remembered.id
    assert "새벽 3시" in str(running.tools.call("read_file", path="handbook.md").value)
    with pytest.raises((Denied, ApprovalNeeded)):
        running.tools.call("read_file", path="/etc/passwd")
    docs.drop()
    assert running.memory.forget(remembered.id)


def test_what_memory_and_the_maintainer_say_of_themselves_is_at_their_targets(running: suite.Bench) -> None:
    urls = running.target().urls
    for url, name in ((urls["memory-api"] + "/metrics", "suite_memory_turns "), (urls["memory-api"] + "/metrics", "suite_memory_sync_lag_seconds "),
                      (urls["monitoring"] + "/metrics/monitoring", "suite_maintainer_heartbeat_age_seconds "),
                      (urls["monitoring"] + "/metrics/monitoring", 'suite_maintainer_job_failed{task="sync"} 0.0')):
        assert f"\n{name}" in httpx.get(url, trust_env=False).text, name


def test_after_stop_nothing_is_left_and_the_bench_says_so(models_dir: Path, tmp_path: Path) -> None:
    data, before = tmp_path / "data", set(threading.enumerate())
    bench = suite.start(data_dir=str(data), models_dir=str(models_dir), port_base="auto")
    ports = bench.status()["host"]["ports"].values()
    bench.stop()
    bench.stop()
    with pytest.raises(HostGone, match=r"was stopped; call suite\.start\(\)"):
        bench.chat("hello")
    nothing_left(data, before)
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))


def test_a_busy_port_starts_nothing_and_leaves_nothing(models_dir: Path, tmp_path: Path) -> None:
    with socket.socket() as sock:
        base = choose_ports("auto")["embedding"] - PORTS["embedding"]
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a stack of another test may have closed connections there just now
        sock.bind(("127.0.0.1", base + PORTS["embedding"]))
        sock.listen()
        before = set(threading.enumerate())
        with pytest.raises(PortBusy, match=rf"\(embedding\) is taken by pid {os.getpid()}"):
            suite.start(data_dir=str(tmp_path / "data"), models_dir=str(models_dir), port_base=str(base))
    nothing_left(tmp_path / "data", before)


@pytest.mark.parametrize(("arguments", "error", "said"), [
    ({"profile": "gpu-9000"}, Exception, "gpu-9000"), ({"port_base": "soon"}, StartError, "'soon' but must be a whole number or `auto`"),
    ({"port_base": "60000"}, StartError, "leads to port"), ({"rag_topk": "x"}, SettingsError, "RAG_TOPK is 'x'"),
    ({"memory_backup_cron": "25:99"}, SettingsError, "MEMORY_BACKUP_CRON is '25:99'"), ({"database_url": "sqlite://"}, StorageError, "without a file"),
    ({"bind": "203.0.113.7", "port_base": "auto"}, StartError, "Cannot listen on 203.0.113.7"),
])
def test_what_cannot_be_started_is_said_in_one_sentence(tmp_path: Path, arguments: dict[str, str], error: type[Exception], said: str) -> None:
    before = set(threading.enumerate())
    with pytest.raises(error, match=said) as caught:
        suite.start(data_dir=str(tmp_path / "data"), **{"port_base": "auto", **arguments})
    assert "\n" not in str(caught.value)
    nothing_left(tmp_path / "data", before)


def test_a_data_directory_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("", encoding="utf-8")
    with pytest.raises(DataDirError, match="a file is in the way, move it or set DATA_DIR"):
        suite.start(data_dir=str(tmp_path / "data"))


def test_a_start_that_takes_long_shows_which_part_it_waits_for(models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("suite.stack.QUIET_SECONDS", 0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # else it is a notebook
    with benches.throwaway(models_dir=str(models_dir)):
        assert capsys.readouterr().err == "", "not in a file"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with benches.throwaway(models_dir=str(models_dir)):
        assert "starting:" in capsys.readouterr().err
    monkeypatch.setattr("suite.stack.QUIET_SECONDS", 60)
    with benches.throwaway(models_dir=str(models_dir)):
        assert capsys.readouterr().err == ""


def test_a_part_that_was_started_again_is_counted(models_dir: Path) -> None:
    with benches.throwaway(models_dir=str(models_dir)) as (stack, _target):
        restarts = lambda: {part["name"]: part["restarts"] for part in stack.status()["parts"] if part["restarts"]}  # noqa: E731
        assert restarts() == {}
        stack.parts["inference-code"].unload()
        stack.parts["inference-code"].load()
        stack.parts["memory-maintainer"].close()
        stack.parts["memory-maintainer"].start()
        assert restarts() == {"inference-code": 1, "memory-maintainer": 1}


def test_a_part_without_its_weights_says_so_and_the_others_work(models_dir: Path, tmp_path: Path) -> None:
    with benches.throwaway(models_dir=str(models_dir), chat_model="no-such-file.gguf") as (stack, _target):
        bench = benches.Bench(stack.settings, stack)
        states = {part["name"]: part for part in bench.status()["parts"]}
        assert not states["inference-chat"]["ready"] and "no-such-file.gguf" in states["inference-chat"]["reasons"][0]
        assert "leave CHAT_MODEL empty" in states["inference-chat"]["reasons"][0]
        assert states["inference-code"]["ready"] and states["embedding"]["ready"]
        assert "no-such-file.gguf" in repr(bench)
        with pytest.raises(NotReady, match=r"no-such-file\.gguf"):
            stack.parts["inference-chat"].complete(_request())
        flagged = bench.chat("hello", model="chat-7b", max_tokens=2)
        assert flagged.fallback and "stand-in" in repr(flagged)


def _request():  # type: ignore[no-untyped-def]
    from suite.serving.request import Request

    return Request(({"role": "user", "content": "hello"},), max_tokens=2)
