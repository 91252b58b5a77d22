from __future__ import annotations

import gc
import json
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from suite.errors import BadRequest, ContextOverflow, NotReady, UpstreamError, WeightsError
from suite.serving.reply import Reply
from suite.serving.request import Request
from suite.settings import package_file

SMOKE = package_file("models/smoke.gguf")
LONG = 3000


def _until(condition, seconds=20.0):
    """Wait for a condition, with a deadline."""
    met, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        met.wait(0.005)


def ask(text="어떤 서버가 있나요?", **options):
    return Request.of(text, **options)


def test_a_reply_is_printable_words_of_the_asked_length_and_says_it_is_smoke(server):
    reply = server.complete(ask(max_tokens=40, seed=1))
    assert reply.text.isprintable() and len(reply.text.split()) > 20
    assert (reply.tokens, reply.finish, reply.smoke, reply.model) == (40, "length", True, "smoke")
    assert reply.prompt_tokens > 5 and reply.seconds > 0
    assert "smoke" in repr(reply) and "Smoke" in reply._repr_html_()


def test_no_seed_stops_at_the_first_token(server):
    assert all(server.complete(ask(max_tokens=2, seed=seed, temperature=2.0)).tokens == 2 for seed in range(50))


def test_the_pieces_of_a_stream_are_the_reply(server):
    stream = server.stream(ask(max_tokens=60, seed=3))
    with pytest.raises(NotReady):
        stream.reply  # noqa: B018
    pieces = list(stream)
    assert len(pieces) > 30
    assert "".join(pieces) == stream.reply.text == server.complete(ask(max_tokens=60, seed=3)).text


def test_the_same_seed_gives_the_same_text_whatever_was_asked_before(server):
    first = server.complete(ask(max_tokens=50, seed=7, temperature=1.0)).text
    server.complete(ask("어떤 서버가 있나요? 그리고 또?", max_tokens=50))
    assert server.complete(ask(max_tokens=50, seed=7, temperature=1.0)).text == first
    assert server.complete(ask(max_tokens=50, seed=8, temperature=1.0)).text != first
    cold = [server.complete(ask(max_tokens=50, seed=seed, temperature=0.0)).text for seed in (1, 2)]
    assert cold[0] == cold[1]


def test_sampling_values_reach_the_sampler(server):
    plain = server.complete(ask(max_tokens=50, seed=7, temperature=1.5)).text
    assert server.complete(ask(max_tokens=50, seed=7, temperature=1.5, top_p=0.05)).text != plain
    assert server.complete(ask(max_tokens=50, seed=7, temperature=1.5, repeat_penalty=2.0)).text != plain


def test_a_stop_text_ends_the_reply_and_is_not_part_of_it(server):
    whole = server.complete(ask(max_tokens=60, seed=5))
    word = whole.text.split()[4]
    reply = server.complete(ask(max_tokens=60, seed=5, stop=[word]))
    assert (reply.text, reply.finish) == (whole.text[: whole.text.index(word)], "stop")
    assert reply.tokens < whole.tokens


def test_a_model_that_ends_its_reply_is_reported_as_stop(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "ends.gguf", ends=True)
    server = new_server(chat_model=str(tmp_path / "ends.gguf"))
    server.load()
    reply = server.complete(ask(max_tokens=200, seed=1, temperature=0.5))
    assert reply.finish == "stop" and 0 < reply.tokens < 200
    assert reply.smoke and reply.model == "ends"


def test_a_closed_stream_ends_within_a_token_and_the_next_request_is_served(server):
    stream = server.stream(ask(max_tokens=LONG))
    assert [piece for piece, _ in zip(stream, range(3), strict=False)]
    stream.close()
    assert stream.reply.finish == "cancelled"
    assert stream.reply.tokens < LONG
    assert server.complete(ask(max_tokens=2, timeout=10)).tokens == 2


def test_an_abandoned_stream_stops_the_generation(server):
    stream = server.stream(ask(max_tokens=LONG))
    next(stream)
    before = server.info()["tokens"]
    del stream
    gc.collect()
    _until(lambda: not server.info()["busy"])
    assert server.info()["tokens"] - before < LONG


def test_a_reader_that_does_not_read_holds_nobody_up(server):
    with server.stream(ask(max_tokens=500)) as lazy:
        next(lazy)
        assert server.complete(ask(max_tokens=2, timeout=30)).tokens == 2


def test_reading_a_long_prompt_can_be_cancelled(new_server):
    server = new_server(llama_batch=4096)
    server.load()
    stream = server.stream(ask("word " * 1800, max_tokens=1))
    _until(lambda: server.info()["busy"])
    stream.close()
    assert stream.reply.finish == "cancelled" and stream.reply.tokens == 0
    assert server.complete(ask(max_tokens=3, seed=1)).text


def test_eight_callers_at_once_get_the_replies_of_their_own_questions(server):
    alone = [server.complete(ask(f"질문 {number}", max_tokens=30, seed=number)).text for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda number: server.complete(ask(f"질문 {number}", max_tokens=30, seed=number)).text, range(8)))
    assert together == alone


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(server):
    with pytest.raises(ContextOverflow, match=r"has \d+ tokens but .* context of 4096") as caught:
        server.complete(ask("단어 " * 5000))
    assert caught.value.facts["n_ctx"] == 4096 < caught.value.facts["prompt_tokens"]


def test_a_reply_ends_where_the_context_ends(new_server):
    server = new_server(llama_ctx=256)
    server.load()
    reply = server.complete(ask("단어 " * 80, max_tokens=LONG))
    assert reply.finish == "length" and reply.prompt_tokens + reply.tokens == 256


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
    [[], "", "  \n", [{"role": "tool", "content": "x"}], [{"role": "user"}], [{"content": "x"}], ["hello"], [{"role": "user", "content": 3}], 7, None,
     [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]],
)
def test_messages_that_are_no_conversation_are_refused(server, messages):
    with pytest.raises(BadRequest, match="message"):
        server.complete(Request.of(messages))
    with pytest.raises(BadRequest, match="message"):
        server.complete(Request(messages=messages))  # made without the check


def test_odd_text_is_answered(server):
    for text in ("똠방각하 🙂", "\ud800", "\x00", "a" * 3000, [{"type": "text", "text": "parts"}]):
        assert server.complete(Request.of([{"role": "user", "content": text}], max_tokens=2)).tokens == 2


def test_deep_generates_a_token_and_speed_is_recorded(server):
    state = server.deep()
    assert state.ok and state.facts["tokens"] == 1 and state.facts["tokens_per_s"] > 0
    info = server.info()
    assert info["tokens_per_s"] > 0 and info["requests"] > 0
    assert (info["id"], info["verified"], info["smoke"], info["n_ctx"], info["path"]) == ("smoke", True, True, 4096, str(SMOKE))
    assert info["sha256"] == server.expected()["sha256"]
    json.dumps(info)


def test_a_reply_survives_its_json(server):
    reply = server.complete(ask(max_tokens=5))
    assert Reply.from_dict(json.loads(json.dumps(reply.to_dict()))) == reply


def test_a_server_that_was_not_started_or_was_unloaded_is_not_ready(new_server):
    server = new_server()
    for step in (lambda: None, lambda: (server.load(), server.unload())):
        step()
        assert not server.ready().ok and not server.deep().ok and server.live().ok
        with pytest.raises(NotReady) as caught:
            server.complete(ask())
        assert caught.value.facts["part"] == "inference-chat" and caught.value.facts["retry_after"] > 0
        assert server.info()["loaded"] is False
    server.load()
    assert server.ready().ok and server.complete(ask(max_tokens=1)).tokens == 1


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
    assert "SIGABRT" in server.ready().reasons[0]


def test_a_model_without_a_chat_template_is_refused(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "plain.gguf", template="")
    make_smoke.write(tmp_path / "broken.gguf", template="{% for x in %}")
    for name, said in (("plain", "no chat template"), ("broken", "template that is damaged")):
        server = new_server(chat_model=str(tmp_path / f"{name}.gguf"))
        server.start()
        assert said in server.ready().reasons[0]


def test_unloading_ends_a_reply_in_the_middle_with_an_error(new_server):
    server = new_server()
    server.load()
    stream = server.stream(ask(max_tokens=LONG, temperature=2.0))
    waiting = server.stream(ask(max_tokens=LONG))
    next(stream)
    server.unload()
    with pytest.raises((UpstreamError, NotReady)):
        stream.read()
        waiting.read()


def test_a_swap_serves_the_new_file_and_a_bad_one_changes_nothing(new_server, tmp_path, make_smoke):
    make_smoke.write(tmp_path / "other.gguf", ends=True)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    server = new_server()
    server.load()
    accepted = server.stream(ask(max_tokens=400))
    server.swap(tmp_path / "other.gguf")
    assert accepted.read().tokens == 400  # the swap waited for it
    assert server.info()["id"] == server.ready().facts["model"] == "other"
    with pytest.raises(WeightsError):
        server.swap(tmp_path / "bad.gguf")
    assert server.complete(ask(max_tokens=1)).model == "other"
    server.swap("smoke")
    assert server.complete(ask(max_tokens=1)).model == "smoke"


def test_a_model_file_that_is_cut_after_loading_harms_nothing(new_server, tmp_path):
    copy = tmp_path / "copy.gguf"
    shutil.copy(SMOKE, copy)
    server = new_server(chat_model=str(copy))
    server.load()
    with copy.open("r+b") as file:
        file.truncate(100)
    assert server.complete(ask(max_tokens=5)).tokens == 5


def test_settings_reach_the_model(new_server):
    server = new_server(llama_ctx=512, llama_threads=2, llama_temp=0.0, chat_n_gpu_layers=3)
    server.load()
    info = server.info()
    assert (info["n_ctx"], info["n_threads"], info["n_gpu_layers"]) == (512, 2, 3)
    assert len({server.complete(ask(max_tokens=20)).text for _ in range(3)}) == 1  # temperature 0 unless asked otherwise
    assert len({server.complete(ask(max_tokens=20, temperature=2.0)).text for _ in range(3)}) == 3


def test_a_context_larger_than_the_model_was_made_for_is_not_made(new_server):
    server = new_server(llama_ctx=100_000)
    server.load()
    assert server.info()["n_ctx"] == 4096


def test_loading_and_unloading_leaves_no_thread_and_gives_the_memory_back(new_server):
    server, process = new_server(), psutil.Process()
    for _ in range(2):
        server.load()
        server.unload()
    before, threads = process.memory_info().rss, threading.active_count()
    for _ in range(8):
        server.load()
        server.complete(ask(max_tokens=4))
        server.unload()
    assert threading.active_count() == threads
    assert process.memory_info().rss - before < 8_000_000  # one loaded model is about 10 MB with its context


def test_two_models_loaded_at_once_leave_standard_output_alone(new_server):
    out, error, servers = sys.stdout, sys.stderr, [new_server(), new_server(role="code")]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            list(pool.map(lambda server: (server.load(), server.unload()), servers))
    assert sys.stdout is out and sys.stderr is error


def test_a_time_out_says_so_and_stops_the_generation(server):
    stream = server.stream(ask("word " * 1500, max_tokens=LONG, timeout=0.001))
    with pytest.raises(UpstreamError, match="LLM_REQUEST_TIMEOUT"):
        stream.read()
    _until(lambda: not server.info()["busy"])
