"""Model servers that are killed, for real: under load, in the middle of a reply; and what every caller is told."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from models_stage import served
from stand_in_server import text_of

from suite.errors import NotReady, UpstreamError
from suite.gateway.gateway import Gateway
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.http import gateway as gateway_app
from suite.http.problem import add_problems
from suite.serving.request import Request

HERE = Path(__file__).parent
CLIENTS, GOOD, WORDS, LONG = 4, 6, 20, 5000


@contextlib.contextmanager
def process(script: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its base URL; killed at the end."""
    started = subprocess.Popen([sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield started, f"http://127.0.0.1:{started.stdout.readline().strip()}/v1"
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


@dataclass(frozen=True)
class Seen:
    """What one request came to: `at` is the moment of its end, `text` empty when it failed."""

    began: float
    at: float
    text: str = ""
    model: str = ""
    fallback: bool = False
    why: str = ""
    error: Exception | None = None


class Load:
    """Clients that ask on and on, by turns streaming and not, until they are told to stop."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.seen = gateway, []
        self._stop, self._news = threading.Event(), threading.Condition()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        stream = False
        while not self._stop.is_set():
            began, stream = time.monotonic(), not stream
            try:
                answered = self.gateway.chat("hello", model="chat-7b", stream=stream, max_tokens=WORDS)
                text = "".join(answered) if stream else answered.text
                reply = answered.reply if stream else answered
                done = Seen(began, time.monotonic(), text, reply.model, reply.fallback, reply.why)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
                done = Seen(began, time.monotonic(), error=error)
            with self._news:
                self.seen.append(done)
                self._news.notify_all()

    def wait_for(self, condition: Any) -> None:
        with self._news:
            assert self._news.wait_for(lambda: condition(self.seen), 60), self.seen[-5:]

    def stop(self) -> list[Seen]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.seen


def good_after(moment: float, model: str, fallback: bool) -> Any:
    return lambda seen: sum(each.began > moment and each.model == model and each.fallback == fallback for each in seen) >= GOOD


def test_under_load_a_killed_server_is_replaced_flagged_and_taken_back_when_it_returns(capsys: pytest.CaptureFixture[str]) -> None:
    with process("stand_in_server.py", "chat-model") as (chat, chat_url), process("stand_in_server.py", "code-model") as (_, code_url):
        upstreams = [OpenAIUpstream(f"{name}-box", url, f"{name}-model") for name, url in (("chat", chat_url), ("code", code_url))]
        gateway = Gateway({"chat-7b": upstreams[:1], "code-7b": upstreams[1:]}, failures=3, seconds=0.2)
        load = Load(gateway)
        load.wait_for(good_after(0.0, "chat-model", False))
        chat.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        load.wait_for(good_after(killed, "code-model", True))
        chat.wait()
        with process("stand_in_server.py", "chat-model", chat_url.split(":")[2].removesuffix("/v1")):
            back = time.monotonic()
            load.wait_for(good_after(back, "chat-model", False))
            seen = load.stop()
        gateway.close()
    for each in seen:
        if each.error is not None:
            assert isinstance(each.error, (UpstreamError, NotReady)) and "-box" in str(each.error), each
        else:
            assert each.text == text_of(each.model, WORDS), each  # whole, whoever wrote it
            assert each.fallback == (each.model != "chat-model"), each
            assert not each.fallback or "code-box stood in because chat-box could not answer" in each.why
        assert each.error is None or each.at >= killed  # nothing fails while all is well
    first = min(each.at for each in seen if each.began > killed and not each.error)
    failed = sum(each.error is not None for each in seen)
    with capsys.disabled():
        print(f"\n{len(seen)} requests by {CLIENTS} clients, {failed} failed clearly; first good answer {first - killed:.3f} s after the kill")


def test_a_stream_of_a_killed_server_ends_in_an_error_in_python_and_over_http() -> None:
    for over_http in (False, True):
        with process("stand_in_server.py", "chat-model") as (chat, url), process("stand_in_server.py", "code-model") as (_, other):
            gateway = Gateway({"chat-7b": [OpenAIUpstream("chat-box", url)], "code-7b": [OpenAIUpstream("code-box", other)]})
            if over_http:
                app = gateway_app.app(gateway)
                add_problems(app)
                with served(app) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
                    body = {"model": "chat-7b", "messages": [{"role": "user", "content": "hello"}], "stream": True, "max_tokens": LONG}
                    with client.stream("POST", "/v1/chat/completions", json=body) as response:
                        lines = (line for line in response.iter_lines() if line)
                        head = [next(lines) for _ in range(3)]
                        chat.kill()
                        events = [*head, *lines]
                assert "[DONE]" not in events[-1] and json.loads(events[-1][6:])["error"]["type"] == "UpstreamError"
                assert response.status_code == 200 and float(response.headers["x-suite-overhead-ms"]) >= 0
            else:
                stream = gateway.chat("hello", model="chat-7b", stream=True, max_tokens=LONG)
                pieces = [next(stream)]
                chat.kill()
                with pytest.raises(UpstreamError, match="chat-box"):
                    for piece in stream:
                        pieces.append(piece)
                assert text_of("chat-model", LONG).startswith("".join(pieces)) and "".join(pieces) != text_of("chat-model", LONG)
            assert gateway.chat("hello", model="chat-7b", max_tokens=2).fallback
            gateway.close()


def test_a_real_model_server_behind_a_url_answers_and_its_death_is_told(tmp_path: Path, servers: Any) -> None:
    with process("model_server.py", str(tmp_path / "there")) as (there, url):
        gateway = Gateway({"chat-7b": [OpenAIUpstream("other-suite", url)], "code-7b": [servers[1]]})
        reply = gateway.chat("hello", model="chat-7b", max_tokens=12, ignore_eos=True, seed=3)
        assert (reply.tokens, reply.finish, reply.smoke, reply.fallback) == (12, "length", True, False) and reply.timings["predicted_n"] == 12
        assert reply.text == servers[1].complete(Request.of("hello", max_tokens=12, ignore_eos=True, seed=3)).text
        assert gateway.ready().ok and gateway.ready().facts["smoke"]
        stream = gateway.chat("hello", model="chat-7b", stream=True, max_tokens=3000, ignore_eos=True)
        next(stream)
        there.kill()
        with pytest.raises(UpstreamError, match="other-suite"):
            list(stream)
        assert gateway.chat("hello", model="chat-7b", max_tokens=2).fallback and not gateway.ready().ok
        gateway.close()
