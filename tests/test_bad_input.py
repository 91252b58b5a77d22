"""Bad input that a part meets at the start: each is one sentence, and the process lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest
from gguf import GGUFReader

import suite
from suite.errors import BadRequest, ContextOverflow, HostGone, SettingsError
from suite.gateway.gateway import Gateway
from suite.http.client import Client
from suite.serving import trial
from suite.serving.parameters import Parameters
from suite.settings import load, package_file
from suite.storage.engine import open_storage
from suite.vectors.store import Point, check_point, check_where


def test_a_stack_ended_by_a_request_leaves_the_kernel_free_to_start_again(models_dir: Path, tmp_path: Path) -> None:
    """`suite down` ends the host from a thread of its server, while the hosting process goes on."""
    first = suite.start(data_dir=str(tmp_path / "data"), models_dir=str(models_dir), port_base="auto")
    target = first.target()
    with Client(target.urls["api-gateway"], target.token) as client:
        assert client.post("/v1/stop").json() == {"stopping": True}
    first.wait()
    assert [name for name in os.listdir(tmp_path / "data" / "run") if name != "host.lock"] == []
    with filelock.FileLock(tmp_path / "data" / "run" / "host.lock").acquire(timeout=0):
        assert True
    with pytest.raises(HostGone):
        first.chat("hello")


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "한글 %41 {x}?#"
    folder.mkdir()
    open_storage("", folder).close()
    assert (folder / "suite.db").is_file() and (folder / "suite.db").stat().st_mode & 0o777 == 0o600


def test_weights_that_are_no_numbers_are_refused_before_they_answer(models_dir: Path, tmp_path: Path) -> None:
    source, broken = package_file("models/smoke.gguf"), tmp_path / "broken.gguf"
    content = bytearray(source.read_bytes())
    for tensor in GGUFReader(str(source)).tensors:
        content[int(tensor.data_offset):int(tensor.data_offset) + int(tensor.n_bytes)] = b"\xff" * int(tensor.n_bytes)
    broken.write_bytes(content)
    with suite.bench.throwaway(models_dir=str(models_dir), chat_model=str(broken)) as (stack, _target):
        state = stack.parts["inference-chat"].ready()
        assert not state.ok and "a token's scores are not numbers" in state.reasons[0]
        with pytest.raises(ContextOverflow, match="10,000,000 characters, more than the context of inference-code holds"):
            stack.parts["inference-code"].complete(request("x" * 10_000_000))


def request(text: str) -> Any:
    from suite.serving.request import Request

    return Request.of(text, max_tokens=1)


@pytest.mark.parametrize(("code", "said"), [
    ("raise ImportError('libllama.so: no such file')", "llama.cpp itself cannot be loaded: libllama.so: no such file; install it again"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "with SIGILL in a trial load: llama-cpp-python was built for another processor"),
])
def test_a_llama_cpp_that_does_not_work_here_is_said_by_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    package = tmp_path / "llama_cpp"
    package.mkdir()
    (package / "llama_cpp.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(trial, "llama_folder", lambda: package)
    weights: Any = SimpleNamespace(sha256="0" * 64, path=Path("/m.gguf"), bytes=1)
    with pytest.raises(suite.errors.WeightsError) as caught:
        trial.ensure(weights, Parameters(n_ctx=8, kv_tokens=8), tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_llama_cpp_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hook:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "llama_cpp":
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Hook(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    with pytest.raises(suite.errors.WeightsError, match=r"is not installed.*python -m pip install llama-cpp-python"):
        trial.llama_folder()


@pytest.mark.parametrize(("chat", "code"), [("one", "one"), ("auto", "code-7b"), ("chat-7b", "auto")])
def test_two_aliases_are_two_names(chat: str, code: str) -> None:
    with pytest.raises(SettingsError, match="they must be two names"):
        Gateway({chat: [object()], code: [object()]}, chat=chat, code=code)  # type: ignore[list-item]


def test_a_toml_that_is_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").mkdir()
    with pytest.raises(SettingsError, match=r"suite\.toml cannot be read \(Is a directory\)"):
        load(environ={}, cwd=tmp_path)


@pytest.mark.parametrize("payload", [{"a": "\ud800"}, {"a": float("nan")}, {"a": Path("x")}, {"a": b""}])
def test_a_payload_that_no_json_can_hold_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="is not JSON in UTF-8"):
        check_point(Point("a", [1.0], None, payload), 1, "Dot")


def test_a_filter_that_no_json_can_hold_is_refused() -> None:
    with pytest.raises(BadRequest, match="cannot be compared"):
        check_where({"a": "\ud800"})


def test_a_host_that_ended_but_was_not_asked_for_is_dead(tmp_path: Path) -> None:
    import psutil

    from suite.host import HostRecord

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        record = HostRecord("", child.pid, psutil.Process(child.pid).create_time(), 0, "", "", "", "", "", {}, "", {}, "")
        assert record.alive()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not record.alive()
