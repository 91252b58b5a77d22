"""The decoder in a process of its own: it gives what a decoder here gives, and whatever ends it, this process lives and says what happened."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from models_stage import smoke_server

from suite.errors import BadRequest, ContextOverflow, NotReady, UpstreamError, WeightsError
from suite.serving.random_model import Shape, write
from suite.serving.request import Request

LONG = 3000
TOOL = {"type": "function", "function": {"name": "tell", "description": "Tell a number.", "parameters": {
    "type": "object", "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["number"]}}}


def _until(condition, seconds=30.0):
    met, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        met.wait(0.005)


def ask(text="Which server is it?", **options):
    """A request whose reply does not end by itself."""
    return Request.of(text, **{"ignore_eos": True, **options})


def holders():
    """The processes that hold a decoder of ours."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("child_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def alive(pid):
    """Whether a process runs; one that has ended and was not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A model of random weights, whose texts differ from seed to seed."""
    path = tmp_path_factory.mktemp("noise") / "noise.gguf"
    write(path, Shape(width=64, layers=2, heads=4, kv_heads=2, feed_forward=128, words=800, context=4096))
    return path


@pytest.fixture(scope="module")
def apart(noise, tmp_path_factory):
    """A server whose model runs in a child, for tests that only ask it."""
    server = smoke_server(tmp_path_factory.mktemp("apart"), chat_model=str(noise), serving_isolation="process")
    server.load()
    yield server
    server.close()


@pytest.fixture
def children():
    """Those of them that this test began."""
    before = {child.pid for child in holders()}
    return lambda: [child for child in holders() if child.pid not in before]


@pytest.fixture
def mortal(noise, new_server, children):
    """One that a test may kill, with the child's process."""
    server = new_server(chat_model=str(noise), serving_isolation="process", llama_slots=2)
    server.load()
    return server


def test_a_child_gives_what_a_decoder_here_gives(apart, noise, tmp_path):
    here = smoke_server(tmp_path, chat_model=str(noise))
    here.load()
    requests = [
        ask(max_tokens=40, seed=1), ask(max_tokens=40, seed=2, temperature=1.5, top_k=5), ask(max_tokens=10, temperature=0.0, logprobs=3),
        ask("똠방각하 🙂 \ud800", max_tokens=10, seed=3), Request.of(prompt="one two", max_tokens=20, seed=4, presence_penalty=1.0, ignore_eos=True),
        Request.of("A number?", max_tokens=60, seed=5, json_schema={"type": "integer", "minimum": 1, "maximum": 9}),
        Request.of("Yes?", max_tokens=60, seed=6, grammar='root ::= "yes" | "no"'),
        Request.of("Tell.", max_tokens=300, seed=7, tools=[TOOL], tool_choice="required"),
        ask(max_tokens=20, seed=8, logit_bias={300: 5.0, "301": -100}),
    ]
    whole = here.complete(requests[0]).text
    requests.append(ask(max_tokens=40, seed=1, stop=whole.split()[5]))
    for request in requests:
        ours, theirs = here.complete(request), apart.complete(request)
        assert theirs.timings.keys() == ours.timings.keys()
        same = {"seconds": 0.0, "timings": {}, "tool_calls": ()}
        assert replace(theirs, **same) == replace(ours, **same)
        assert [call["function"] for call in theirs.tool_calls] == [call["function"] for call in ours.tool_calls]
    assert [piece.logprobs for piece in apart.stream(requests[2])] == [piece.logprobs for piece in here.stream(requests[2])]
    assert apart.tokenize("</s> hello", special=True) == here.tokenize("</s> hello", special=True)
    assert apart.detokenize([40, 300, 301]) == here.detokenize([40, 300, 301])
    ours, theirs = here.info(), apart.info()
    assert {name for name in ours if ours[name] != theirs[name]} <= {"load_seconds", "requests", "tokens", "tokens_per_s", "isolation", "pid"}
    assert theirs["isolation"] == "process" and here.stats().keys() == apart.stats().keys()
    here.close()


def test_its_refusals_are_those_of_a_decoder(apart):
    with pytest.raises(ContextOverflow) as caught:
        apart.stream(ask("word " * 9000))
    assert caught.value.facts["n_ctx"] == 4096 < caught.value.facts["prompt_tokens"]
    with pytest.raises(BadRequest) as caught:
        apart.stream(ask(grammar="root ::= ("))
    assert caught.value.facts["param"] == "grammar"
    with pytest.raises(BadRequest, match="token"):
        apart.detokenize([1 << 30])
    assert apart.complete(ask(max_tokens=2)).tokens == 2


def test_a_reader_that_goes_away_frees_its_place(apart):
    closed = apart.stream(ask(max_tokens=LONG))
    next(closed)
    closed.close()
    assert closed.reply.finish == "cancelled" and closed.reply.tokens < LONG
    dropped = apart.stream(ask(max_tokens=LONG))
    next(dropped)
    del dropped
    gc.collect()
    _until(lambda: apart.stats()["cancelled"] >= 2)
    late = apart.stream(ask(max_tokens=LONG, timeout=0.05))
    with pytest.raises(UpstreamError, match="LLM_REQUEST_TIMEOUT") as caught:
        late.read()
    assert caught.value.facts["timeout"] is True
    _until(lambda: not apart.stats()["busy"] and apart.stats()["cancelled"] >= 3)  # it is counted a moment after its place is free


def test_a_reader_that_does_not_read_holds_nobody_up(apart):
    with apart.stream(ask(max_tokens=2000)) as lazy:
        next(lazy)
        with ThreadPoolExecutor(4) as pool:
            assert [reply.tokens for reply in pool.map(lambda _: apart.complete(ask(max_tokens=30, timeout=60)), range(8))] == [30] * 8
        assert lazy.read().tokens == 2000


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGKILL"])
def test_a_signal_in_the_middle_of_replies_is_an_error_for_them_and_the_next_request_works(mortal, children, name, capfd, caplog):
    pid = mortal._loaded.decoder.pid
    running = [mortal.stream(ask(max_tokens=LONG)) for _ in range(2)]
    for stream in running:
        next(stream)
    waiting = mortal.stream(ask(max_tokens=LONG))  # both places are taken
    os.kill(pid, signal.Signals[name])
    for stream in running:
        with pytest.raises(UpstreamError, match=f"died of {name} while it wrote this reply"):
            stream.read()
    with pytest.raises(NotReady, match=f"died of {name}") as caught:
        waiting.read()
    assert caught.value.facts["retry_after"] > 0
    _until(lambda: mortal.ready().ok)
    assert mortal.restarts == mortal.info()["restarts"] == 1 and mortal._loaded.decoder.pid != pid
    assert mortal.complete(ask(max_tokens=5)).tokens == 5
    assert len(children()) == 1 and not alive(pid)
    assert f"died of {name}" in caplog.text
    assert capfd.readouterr() == ("", "")  # nothing of it lands in a notebook's cell


def test_until_it_is_back_requests_are_told_to_come_again(mortal):
    with mortal._residence.turn:  # the new child has to wait for us
        os.kill(mortal._loaded.decoder.pid, signal.SIGABRT)
        _until(lambda: not mortal.ready().ok)
        assert "SIGABRT; it is being started again" in mortal.ready().reasons[0] and mortal.live().ok
        with pytest.raises(NotReady, match="being started again") as caught:
            mortal.complete(ask(max_tokens=1))
        assert caught.value.facts["retry_after"] <= 5
    _until(lambda: mortal.ready().ok)


def test_a_child_that_dies_again_and_again_stays_down_until_it_is_loaded(mortal, children):
    for _ in range(2):
        before = mortal._loaded
        os.kill(before.decoder.pid, signal.SIGABRT)
        _until(lambda before=before: mortal._loaded not in (None, before) and mortal.ready().ok)
    os.kill(mortal._loaded.decoder.pid, signal.SIGSEGV)
    _until(lambda: not mortal.ready().ok)
    assert "SIGSEGV" in mortal.ready().reasons[0] and "stays down: lower LLAMA_CTX" in mortal.ready().reasons[0]
    with pytest.raises(NotReady, match="stays down") as caught:
        mortal.complete(ask(max_tokens=1))
    assert caught.value.facts["retry_after"] >= 60
    _until(lambda: not children())
    assert mortal.restarts == 2
    mortal.load()
    assert mortal.complete(ask(max_tokens=2)).tokens == 2


def test_a_child_that_dies_while_it_loads_is_an_error_of_the_load(new_server, tmp_path, children):
    path = tmp_path / "large.gguf"
    write(path, Shape(width=512, layers=4, heads=8, kv_heads=2, feed_forward=1024, words=16_000, context=4096))
    server, over = new_server(chat_model=str(path), serving_isolation="process"), threading.Event()

    def kill():
        while not over.is_set():
            for child in children():
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            over.wait(0.005)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        try:
            with pytest.raises(WeightsError, match=r"large\.gguf cannot be loaded: .*died of SIGKILL.*memory ran out"):
                server.load()
        finally:
            over.set()
        killing.result()
    server.load()
    assert server.complete(ask(max_tokens=1)).tokens == 1


def test_unloading_ends_replies_with_an_error_and_the_process_with_them(mortal, children):
    threads = threading.active_count()
    streams = [mortal.stream(ask(max_tokens=LONG)) for _ in range(3)]
    next(streams[0])
    pid = mortal._loaded.decoder.pid
    mortal.unload()
    for stream in streams:
        with pytest.raises((UpstreamError, NotReady), match="was unloaded"):
            stream.read()
    assert not alive(pid) and not children()
    mortal.unload()
    mortal.load()
    assert mortal.complete(ask(max_tokens=2)).tokens == 2 and threading.active_count() <= threads


def test_a_swap_finishes_what_was_accepted_and_is_no_restart(mortal, children):
    accepted = mortal.stream(ask(max_tokens=500))
    mortal.swap("smoke")
    assert accepted.read().tokens == 500
    assert mortal.complete(ask(max_tokens=1)).model == "smoke" and mortal.restarts == 0 and len(children()) == 1


def test_a_decoder_that_is_being_drained_can_be_hurried(mortal):
    decoder = mortal._loaded.decoder
    stream = decoder.stream(ask(max_tokens=LONG, temperature=2.0))
    next(stream)
    draining = threading.Thread(target=decoder.close, args=(True,))
    draining.start()
    _until(lambda: not decoder._open)
    decoder.close()
    draining.join(30)
    assert not draining.is_alive() and not alive(decoder.pid)
    with pytest.raises(UpstreamError, match="was unloaded"):
        stream.read()


def test_a_file_that_is_no_chat_model_is_refused_as_here(new_server, tmp_path, make_smoke, children):
    make_smoke.write(tmp_path / "plain.gguf", template="")
    server = new_server(chat_model=str(tmp_path / "plain.gguf"), serving_isolation="process")
    with pytest.raises(WeightsError, match="no chat template"):
        server.load()
    assert not children()


def test_the_childs_own_words_go_to_the_log(noise, new_server, caplog, capfd):
    caplog.set_level(logging.DEBUG, "suite.serving")
    server = new_server(chat_model=str(noise), serving_isolation="process")
    server.load()
    server.unload()
    assert "llama.cpp: llama_model_loader" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_no_secret_of_ours_is_in_the_child(noise, new_server, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "tok-123456789")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    server = new_server(chat_model=str(noise), serving_isolation="process")
    server.load()
    child = psutil.Process(server._loaded.decoder.pid)
    assert "SOME_API_TOKEN" not in child.environ() and "CUDA_VISIBLE_DEVICES" in child.environ()
    assert "tok-123456789" not in " ".join(child.cmdline())


PARENT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from models_stage import smoke_server
server = smoke_server(Path(sys.argv[2]), chat_model=sys.argv[3], serving_isolation="process")
server.load()
fork = os.fork()
if not fork:  # it holds our ends of the child's pipes, as a fork of a notebook's kernel would
    time.sleep(600)
print(server._loaded.decoder.pid, fork, flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_parent_leaves_no_child(noise, tmp_path):
    command = [sys.executable, "-c", PARENT, str(Path(__file__).parents[1]), str(tmp_path), str(noise)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child, fork = map(int, parent.stdout.readline().split())
        try:
            assert alive(child)
            parent.kill()
            parent.wait()
            _until(lambda: not alive(child))
            assert alive(fork)  # so it was not the end of the pipe that told the child
        finally:
            os.kill(fork, signal.SIGKILL)
