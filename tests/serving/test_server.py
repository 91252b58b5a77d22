"""The life of a model server: load, swap, unload, idle, wake up, and what is asked of it meanwhile."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from models_stage import smoke_server

from suite.errors import BadRequest, ContextOverflow, Denied, NotReady, UpstreamError, WeightsError
from suite.monitoring.gpu import Gpu
from suite.serving import load as loading
from suite.serving.catalog import ProfileModel, catalog
from suite.serving.random_model import Shape, write
from suite.serving.reply import Reply
from suite.serving.request import Request
from suite.serving.residence import Residence
from suite.serving.server import ModelServer
from suite.settings import load, package_file

SMOKE = package_file("models/smoke.gguf")
LONG = 3000
NOISE = Shape(width=128, layers=2, heads=4, kv_heads=2, feed_forward=256, words=800, context=4096)
FIFTY_MB = Shape(width=512, layers=8, heads=8, kv_heads=2, feed_forward=1024, words=20_000, context=4096)


def _until(condition, seconds=20.0):
    """Wait for a condition, with a deadline."""
    met, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        met.wait(0.005)


def ask(text="어떤 서버가 있나요?", **options):
    """A request whose reply does not end by itself."""
    return Request.of(text, **{"ignore_eos": True, **options})


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A model of random weights, whose texts differ from seed to seed."""
    path = tmp_path_factory.mktemp("noise") / "noise.gguf"
    write(path, NOISE)
    return path


@pytest.fixture(scope="module")
def chatter(noise, tmp_path_factory):
    """A loaded server of that model."""
    shared = smoke_server(tmp_path_factory.mktemp("chatter"), chat_model=str(noise))
    shared.load()
    yield shared
    shared.close()


def test_a_reply_has_the_asked_length_and_says_it_is_smoke(server):
    reply = server.complete(ask(max_tokens=40, seed=1))
    assert (reply.tokens, reply.finish, reply.smoke, reply.model) == (40, "length", True, "smoke")
    assert reply.prompt_tokens > 5 and reply.seconds > 0
    assert "smoke" in repr(reply) and "Smoke" in reply._repr_html_()


def test_the_pieces_of_a_stream_are_the_reply(chatter):
    stream = chatter.stream(ask(max_tokens=60, seed=3))
    with pytest.raises(NotReady):
        stream.reply  # noqa: B018
    pieces = list(stream)
    assert len(pieces) > 30
    assert "".join(pieces) == stream.reply.text == chatter.complete(ask(max_tokens=60, seed=3)).text


def test_sampling_values_reach_the_sampler(chatter):
    plain = chatter.complete(ask(max_tokens=50, seed=7, temperature=1.5)).text
    assert chatter.complete(ask(max_tokens=50, seed=8, temperature=1.5)).text != plain
    assert chatter.complete(ask(max_tokens=50, seed=7, temperature=1.5, top_p=0.05)).text != plain
    assert chatter.complete(ask(max_tokens=50, seed=7, temperature=1.5, repeat_penalty=2.0)).text != plain


def test_a_seed_gives_the_same_text_to_the_letter_where_every_step_is_summed_alike(new_server, noise):
    alone = new_server(chat_model=str(noise), llama_slots=1)
    alone.load()
    flat = {"max_tokens": 200, "temperature": 2.0, "top_k": 0, "min_p": 0.0, "top_p": 1.0, "cache_prompt": False}
    first, second, other = (alone.complete(ask(seed=seed, **flat)).text for seed in (7, 7, 8))
    assert first == second != other


def test_a_closed_stream_ends_soon_and_the_next_request_is_served(server):
    stream = server.stream(ask(max_tokens=LONG))
    assert [piece for piece, _ in zip(stream, range(3), strict=False)]
    stream.close()
    assert stream.reply.finish == "cancelled" and stream.reply.tokens < LONG
    assert server.complete(ask(max_tokens=2, timeout=10)).tokens == 2


def test_an_abandoned_stream_stops_the_generation(server):
    stream = server.stream(ask(max_tokens=LONG))
    next(stream)
    before = server.info()["tokens"]
    del stream
    gc.collect()
    _until(lambda: not server.info()["busy"])
    assert server.info()["tokens"] - before < LONG


def test_a_time_out_says_so_and_stops_the_generation(server):
    stream = server.stream(ask("word " * 1500, max_tokens=1000, timeout=0.001))
    with pytest.raises(UpstreamError, match="LLM_REQUEST_TIMEOUT"):
        stream.read()
    _until(lambda: not server.info()["busy"] and not server.info()["waiting"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", float("nan")), ("temperature", -0.1), ("temperature", 2.1), ("temperature", "hot"), ("temperature", True), ("top_p", 0.0),
     ("top_p", 1.1), ("top_p", float("inf")), ("repeat_penalty", 0.0), ("repeat_penalty", float("nan")), ("seed", -1), ("seed", 1 << 32),
     ("seed", 1.5), ("max_tokens", 0), ("max_tokens", -5), ("max_tokens", 1.5), ("max_tokens", True), ("stop", [""]), ("stop", [3]),
     ("stop", ["x"] * 17), ("stop", 7), ("timeout", 0), ("timeout", float("nan")), ("grammar", "root ::= (")],
)
def test_values_that_cannot_be_used_are_refused_by_name(server, option, value):
    with pytest.raises(BadRequest, match=option) as caught:
        server.complete(ask(**{option: value}))
    assert caught.value.facts["param"] == option


@pytest.mark.parametrize(
    "messages",
    [[], "", "  \n", [{"role": "user"}], [{"content": "x"}], ["hello"], [{"role": "user", "content": 3}], 7, None,
     [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]],
)
def test_messages_that_are_no_conversation_are_refused(server, messages):
    with pytest.raises(BadRequest, match="message"):
        server.complete(Request.of(messages))
    with pytest.raises(BadRequest, match="message"):
        server.complete(Request(messages=messages))  # made without the check


def test_odd_text_is_answered(server):
    for text in ("똠방각하 🙂", "\ud800", "\x00", "a" * 3000, [{"type": "text", "text": "parts"}]):
        assert server.complete(Request.of([{"role": "user", "content": text}], max_tokens=2, ignore_eos=True)).tokens == 2


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(server):
    with pytest.raises(ContextOverflow, match=r"has [\d,]+ tokens but .* context of 4,?096") as caught:
        server.complete(ask("단어 " * 5000))
    assert caught.value.facts["n_ctx"] == 4096 < caught.value.facts["prompt_tokens"]


def test_deep_generates_a_token_and_info_tells_what_is_loaded(server):
    state = server.deep()
    assert state.ok and state.facts["tokens"] == 1 and state.facts["tokens_per_s"] > 0
    info = server.info()
    assert info["tokens_per_s"] > 0 and info["requests"] > 0
    assert (info["id"], info["verified"], info["smoke"], info["n_ctx"], info["path"]) == ("smoke", True, True, 4096, str(SMOKE))
    assert (info["isolation"], info["idle_unload"], info["restarts"], info["intact"]) == ("kernel", 0.0, 0, True)
    assert info["sha256"] == server.expected()["sha256"]
    json.dumps(info)


def test_a_reply_survives_its_json(server):
    reply = server.complete(ask(max_tokens=5, logprobs=2))
    assert len(reply.logprobs) == 5
    assert Reply.from_dict(json.loads(json.dumps(reply.to_dict()))) == reply


def test_text_goes_to_tokens_and_back(server):
    tokens = server.tokenize("hello there")
    assert len(tokens) > 1 and server.detokenize(tokens).strip() == "hello there"
    with pytest.raises(BadRequest, match="token"):
        server.detokenize([1 << 30])


def test_a_server_that_was_not_started_or_was_unloaded_is_not_ready(new_server):
    server = new_server()
    for step in (lambda: None, lambda: (server.load(), server.unload())):
        step()
        assert not server.ready().ok and not server.deep().ok and server.live().ok
        for use in (lambda: server.complete(ask()), lambda: server.tokenize("x"), lambda: server.detokenize([1])):
            with pytest.raises(NotReady) as caught:
                use()
            assert caught.value.facts["part"] == "inference-chat" and caught.value.facts["retry_after"] > 0
        assert server.info()["loaded"] is False and server.model == ""
        assert server.stats()["requests"] == server.stats()["busy"] == server.stats()["first_token"]["count"] == 0
    server.load()
    assert server.ready().ok and server.complete(ask(max_tokens=1)).tokens == 1


def test_stats_have_the_same_keys_loaded_or_not(new_server):
    server = new_server()
    without = server.stats()
    server.load()
    assert without.keys() == server.stats().keys()


@pytest.mark.parametrize("content", [None, b"", b"not a model", SMOKE.read_bytes()[:400_000]], ids=["missing", "empty", "garbage", "truncated"])
def test_a_bad_model_file_is_remembered_and_said_by_every_question(new_server, tmp_path, content):
    path = tmp_path / "chosen.gguf"
    if content is not None:
        path.write_bytes(content)
    server = new_server(chat_model=str(path))
    server.start()
    state = server.ready()
    assert not state.ok and str(path) in state.reasons[0] and state.retry_after
    with pytest.raises(NotReady, match="chosen"):
        server.stream(ask())
    with pytest.raises(WeightsError):
        server.load()


def test_a_file_that_would_abort_llama_cpp_leaves_this_process_alive(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "contradictory.gguf", kv_heads=8)
    server = new_server(code_model=str(tmp_path / "contradictory.gguf"), role="code")
    server.start()
    assert not server.ready().ok and "contradictory.gguf" in server.ready().reasons[0]


def test_a_model_without_a_chat_template_is_refused(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "plain.gguf", template="")
    make_smoke.write(tmp_path / "broken.gguf", template="{% for x in %}")
    for name, said in (("plain", "no chat template"), ("broken", "template")):
        server = new_server(chat_model=str(tmp_path / f"{name}.gguf"))
        server.start()
        assert said in server.ready().reasons[0]


def test_a_restricted_licence_is_refused_in_stage_prod_unless_waived(new_server, tmp_path):
    restricted = next(entry for entry in catalog().values() if entry.restricted)
    path = tmp_path / restricted.file  # goes by its name, whatever is in it
    write(path, NOISE)
    server = new_server(stage="prod", chat_model=str(path))
    with pytest.raises(Denied, match="LICENCE_WAIVER"):
        server.load()
    server = new_server(stage="prod", chat_model=str(path), licence_waiver=restricted.name)
    server.load()
    assert server.ready().ok


def test_unloading_ends_every_reply_in_the_middle_with_an_error(new_server):
    server = new_server(llama_slots=2)
    server.load()
    streams = [server.stream(ask(max_tokens=LONG, temperature=2.0)) for _ in range(4)]
    next(streams[0])
    server.unload()
    errors = []
    for stream in streams:
        with pytest.raises((UpstreamError, NotReady), match="was unloaded") as caught:
            stream.read()
        errors.append(type(caught.value))
    assert UpstreamError in errors and NotReady in errors
    server.unload()  # a second time is harmless
    server.load()
    assert server.complete(ask(max_tokens=3)).tokens == 3


def test_unloading_does_not_wait_for_a_swap_that_waits_for_a_reply(new_server, noise):
    server = new_server()
    server.load()
    running = server.stream(ask(max_tokens=LONG))
    next(running)
    with ThreadPoolExecutor(1) as pool:
        swap = pool.submit(server.swap, noise)
        _until(lambda: not server.ready().ok)
        server.unload()
        swap.result()
    with pytest.raises(UpstreamError, match="was unloaded"):
        running.read()
    assert not server.ready().ok


def test_an_interrupted_swap_leaves_the_old_model_for_the_next_request(new_server, noise):
    server = new_server()
    server.load()
    running = server.stream(ask(max_tokens=1500))
    next(running)

    def interrupt():
        _until(lambda: not server.ready().ok)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        interrupting = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.swap(noise)
        interrupting.result()
    assert server.complete(ask(max_tokens=1)).model == "smoke" and server.restarts == 0
    assert running.read().tokens == 1500  # what was accepted is finished all the same


def test_loading_what_is_loaded_changes_nothing(new_server):
    server = new_server()
    server.load()
    stream = server.stream(ask(max_tokens=500))
    server.load()
    server.start()
    assert stream.read().tokens == 500 and server.restarts == 0
    server.unload()
    server.load()
    assert server.restarts == server.info()["restarts"] == 1


def test_a_swap_serves_the_new_file_and_a_bad_one_changes_nothing(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "other.gguf", ends=True)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    server = new_server()
    server.load()
    accepted = server.stream(ask(max_tokens=400))
    server.swap(tmp_path / "other.gguf")
    assert accepted.read().tokens == 400  # the swap waited for it
    assert server.info()["id"] == server.ready().facts["model"] == server.model == "other"
    running = server.stream(ask(max_tokens=800))
    with pytest.raises(WeightsError):
        server.swap(tmp_path / "bad.gguf")
    assert server.complete(ask(max_tokens=1)).model == "other"
    assert running.read().tokens == 800  # nothing of it was noticed
    server.swap("smoke")
    assert server.complete(ask(max_tokens=1)).model == "smoke" and server.restarts == 0


def test_a_swap_that_fails_after_its_trial_returns_to_the_old_model(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "plain.gguf", template="")  # loads, but is no chat model
    server = new_server()
    server.load()
    running = server.stream(ask(max_tokens=300))
    with pytest.raises(WeightsError, match="no chat template"):
        server.swap(tmp_path / "plain.gguf")
    assert running.read().tokens == 300
    assert server.ready().ok and server.complete(ask(max_tokens=1)).model == "smoke"


def test_callers_at_any_moment_of_unloading_and_swapping_get_a_reply_or_an_error(new_server, noise):
    server, over, got = new_server(), threading.Event(), []
    server.load()

    def call(number):
        while not over.is_set():
            try:
                got.append(server.complete(ask("word " * 300 * number, max_tokens=20, cache_prompt=False, timeout=60)).model)
            except (NotReady, UpstreamError) as error:
                got.append(type(error))

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, number) for number in range(1, 5)]
        try:
            for _ in range(3):
                seen = len(got)
                server.swap(noise)
                server.unload()
                server.load()
                _until(lambda seen=seen: len(got) > seen)
        finally:
            over.set()
        for each in calls:
            each.result()
    assert set(got) <= {"smoke", "noise", NotReady, UpstreamError} and "smoke" in got
    assert server.complete(ask(max_tokens=2)).tokens == 2


def test_unloading_waits_for_those_who_are_on_the_way_in(new_server):
    server, inside, out = new_server(), threading.Event(), threading.Event()
    server.load()

    def slow(decoder):
        inside.set()
        assert out.wait(20)
        return decoder.tokenize("hello")

    with ThreadPoolExecutor(2) as pool:
        caller = pool.submit(server._use, slow)
        assert inside.wait(20)
        closing = pool.submit(server.step_aside, "was put to sleep by a test")
        _until(lambda: not server.info()["loaded"])
        assert not closing.done()
        out.set()
        assert caller.result()
        closing.result()


def test_a_model_file_that_is_cut_after_loading_harms_nothing_and_is_told(new_server, tmp_path):
    copy = tmp_path / "copy.gguf"
    shutil.copy(SMOKE, copy)
    server = new_server(chat_model=str(copy))
    server.load()
    assert server.info()["intact"] is True
    with copy.open("r+b") as file:
        file.truncate(100)
    assert server.complete(ask(max_tokens=5)).tokens == 5
    assert server.info()["intact"] is False
    server.unload()
    with pytest.raises(WeightsError, match=r"copy\.gguf"):
        server.load()


def test_settings_reach_the_model(new_server, noise):
    server = new_server(llama_ctx=512, llama_threads=2, llama_temp=0.0, chat_n_gpu_layers=3, llama_slots=3, llama_kv_tokens=2048,
                        llama_kv_type="q8_0", llama_queue=7, chat_model=str(noise))
    server.load()
    info = server.info()
    assert (info["n_ctx"], info["n_threads"], info["n_gpu_layers"]) == (512, 2, 3)
    assert (info["slots"], info["kv_tokens"], info["kv_type"], info["queue"]) == (3, 2048, "q8_0", 7)
    assert len({server.complete(ask(max_tokens=20)).text for _ in range(3)}) == 1  # temperature 0 unless asked otherwise
    assert len({server.complete(ask(max_tokens=20, temperature=2.0)).text for _ in range(3)}) == 3


def test_a_context_larger_than_the_model_was_made_for_is_not_made(new_server):
    server = new_server(llama_ctx=100_000)
    server.load()
    assert server.info()["n_ctx"] == 4096


def test_layers_are_as_many_as_fit_on_the_card_when_nobody_says(tmp_path, noise, monkeypatch):
    room, asked = [1 << 29], []

    def gpus():
        asked.append(server.model)
        free = room[0] if not server.model else 0  # what is loaded takes all of it
        return (Gpu(0, "a card", "", 8 << 30, (8 << 30) - free, free),)

    monkeypatch.setattr(loading, "gpus", gpus)
    read = load({"data_dir": str(tmp_path), "chat_model": str(noise)}, environ={}, cwd=tmp_path)
    server = ModelServer("inference-chat", "chat", read, tmp_path, tmp_path, ProfileModel("smoke", 1024, -1))
    server.load()
    assert server.info()["n_gpu_layers"] == 0  # what is free is less than the tenth of a card that is left alone
    room[0] = 8 << 30
    server.swap(noise)  # which is tried beside the old one, on the processor, and loaded where the old one was
    assert server.info()["n_gpu_layers"] == NOISE.layers + 1 and asked == ["", "noise", ""]
    server.close()


def test_the_cache_holds_at_least_one_conversation(tmp_path):
    read = load({"data_dir": str(tmp_path), "llama_kv_tokens": 256}, environ={}, cwd=tmp_path)
    server = ModelServer("inference-chat", "chat", read, tmp_path, tmp_path, ProfileModel("smoke", 1024))
    server.load()
    assert server.info()["kv_tokens"] == server.info()["n_ctx"] == 1024
    server.close()


def test_loading_and_unloading_leaves_no_thread_and_gives_the_memory_back(new_server, tmp_path):
    path, process = tmp_path / "fifty.gguf", psutil.Process()
    write(path, FIFTY_MB)
    assert path.stat().st_size > 45_000_000
    server = new_server(chat_model=str(path))
    server.load()
    server.unload()  # whatever is imported and made once is there from here on
    before, threads = process.memory_info().rss, threading.active_count()
    for _ in range(3):
        server.load()
        assert server.complete(ask(max_tokens=4)).tokens == 4
        assert process.memory_info().rss - before > 40_000_000
        server.unload()
    assert threading.active_count() == threads
    assert process.memory_info().rss - before < 8_000_000


def test_two_models_loaded_at_once_leave_standard_output_alone(new_server):
    out, error, servers = sys.stdout, sys.stderr, [new_server(), new_server(role="code")]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            list(pool.map(lambda server: (server.load(), server.unload()), servers))
    assert sys.stdout is out and sys.stderr is error


def test_a_model_nobody_asks_is_unloaded_and_loaded_again_on_demand(new_server):
    server = new_server(llama_idle_unload=0.05)
    server.load()
    stream = server.stream(ask(max_tokens=800))  # takes several times as long
    for index, _ in enumerate(stream):
        assert index % 50 or server.info()["loaded"]
    assert stream.reply.tokens == 800
    _until(lambda: not server.info()["loaded"])
    state = server.ready()
    assert state.ok and state.facts["loaded"] is False and server.live().ok
    assert "0.05 s idle" in state.facts["note"] and state.facts["model"] == server.info()["id"] == "smoke"
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda number: server.complete(ask(max_tokens=5, seed=number, timeout=60)), range(6)))
    assert [reply.tokens for reply in replies] == [5] * 6
    _until(lambda: not server.info()["loaded"])
    assert server.tokenize("hello") and server.deep().ok
    assert server.restarts == 0


def test_what_was_swapped_in_is_what_wakes_up_and_a_load_wakes_it_too(new_server, noise):
    server = new_server(llama_idle_unload=0.05)
    server.load()
    server.swap(noise)
    _until(lambda: not server.info()["loaded"])
    assert server.complete(ask(max_tokens=1)).model == "noise"
    _until(lambda: not server.info()["loaded"])
    server.load()
    assert server.restarts == 0
    _until(lambda: not server.info()["loaded"])
    server.unload()  # told to: that one stays unloaded
    with pytest.raises(NotReady, match="load it again"):
        server.complete(ask(max_tokens=1))


def test_a_request_waits_for_its_model_to_wake_up_no_longer_than_its_timeout(tmp_path, noise):
    read = load({"data_dir": str(tmp_path), "chat_model": str(noise)}, environ={}, cwd=tmp_path)
    residence = Residence()
    server = ModelServer("inference-chat", "chat", read, tmp_path, tmp_path, ProfileModel("smoke", 1024), residence)
    server.load()
    server.step_aside("was put to sleep by a test")
    with residence.turn, pytest.raises(UpstreamError, match="was being loaded again") as caught:  # somebody else's load takes long
        server.complete(ask(max_tokens=1, timeout=0.05))
    assert caught.value.facts["timeout"] is True
    assert server.complete(ask(max_tokens=1, timeout=30)).tokens == 1
    server.close()


def test_a_model_that_cannot_be_loaded_again_says_why(new_server, tmp_path):
    copy = tmp_path / "copy.gguf"
    shutil.copy(SMOKE, copy)
    server = new_server(chat_model=str(copy))
    server.load()
    server.step_aside("was put to sleep by a test")
    copy.write_bytes(b"GGUF")
    with pytest.raises(NotReady, match=r"copy\.gguf"):
        server.complete(ask(max_tokens=1))
    assert not server.ready().ok and "copy.gguf" in server.ready().reasons[0]
    shutil.copy(SMOKE, copy)
    server.load()
    assert server.complete(ask(max_tokens=1)).tokens == 1
