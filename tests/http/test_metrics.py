"""A model server's numbers as Prometheus reads them: llama-server's names, and they move with what the server does."""

from __future__ import annotations

import threading

import httpx
import pytest
from models_stage import served, smoke_server
from openai_stage import until
from prometheus_client.parser import text_string_to_metric_families

from suite.errors import NotReady
from suite.http import model
from suite.http.apps import _add_questions
from suite.http.problem import add_problems
from suite.monitoring.metric import CONTENT_TYPE, Metrics, ServingSeries

NAMES = {"prompt_tokens_total", "prompt_seconds_total", "tokens_predicted_total", "tokens_predicted_seconds_total", "n_decode_total",
         "n_busy_slots_per_decode", "prompt_tokens_seconds", "predicted_tokens_seconds", "kv_cache_usage_ratio", "kv_cache_tokens",
         "requests_processing", "requests_deferred"}
HELLO = [{"role": "user", "content": "안녕하세요, 반갑습니다"}]
STATS = {"requests": 9, "restarts": 1, "prompt_tokens": 200, "cached_tokens": 50, "prompt_seconds": 0.5, "tokens": 300, "predicted_seconds": 3.0, "decodes": 100,
         "busy_slots": 250, "busy": 2, "waiting": 3, "refused": 4, "cancelled": 5, "failed": 6, "kv_tokens": 1000, "kv_used": 250, "tokens_per_s": 90.0,
         "first_token": {"count": 7, "sum": 1.75, "buckets": [[0.1, 2], [0.5, 6]]}}


def samples(text):
    """Every sample by its name, and by its limit for a bucket; the text must be what Prometheus' own parser reads."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[(sample.name, sample.labels["le"]) if "le" in sample.labels else sample.name] = sample.value
    return found


def test_every_number_has_its_name_and_meaning():
    metrics = Metrics()
    metrics.registry("x").register(ServingSeries(lambda: STATS))
    seen = samples(metrics.exposition("x").decode())
    assert {name.removeprefix("llamacpp:") for name in seen if "llamacpp:" in name} == NAMES
    assert (seen["llamacpp:prompt_tokens_total"], seen["llamacpp:tokens_predicted_total"], seen["llamacpp:n_decode_total"]) == (200, 300, 100)
    assert (seen["llamacpp:prompt_seconds_total"], seen["llamacpp:tokens_predicted_seconds_total"]) == (0.5, 3.0)
    assert (seen["llamacpp:n_busy_slots_per_decode"], seen["llamacpp:prompt_tokens_seconds"], seen["llamacpp:predicted_tokens_seconds"]) == (2.5, 400, 100)
    assert (seen["llamacpp:kv_cache_usage_ratio"], seen["llamacpp:kv_cache_tokens"]) == (0.25, 250)
    assert (seen["llamacpp:requests_processing"], seen["llamacpp:requests_deferred"], seen["suite_serving_queue_depth"]) == (2, 3, 3)
    assert (seen["suite_serving_cached_tokens_total"], seen["suite_serving_cache_hit_ratio"]) == (50, 0.2)
    assert [seen[f"suite_serving_{name}_total"] for name in ("requests", "refused", "cancelled", "failed")] == [9, 4, 5, 6]
    assert [seen[("suite_serving_first_token_seconds_bucket", limit)] for limit in ("0.1", "0.5", "+Inf")] == [2, 6, 7]
    assert (seen["suite_serving_first_token_seconds_count"], seen["suite_serving_first_token_seconds_sum"]) == (7, 1.75)


def test_a_server_that_cannot_say_has_no_numbers_and_the_others_stay():
    def gone():
        raise NotReady("the child has died")

    metrics = Metrics()
    metrics.observe("x", "rag", "/x", 200, 0.1)
    before = set(samples(metrics.exposition("x").decode()))
    metrics.registry("x").register(ServingSeries(gone))
    assert set(samples(metrics.exposition("x").decode())) == before != set()


@pytest.fixture(scope="module")
def served_model(tmp_path_factory):
    """A loaded server with room for one reply, and a client of its port."""
    server, metrics = smoke_server(tmp_path_factory.mktemp("metrics"), llama_slots=1), Metrics()
    app = model.app(server)
    metrics.registry("inference-chat").register(ServingSeries(server.stats))
    _add_questions(app, "inference-chat", server, metrics)
    add_problems(app)
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        assert samples(client.get("/metrics").text)["llamacpp:tokens_predicted_total"] == 0  # nothing is loaded yet
        server.load()
        yield server, client
    server.close()


def test_they_move_with_what_a_real_server_does(served_model):
    _, client = served_model
    before = samples(client.get("/metrics").text)
    for _ in range(2):
        client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 6, "ignore_eos": True}).raise_for_status()
    response = client.get("/metrics")
    after = samples(response.text)
    assert response.headers["content-type"] == CONTENT_TYPE and set(before) == set(after)
    moved = {name: after[name] - before[name] for name in after if isinstance(name, str)}
    assert moved["llamacpp:tokens_predicted_total"] == 12 and moved["suite_serving_requests_total"] == 2
    assert moved["suite_serving_cached_tokens_total"] > 0 and 0 < after["suite_serving_cache_hit_ratio"] < 1
    assert moved["llamacpp:prompt_tokens_total"] > 0 and moved["llamacpp:n_decode_total"] >= 12 and after["llamacpp:kv_cache_tokens"] > 0
    assert moved["suite_serving_first_token_seconds_count"] == 2 and after["llamacpp:predicted_tokens_seconds"] > 0


def test_what_runs_and_what_waits_is_seen(served_model):
    _, client = served_model
    endless = {"messages": HELLO, "max_tokens": 4000, "ignore_eos": True, "stream": True}

    def now():
        seen = samples(client.get("/metrics").text)
        return seen["llamacpp:requests_processing"], seen["llamacpp:requests_deferred"], seen["suite_serving_queue_depth"]

    with client.stream("POST", "/v1/chat/completions", json=endless) as running:
        lines = running.iter_lines()  # kept: a generator of httpx' that is dropped closes the connection
        next(lines)
        waiting = threading.Thread(target=client.post, args=("/v1/chat/completions",), kwargs={"json": {"messages": HELLO, "max_tokens": 1}})
        waiting.start()
        until(lambda: now() == (1, 1, 1))
    waiting.join(60)
    until(lambda: now() == (0, 0, 0))
    assert samples(client.get("/metrics").text)["suite_serving_cancelled_total"] >= 1
