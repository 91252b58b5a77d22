"""`suite chat`: in a real terminal and from a pipe, beside a running stack and with a stack of its own."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest
from models_stage import endless

from kernels import Process
from suite.cli.main import main

# Ctrl-C reaches only a process whose terminal is its controlling one; and a shell that starts pytest in the background makes its children deaf to it
START = ("import fcntl, signal, sys, termios; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "if sys.stdin.isatty(): fcntl.ioctl(0, termios.TIOCSCTTY, 0)\nfrom suite.cli.main import main; sys.exit(main())")
SECONDS = 60
PROMPT = "you> "


class Terminal:
    """`suite chat` on a pseudo terminal: `type` presses keys, `until` waits for text and gives what came before it."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen([sys.executable, "-c", START, "chat", *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                      env={**os.environ, **env, "TERM": "dumb"})
        os.close(slave)
        self.seen = b""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, text: str) -> str:
        deadline = time.monotonic() + SECONDS
        while text.encode() not in self.seen:
            assert self._read(deadline), f"the terminal closed before {text!r}: {self.seen.decode(errors='replace')!r}"
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode().replace("\r\n", "\n")

    def end(self) -> tuple[int, str]:
        """Wait for the end; gives the status and what was still written."""
        while self._read(time.monotonic() + SECONDS):
            pass
        return self.child.wait(SECONDS), self.seen.decode().replace("\r\n", "\n")

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(SECONDS)
        os.close(self.master)

    def _read(self, deadline: float) -> bool:
        assert select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0], f"nothing came; so far {self.seen.decode(errors='replace')!r}"
        try:
            piece = os.read(self.master, 65536)
        except OSError:  # Linux says so when the last one has closed its side
            return False
        self.seen += piece
        return bool(piece)


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return endless(tmp_path_factory.mktemp("chat"), models_dir)


@pytest.fixture(scope="module")
def host(env: dict[str, str]) -> Iterator[Process]:
    process = Process(env, Path(env["WORKSPACE_DIR"]))
    process.ask("import suite; bench = suite.start(); chat = bench._behind.parts['inference-chat']")
    yield process
    process.kill()


@pytest.fixture
def terminal(host: Process, env: dict[str, str]) -> Iterator[Any]:
    """Opens terminals; what is left of them is closed."""
    opened: list[Terminal] = []

    def start(*arguments: str, **more: str) -> Terminal:
        opened.append(Terminal(*arguments, env={**env, **more}))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def piped(env: dict[str, str], *arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "suite", "chat", *arguments], input=text, capture_output=True, env={**os.environ, **env}, timeout=SECONDS)


def idle(host: Process) -> bool:
    deadline = time.monotonic() + SECONDS
    while host.ask("int(chat.ready().facts['busy'])"):
        assert time.monotonic() < deadline, "the server still writes a reply that nobody reads"
    return True


def test_a_conversation_at_the_terminal(terminal: Any, host: Process, env: dict[str, str]) -> None:
    chat = terminal("--max-tokens", "6", "--seed", "3")
    assert "/help lists the commands" in chat.until(PROMPT)
    chat.type("hello there\n")
    first = chat.until(PROMPT)
    assert re.search(r"\n\x1b\[2mchat-7b \(endless\) · 6 tokens · \d+ tokens/s · .*cut off at its limit of tokens · smoke model", first), first
    chat.type("and you?\n")
    second = chat.until(PROMPT)
    chat.type("/clear\n")
    assert "forgotten" in chat.until(PROMPT)
    chat.type("hello there\n")
    assert said(chat.until(PROMPT)) == said(first) != said(second), "with the same seed an emptied conversation begins as the first did"
    chat.type("/model\n")
    assert re.search(r"  chat-7b: endless\n  code-7b: \S+\n\* auto: ", chat.until(PROMPT))
    chat.type("/model code-7b\n")
    assert "Asking code-7b" in chat.until(PROMPT)
    chat.type("hello there\n")
    assert "code-7b (" in chat.until(PROMPT)
    chat.type("/model gpt-9\n")
    assert "suite: No model is called 'gpt-9' here; choose one of: chat-7b, code-7b, auto.\n" in chat.until(PROMPT)
    chat.type("/fly\n")
    assert "suite: There is no command '/fly'" in chat.until(PROMPT)
    chat.type("\x04")
    assert chat.end()[0] == 0
    history = Path(env["DATA_DIR"]) / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600 and "and you?\n" in history.read_text(encoding="utf-8")
    assert host.ask("bench.stopped") is False, "a guest that leaves does not end the host"


def said(screen: str) -> str:
    """The reply on a screen that begins with the echoed question and ends with the dim line."""
    return screen.split("\n", 1)[1].split("\x1b[2m")[0]


def test_ctrl_c_stops_the_reply_frees_the_server_and_comes_back(terminal: Any, host: Process) -> None:
    chat = terminal("--max-tokens", "100000", "--model", "chat-7b")
    chat.until(PROMPT)
    chat.type("go on and on\n")
    chat.until("\n")
    chat.until(" ")
    assert host.ask("int(chat.ready().facts['busy'])") == 1
    chat.type("\x03")
    chat.until(PROMPT)
    assert idle(host)
    chat.type("half a line\x03")
    chat.until(PROMPT)
    chat.type("/exit\n")
    assert chat.end()[0] == 0


def test_ctrl_c_ends_a_single_question(terminal: Any, host: Process) -> None:
    chat = terminal("go on and on", "--max-tokens", "100000", "--model", "chat-7b")
    chat.until("starting one …\x1b[0m\r\n")
    chat.until(" ")
    chat.type("\x03")
    status, rest = chat.end()
    assert status == 130 and rest.endswith("\nsuite: interrupted.\n")
    assert idle(host)


def test_a_question_from_a_pipe_and_one_as_json(host: Process, env: dict[str, str]) -> None:
    options = ("--max-tokens", "5", "--temperature", "0", "--model", "chat-7b")
    done = piped(env, *options, text="안녕하세요, 서버는 어디에?\n".encode())
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 1)
    whole = piped(env, *options, "--json", "안녕하세요,", "서버는", "어디에?")
    row = json.loads(whole.stdout)
    assert whole.returncode == 0 and row["text"] + "\n" == done.stdout.decode()
    assert (row["tokens"], row["alias"], row["smoke"], row["finish"]) == (5, "chat-7b", True, "length")
    code = json.loads(piped(env, "--code", "--json", "--max-tokens", "2", "hello").stdout)
    assert code["alias"] == "code-7b"
    told = json.loads(piped(env, *options, "--json", "--system", "You are a parrot.", "안녕하세요, 서버는 어디에?").stdout)
    assert told["prompt_tokens"] > row["prompt_tokens"], "the system message was not sent"


@pytest.mark.parametrize(("arguments", "text", "sentence"), [
    ((), b"  \n", "The question is empty; write one"), (("--json",), b"", "The question is empty"), (("x", "--temperature", "nan"), b"", "temperature is nan"),
    (("x", "--max-tokens", "0"), b"", "max_tokens is 0 but must be a whole number from 1"), (("x", "--model", "gpt-9"), b"", "No model is called 'gpt-9'"),
])
def test_what_cannot_be_asked_is_one_sentence(host: Process, env: dict[str, str], arguments: tuple[str, ...], text: bytes, sentence: str,
                                             monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["chat", *arguments]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith(f"suite: {sentence}")


def test_bytes_that_are_no_text_are_asked_as_far_as_they_can_be_read(host: Process, env: dict[str, str]) -> None:
    done = piped(env, "--max-tokens", "2", text=b"caf\xe9 \xff\n")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_host_that_dies_in_the_middle_is_said_with_status_1(env: dict[str, str], tmp_path: Path) -> None:
    mine = {**env, "DATA_DIR": str(tmp_path / "data")}
    dying = Process(mine, tmp_path)
    try:
        dying.ask("import suite; bench = suite.start()")
        with subprocess.Popen([sys.executable, "-m", "suite", "chat", "go on", "--max-tokens", "100000", "--model", "chat-7b"], env={**os.environ, **mine},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            assert child.stdout.read(10)
            dying.kill()
            _, errors = child.communicate(timeout=SECONDS)
        assert child.returncode == 1 and re.fullmatch(r"suite: [^\n]+ask again\.\n|suite: Nobody answers[^\n]+\n", errors.decode()), errors
    finally:
        dying.kill()


def test_a_stack_of_its_own_forgets_the_oldest_turn_when_full_and_leaves_nothing(models_dir: Path, env: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    chat = Terminal("--max-tokens", "40", "--model", "chat-7b", env={**env, "DATA_DIR": str(data), "LLAMA_CTX": "128"})
    try:
        chat.until(PROMPT)
        for question in ("one", "two"):
            chat.type(question + "\n")
            assert "left out" not in chat.until(PROMPT)
        chat.type("three\n")
        assert "The oldest turn was left out, to fit the context of 128 tokens." in chat.until(PROMPT)
        chat.type("four " * 200 + "\n")
        assert re.search(r"suite: The prompt has \d+ tokens but inference-chat has a context of 128", chat.until(PROMPT))
        chat.type("five\n")
        assert "The oldest turn was left out" in chat.until(PROMPT), "a question that was refused must not cost the conversation"
        assert (data / "run" / "host.json").exists()
        chat.child.terminate()
        assert chat.end()[0] == 128 + signal.SIGTERM
    finally:
        chat.close()
    assert [name for name in os.listdir(data / "run") if name != "host.lock"] == []
    with filelock.FileLock(data / "run" / "host.lock").acquire(timeout=0):
        assert [path for path in data.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []
