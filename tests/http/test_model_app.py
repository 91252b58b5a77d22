from __future__ import annotations

import json
import threading
import time

import httpx
import pytest
from fastapi.testclient import TestClient
from models_stage import served, smoke_server

from suite.http import model
from suite.http.problem import add_problems

HELLO = [{"role": "user", "content": "안녕하세요"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A loaded chat server."""
    made = smoke_server(tmp_path_factory.mktemp("model"))
    made.load()
    yield made
    made.close()


@pytest.fixture
def client(server):
    """A client of the chat server's app."""
    app = model.app(server)
    add_problems(app)
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def _events(response):
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] for line in lines]


def test_a_completion_has_openais_shape_and_our_facts(client):
    body = client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 5, "seed": 1}).json()
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"] and choice["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 5
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 5
    assert body["suite"]["smoke"] is True and body["model"] == "smoke"


def test_a_stream_ends_with_usage_suite_and_done_and_its_text_is_the_completions(client):
    request = {"messages": HELLO, "max_tokens": 9, "seed": 1}
    response = client.post("/v1/chat/completions", json={**request, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = _events(response)
    chunks = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]" and all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1 and len(chunks) > 5
    assert chunks[-1]["usage"]["completion_tokens"] == 9 and chunks[-1]["suite"]["smoke"] is True
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == client.post("/v1/chat/completions", json=request).json()["choices"][0]["message"]["content"]


def test_models_lists_the_loaded_file_with_its_hash(client, server):
    rows = client.get("/v1/models").json()["data"]
    assert [row["id"] for row in rows] == ["smoke"]
    assert rows[0]["object"] == "model" and rows[0]["sha256"] == server.expected()["sha256"] and rows[0]["path"].endswith("smoke.gguf")
    assert client.get("/v1/models/smoke").json()["id"] == "smoke"
    assert client.get("/v1/models/other").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"temperature": -1}, 400, "temperature"), ({"messages": []}, 400, "messages"), ({"messages": "hello"}, 422, "messages"),
        ({"seed": 1.5}, 422, "seed"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "role"), ({"messages": [{"role": "user", "content": "단어 " * 5000}]}, 400, "4096"),
        ({"n": 2}, 400, "n is 2"), ({"tools": [{"type": "function"}]}, 400, "tools"), ({"grammar": "root ::= ("}, 400, "grammar"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"), ({"stop": ["x"] * 17}, 400, "stop"),
    ],
)
def test_a_request_that_cannot_be_served_has_its_own_status_streaming_or_not(client, stream, change, status, said):
    response = client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 2, "stream": stream, **change})
    assert response.status_code == status
    assert said in response.json()["error"]["message"]


def test_not_a_number_is_refused(client):
    response = client.post("/v1/chat/completions", content='{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
                           headers={"Content-Type": "application/json"})
    assert response.status_code == 400 and "temperature is nan" in response.json()["error"]["message"]


def test_options_that_change_nothing_are_accepted(client):
    neutral = {"n": 1, "user": "me", "stream_options": {"include_usage": True}, "tools": [], "logprobs": False, "response_format": {"type": "text"},
               "max_tokens": None, "max_completion_tokens": 3, "frequency_penalty": 0.0, "model": "anything"}
    assert client.post("/v1/chat/completions", json={"messages": HELLO, **neutral}).json()["usage"]["completion_tokens"] == 3


def test_a_server_without_a_model_answers_503_with_retry_after(tmp_path):
    app = model.app(smoke_server(tmp_path))
    add_problems(app)
    with TestClient(app) as client:
        for stream in (False, True):
            response = client.post("/v1/chat/completions", json={"messages": HELLO, "stream": stream})
            assert response.status_code == 503 and int(response.headers["retry-after"]) > 0
            assert response.json()["error"]["type"] == "NotReady"
        assert client.get("/v1/models").json()["data"] == []


def test_a_client_that_goes_away_stops_the_generation(server):
    app = model.app(server)
    add_problems(app)
    with served(app) as url:
        request = {"messages": HELLO, "stream": True, "max_tokens": 3500, "temperature": 2.0}
        before = server.info()["tokens"]
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=request, trust_env=False) as response:
            next(response.iter_lines())
        waits, deadline = threading.Event(), time.monotonic() + 20
        while server.info()["busy"]:
            assert time.monotonic() < deadline
            waits.wait(0.01)
        assert server.info()["tokens"] - before < 3500
