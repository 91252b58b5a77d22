"""Many replies at once from one set of weights, over the real llama.cpp and a model of random words that never ends by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from suite.errors import BadRequest, ContextOverflow, NotReady, UpstreamError
from suite.serving.decoder import Decoder
from suite.serving.job import Job, reading
from suite.serving.parameters import Parameters
from suite.serving.reply import TIMINGS, Piece, Reply
from suite.serving.request import Request
from suite.serving.weights import check

PLAIN = {"temperature": 0.0, "top_p": 1.0, "repeat_penalty": 1.0}
LONG = "the server and the model read the text of the file and the index of the page "


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, make_smoke: ModuleType) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.gguf"
    make_smoke.write(path)
    return path


@pytest.fixture
def load(weights: Path) -> Iterator[Callable[..., Decoder]]:
    made: list[Decoder] = []

    def loaded(path: Path = weights, **parameters: object) -> Decoder:
        made.append(Decoder("inference-chat", "random", check(path), Parameters(**parameters), PLAIN))
        return made[-1]

    yield loaded
    for decoder in made:
        decoder.close()


def ask(text: str = "hello", **options: object) -> Request:
    return Request.of(text, **{"ignore_eos": True, "max_tokens": 24, "timeout": 60.0, **options})


def at_once(decoder: Decoder, requests: list[Request]) -> list[Reply]:
    streams = [decoder.stream(request) for request in requests]
    return [stream.read() for stream in streams]


def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the limit is there so that a failure is a failure."""
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        threading.Event().wait(0.002)


def test_replies_written_together_share_steps_and_each_is_whole(load: Callable[..., Decoder]) -> None:
    decoder = load(slots=8)
    replies = at_once(decoder, [ask(f"{LONG} number {number}", max_tokens=40) for number in range(20)])
    assert [reply.tokens for reply in replies] == [40] * 20 and all(reply.finish == "length" for reply in replies)
    stats = decoder.stats()
    assert stats["tokens"] == 800 and stats["requests"] == 20
    assert stats["decodes"] < 500, "far fewer steps than tokens"
    assert stats["busy"] == 0 and stats["waiting"] == 0


def test_a_reply_says_what_it_took(load: Callable[..., Decoder]) -> None:
    reply = load().stream(ask()).read()
    assert tuple(reply.timings) == TIMINGS
    timings = reply.timings
    assert timings["prompt_n"] == reply.prompt_tokens and timings["cache_n"] == 0 and timings["predicted_n"] == reply.tokens == 24
    assert 0 < timings["first_token_ms"] <= 1000 * reply.seconds + 1 and timings["predicted_per_second"] > 0


def test_a_second_turn_reads_only_what_is_new(load: Callable[..., Decoder]) -> None:
    decoder = load()
    first = [{"role": "user", "content": LONG * 20}]
    reply = decoder.stream(Request.of(first, max_tokens=8, ignore_eos=True)).read()
    second = [*first, {"role": "assistant", "content": reply.text}, {"role": "user", "content": "and then?"}]
    again = decoder.stream(Request.of(second, max_tokens=8)).read()
    assert again.timings["cache_n"] >= reply.prompt_tokens - 1 and again.timings["prompt_n"] < 40
    assert again.timings["cache_n"] + again.timings["prompt_n"] == again.prompt_tokens
    cold = decoder.stream(Request.of(second, max_tokens=8, cache_prompt=False)).read()
    assert cold.timings["cache_n"] == 0 and cold.text == again.text


def test_a_prompt_that_several_ask_at_the_same_time_is_read_once(load: Callable[..., Decoder]) -> None:
    decoder = load(n_batch=32)
    replies = at_once(decoder, [ask(LONG * 10 + end) for end in ("one", "two", "three", "four")])
    read = sum(reply.timings["prompt_n"] for reply in replies)
    assert read < 1.5 * replies[0].prompt_tokens, [reply.timings for reply in replies]


def test_what_was_used_longest_ago_goes_first_when_room_is_needed(load: Callable[..., Decoder]) -> None:
    decoder = load(n_ctx=512, kv_tokens=512, slots=1)
    texts = [f"{name} {LONG * 8}" for name in ("alpha", "beta", "gamma", "delta")]
    for text in texts:
        decoder.stream(ask(text, max_tokens=4)).read()
    assert decoder.stats()["kv_used"] <= 512
    newest = decoder.stream(ask(texts[3], max_tokens=4)).read()
    oldest = decoder.stream(ask(texts[0], max_tokens=4)).read()
    assert newest.timings["cache_n"] > 100 and oldest.timings["cache_n"] < 20


def test_more_than_the_cache_holds_waits_its_turn_and_loses_nothing(load: Callable[..., Decoder]) -> None:
    decoder = load(n_ctx=600, kv_tokens=600, slots=8)
    replies = at_once(decoder, [ask(f"{number} {LONG * 10}", max_tokens=200) for number in range(6)])
    assert [reply.tokens for reply in replies] == [200] * 6
    alone = decoder.stream(ask(f"0 {LONG * 10}", max_tokens=200, cache_prompt=False)).read()
    assert alone.tokens == 200


def test_a_reader_who_goes_away_frees_the_slot_and_the_next_is_served(load: Callable[..., Decoder]) -> None:
    decoder = load(slots=2, n_ctx=4096, kv_tokens=8192)
    for pieces in range(1, 6):
        stream = decoder.stream(ask(max_tokens=4000))
        for _ in range(pieces):
            next(stream)
        stream.close()
        assert stream.reply.finish == "cancelled" and stream.reply.tokens < 4000
    del stream
    dropped = decoder.stream(ask(max_tokens=4000))
    next(dropped)
    del dropped  # not even closed
    until(lambda: decoder.stats()["busy"] == 0)
    assert decoder.stream(ask()).read().tokens == 24


def test_a_waiting_request_whose_reader_left_is_never_begun(load: Callable[..., Decoder]) -> None:
    decoder = load(slots=1)
    running = decoder.stream(ask(max_tokens=4000))
    next(running)
    waiting = decoder.stream(ask())
    waiting.close()
    running.close()
    assert waiting.reply.finish == "cancelled" and waiting.reply.tokens == 0


def test_a_long_prompt_is_broken_off_in_the_middle(load: Callable[..., Decoder]) -> None:
    decoder = load(n_ctx=4096, kv_tokens=4096, n_batch=4096)
    stream = decoder.stream(ask(LONG * 220))
    until(lambda: decoder.stats()["busy"] == 1)
    stream.close()
    assert stream.reply.finish == "cancelled" and stream.reply.tokens == 0
    assert decoder.stream(ask()).read().tokens == 24


def test_a_full_queue_refuses_with_a_time_to_come_back(load: Callable[..., Decoder]) -> None:
    decoder = load(slots=1, queue=2)
    running = decoder.stream(ask(max_tokens=4000))
    next(running)
    held = [decoder.stream(ask()) for _ in range(2)]
    with pytest.raises(NotReady, match=r"2 requests waiting.*LLAMA_QUEUE") as refused:
        decoder.stream(ask())
    assert refused.value.facts["retry_after"] >= 1 and decoder.stats()["refused"] == 1
    running.close()
    assert [stream.read().tokens for stream in held] == [24, 24]


def test_a_prompt_beyond_the_context_says_both_numbers(load: Callable[..., Decoder]) -> None:
    decoder = load(n_ctx=128, kv_tokens=512)
    with pytest.raises(ContextOverflow, match=r"has \d+ tokens but .* context of 128") as raised:
        decoder.stream(ask(LONG * 20))
    assert raised.value.facts["prompt_tokens"] > raised.value.facts["n_ctx"] == 128
    with pytest.raises(ContextOverflow, match="10,000,000 characters"):
        decoder.stream(ask("x" * 10_000_000))
    assert decoder.stream(ask(max_tokens=4000)).read().finish == "length", "and a reply ends where the context does"


def test_the_same_seed_gives_the_same_text_and_another_another(load: Callable[..., Decoder]) -> None:
    decoder = load()
    one, same, other = (decoder.stream(ask(seed=seed, temperature=1.0)).read().text for seed in (7, 7, 8))
    assert one == same != other


def test_a_seed_holds_whatever_else_is_written_at_the_same_time(load: Callable[..., Decoder]) -> None:
    """Numbers may differ in their last bits then (see Sampler); over short texts of this model no choice is that close."""
    decoder = load()
    alone = decoder.stream(ask(seed=3, temperature=0.7, max_tokens=12)).read().text
    crowd = [ask(seed=3, temperature=0.7, max_tokens=12)] + [ask(f"{LONG} {number}", temperature=1.0, max_tokens=60) for number in range(7)]
    assert at_once(decoder, crowd)[0].text == alone


def test_options_change_what_is_chosen(load: Callable[..., Decoder]) -> None:
    decoder = load()
    token = decoder.tokenize(" backup")[0]
    assert decoder.stream(ask(logit_bias={token: 100}, max_tokens=5)).read().text == "backup backup backup backup backup"
    assert "backup" not in decoder.stream(ask(logit_bias={token: -100}, temperature=1.0, seed=1, max_tokens=200)).read().text
    plain = decoder.stream(ask(max_tokens=100)).read().text.split()
    for option in ({"repeat_penalty": 2.0}, {"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        assert len(set(decoder.stream(ask(max_tokens=100, **option)).read().text.split())) > len(set(plain)), option
    greedy = decoder.stream(ask()).read().text
    for option in ({"top_k": 1}, {"top_p": 0.0001}, {"min_p": 1.0}):
        assert decoder.stream(ask(temperature=1.5, seed=1, **option)).read().text == greedy, option
    assert decoder.stream(ask(temperature=1.5, seed=1, top_k=0, min_p=0.0)).read().text != greedy
    assert greedy.split()[1] not in decoder.stream(ask(stop=[greedy.split()[1]])).read().text
    with pytest.raises(BadRequest, match="logit_bias names token 999999"):
        decoder.stream(ask(logit_bias={999999: 1}))


def test_log_probabilities_are_those_of_the_model(load: Callable[..., Decoder]) -> None:
    decoder = load()
    stream = decoder.stream(ask(logprobs=3, max_tokens=10))
    pieces = list(stream)
    rows = stream.reply.logprobs
    assert len(rows) == 10 and [row for piece in pieces for row in piece.logprobs] == list(rows)
    assert "".join(row["token"] for row in rows).strip() == stream.reply.text
    for row in rows:  # greedy: the chosen one is the likeliest
        assert len(row["top_logprobs"]) == 3 and row["top_logprobs"][0]["token"] == row["token"]
        assert 0 >= row["logprob"] >= row["top_logprobs"][2]["logprob"]
    assert decoder.stream(ask(logprobs=0, max_tokens=2)).read().logprobs[0]["top_logprobs"] == []


def test_raw_text_is_continued_and_a_gap_needs_a_model_for_it(load: Callable[..., Decoder]) -> None:
    decoder = load()
    reply = decoder.stream(Request.of(prompt="the server", max_tokens=5, ignore_eos=True)).read()
    assert reply.tokens == 5 and reply.text.startswith(" "), "nothing is stripped"
    with pytest.raises(BadRequest, match="without infill tokens"):
        decoder.stream(Request.of(prompt="def f(", suffix="return 1"))
    assert decoder.detokenize(decoder.tokenize("백업 server")) == "백업 server"
    with pytest.raises(BadRequest, match="no token"):
        decoder.detokenize([10**6])


def test_unloading_tells_every_reader_and_draining_lets_them_finish(load: Callable[..., Decoder]) -> None:
    decoder = load(slots=1)
    running, waiting = decoder.stream(ask(max_tokens=4000)), decoder.stream(ask())
    next(running)
    decoder.close()
    with pytest.raises(UpstreamError, match="was unloaded while it wrote"):
        running.read()
    with pytest.raises(NotReady, match="before it began"):
        waiting.read()
    with pytest.raises(NotReady, match="was unloaded"):
        decoder.stream(ask())
    other = load(slots=1)
    streams = [other.stream(ask(max_tokens=200)) for _ in range(3)]
    other.close(drain=True)
    assert [stream.read().tokens for stream in streams] == [200] * 3


def test_a_reader_with_too_little_time_is_told_so(load: Callable[..., Decoder]) -> None:
    decoder = load()
    with pytest.raises(UpstreamError, match=r"no complete reply within 0\.05 s") as raised:
        decoder.stream(ask(max_tokens=4000, timeout=0.05)).read()
    assert raised.value.facts["timeout"]
    until(lambda: decoder.stats()["busy"] == 0)


def test_scores_that_are_no_numbers_end_the_reply_and_not_the_process(load: Callable[..., Decoder], weights: Path, tmp_path: Path) -> None:
    import gguf
    import numpy as np

    damaged = tmp_path / "nan.gguf"
    raw = bytearray(weights.read_bytes())
    tensor = next(each for each in gguf.GGUFReader(weights).tensors if each.name == "output.weight")
    raw[tensor.data_offset: tensor.data_offset + 2] = np.array([np.nan], np.float16).tobytes()
    damaged.write_bytes(raw)
    decoder = load(damaged)
    for _ in range(2):
        with pytest.raises(UpstreamError, match="no usable scores"):
            decoder.stream(ask()).read()
    assert decoder.stats()["failed"] == 2 and decoder.stats()["busy"] == 0


def test_a_step_that_fails_fails_its_replies_and_the_next_one_works(load: Callable[..., Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    import llama_cpp

    decoder = load()
    stream = decoder.stream(ask(max_tokens=4000))
    next(stream)
    with monkeypatch.context() as broken:
        broken.setattr(llama_cpp, "llama_decode", lambda *_: -3)
        with pytest.raises(UpstreamError, match="failed while it wrote"):
            stream.read()
    assert decoder.stream(ask()).read().tokens == 24 and decoder.stats()["failed"] == 1


def test_memory_does_not_grow_with_requests(load: Callable[..., Decoder]) -> None:
    import psutil

    decoder = load(n_ctx=256, kv_tokens=1024)
    for number in range(60):
        decoder.stream(ask(f"warm {number}")).read()
    before = psutil.Process().memory_info().rss
    for number in range(300):
        decoder.stream(ask(f"{number} {LONG}", logprobs=2)).read()
    assert psutil.Process().memory_info().rss < before * 1.03


def test_a_piece_is_given_when_it_is_due_and_all_at_once_when_the_reply_ends() -> None:
    job = Job(Request.of("x"), np.array([1]), 4)
    stream, due = reading(job, "a model"), time.monotonic() + 0.2
    job.out.put(Piece.of("one", due=due))
    assert next(iter(stream)) == "one" and time.monotonic() >= due
    job.out.put(Piece.of("two", due=time.monotonic() + 600))
    job.out.put(Piece.of("three", due=time.monotonic() + 601))
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, stream)
        job.end(Reply("onetwothree", 3, 1, 0.0, "m"))
        assert rest.result(20) == ["two", "three"] and stream.reply.tokens == 3
