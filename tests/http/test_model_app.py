"""The JSON of a model server's port, over a scripted server; that real servers fit behind it is shown by test_openai_client.py."""

from __future__ import annotations

import contextlib
import json
import threading

import httpx
import pytest
from fastapi.testclient import TestClient
from models_stage import served, smoke_server
from openai_stage import TIMINGS, Scripted, row, until, with_logprobs

from suite.errors import ContextOverflow, NotReady, UpstreamError
from suite.http import model
from suite.http.body import MOST_BYTES
from suite.http.problem import add_problems

HELLO = [{"role": "user", "content": "안녕하세요"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "light", "arguments": '{"on": true}'}}
TOOL = {"type": "function", "function": {"name": "light", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def _app(server):
    app = model.app(server)
    add_problems(app)
    return app


@pytest.fixture
def server():
    """A scripted server."""
    return Scripted()


@pytest.fixture
def client(server):
    """A client of its app."""
    with TestClient(_app(server), raise_server_exceptions=False) as made:
        yield made


def ask(server, path=CHAT, **body):
    """One request to a server's app; gives the JSON, or the events of a stream."""
    with TestClient(_app(server), raise_server_exceptions=False) as client:
        sent = {"messages": HELLO, **body} if path == CHAT else body
        response = client.post(path, json=sent)
        return events(response) if body.get("stream") else response.json()


def events(response):
    """The events of a stream, parsed; [DONE] as it is."""
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_a_completion_has_openais_shape_llama_servers_timings_and_our_facts(client, server):
    body = client.post(CHAT, json={"messages": HELLO, "max_tokens": 5, "seed": 1}).json()
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-") and body["system_fingerprint"]
    assert body["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "one two three", "refusal": None}, "finish_reason": "stop",
                                "logprobs": None}]
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 4}}
    assert body["timings"] == TIMINGS and body["suite"]["smoke"] is True and body["model"] == "scripted"
    assert (server.asked[0].max_tokens, server.asked[0].seed) == (5, 1)
    server.wait_open(0)


def test_a_stream_is_the_completion_in_pieces_and_ends_with_its_facts(server):
    *chunks, done = ask(server, stream=True)
    assert done == "[DONE]" and {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"} and len({chunk["id"] for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""}, {"content": "one "}, {"content": "two "}, {"content": "three"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert chunks[-1]["timings"] == TIMINGS and chunks[-1]["usage"]["completion_tokens"] == 3 and chunks[-1]["suite"]["smoke"] is True
    assert not any("usage" in chunk or "timings" in chunk for chunk in chunks[:-1]) and {chunk["model"] for chunk in chunks} == {"scripted"}


def test_usage_is_a_last_chunk_without_choices_where_it_is_asked_for(server):
    *chunks, last, done = ask(server, stream=True, stream_options={"include_usage": True})
    assert done == "[DONE]" and last["choices"] == [] and last["usage"]["total_tokens"] == 13 and last["timings"] == TIMINGS
    assert all(chunk["usage"] is None for chunk in chunks) and chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_several_choices_are_several_requests_with_seeds_of_their_own(server):
    body = ask(server, n=3, seed=7)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2] and sorted(request.seed for request in server.asked) == [7, 8, 9]
    assert body["usage"]["prompt_tokens"] == 10 and body["usage"]["completion_tokens"] == 9
    assert body["timings"]["predicted_n"] == 9 and body["timings"]["predicted_per_second"] == pytest.approx(100)
    assert ask(Scripted(), n=2, seed=(1 << 32) - 2)["choices"][1]["index"] == 1


def test_choices_of_a_stream_are_written_side_by_side():
    gate = threading.Semaphore(0)
    server = Scripted([f"{number} " for number in range(5)], gate)
    with served(_app(server)) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        gate.release(10)  # were one written after the other, the second choice would never begin within its ten permits
        with client.stream("POST", CHAT, json={"messages": HELLO, "n": 2, "stream": True, "stream_options": {"include_usage": True}}) as response:
            lines = [line[6:] for line in response.iter_lines() if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    for index in (0, 1):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"] and chunk["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "0 1 2 3 4 " and own[-1]["finish_reason"] == "stop"
    assert lines[-1] == "[DONE]" and chunks[-1]["usage"]["completion_tokens"] == 10


def test_logprobs_come_in_openais_two_shapes():
    server = Scripted(with_logprobs("né", "e"), logprobs=(row("né"), row("e")))
    chat = ask(server, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert server.asked[-1].logprobs == 2 and [one["token"] for one in chat] == ["né", "e"]
    assert chat[0]["bytes"] == list("né".encode()) and chat[0]["top_logprobs"][1]["logprob"] == -9999.0
    legacy = ask(server, TEXT, prompt="x", logprobs=2)["choices"][0]["logprobs"]
    assert legacy.pop("content") == chat
    assert legacy == {"tokens": ["né", "e"], "token_logprobs": [-0.5, -0.5], "text_offset": [0, 2], "top_logprobs": [{"né": -0.5, "?": -9999.0},
                                                                                                                    {"e": -0.5, "?": -9999.0}]}
    streamed = ask(server, TEXT, prompt="x", logprobs=2, stream=True)
    assert [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in streamed[:2]] == [[0], [2]]
    assert [chunk["choices"][0]["logprobs"]["content"][0]["token"] for chunk in ask(server, logprobs=True, stream=True)[1:3]] == ["né", "e"]


def test_tool_calls_are_in_the_message_and_in_a_stream_after_the_text():
    server = Scripted(["let me see"], tool_calls=(CALL, {**CALL, "id": "call_2"}), finish="tool_calls")
    choice = ask(server, tools=[TOOL])["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and [call["id"] for call in choice["message"]["tool_calls"]] == ["call_1", "call_2"]
    assert ask(Scripted([], tool_calls=(CALL,), finish="tool_calls"), tools=[TOOL])["choices"][0]["message"]["content"] is None
    chunks = ask(server, tools=[TOOL], stream=True)[:-1]
    deltas = [chunk["choices"][0]["delta"]["tool_calls"] for chunk in chunks if "tool_calls" in chunk["choices"][0]["delta"]]
    assert deltas == [[{"index": 0, **CALL}], [{"index": 1, **CALL, "id": "call_2"}]] and chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(("sent", "field", "read"), [
    ({"max_completion_tokens": 3}, "max_tokens", 3), ({"n_predict": 4}, "max_tokens", 4), ({"n_predict": -1}, "max_tokens", 1 << 31),
    ({"logit_bias": {"5": -100, "6": 1.5}}, "logit_bias", ((5, -100.0), (6, 1.5))), ({"logit_bias": [[5, 1]]}, "logit_bias", ((5, 1.0),)),
    ({"stop": "x"}, "stop", ("x",)), ({"stop": ["x", "y"]}, "stop", ("x", "y")), ({"top_k": 3, "min_p": 0.1}, "top_k", 3), ({"min_p": 0.1}, "min_p", 0.1),
    ({"presence_penalty": -1, "frequency_penalty": 0.5}, "presence_penalty", -1), ({"frequency_penalty": 0.5}, "frequency_penalty", 0.5),
    ({"repeat_penalty": 1.2}, "repeat_penalty", 1.2), ({"top_p": 0.5}, "top_p", 0.5), ({"ignore_eos": True}, "ignore_eos", True),
    ({"cache_prompt": False}, "cache_prompt", False), ({"timeout": 5}, "timeout", 5), ({"grammar": 'root ::= "a"'}, "grammar", 'root ::= "a"'),
    ({"json_schema": SCHEMA}, "json_schema", json.dumps(SCHEMA)), ({"response_format": {"type": "text"}}, "json_schema", ""),
    ({"response_format": {"type": "json_object"}}, "json_schema", '{"type": "object"}'),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "json_schema", json.dumps(SCHEMA)),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}}, "json_schema", json.dumps(SCHEMA)),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "light"}}}, "tool_choice", "light"),
    ({"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}, "parallel_tool_calls", False), ({"tools": [TOOL]}, "tools", (TOOL,)),
    ({"logprobs": True}, "logprobs", 0), ({"logprobs": False, "top_logprobs": 0}, "logprobs", None), ({"model": "any"}, "model", "any"),
    ({"user": "me", "metadata": {"a": "b"}, "store": False, "functions": [], "function_call": "auto", "modalities": ["text"], "echo": False,
      "seed": None, "temperature": None, "service_tier": "auto", "stream_options": {"include_usage": True}}, "max_tokens", 256),
])
def test_every_option_reaches_the_request(server, sent, field, read):
    ask(server, **sent)
    assert getattr(server.asked[0], field) == read


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("change", "param"), [
    ({"temperature": -1}, "temperature"), ({"messages": []}, "messages"), ({"messages": "hello"}, "messages"), ({"messages": None}, "messages"),
    ({"seed": 1.5}, "seed"), ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"), ({"messages": ["x"]}, "messages[0]"),
    ({"n": 0}, "n"), ({"n": 17}, "n"), ({"n": True}, "n"), ({"n": "2"}, "n"), ({"tools": {"a": 1}}, "tools"), ({"tools": [{"type": "function"}]}, "tools[0]"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"), ({"tools": [TOOL], "tool_choice": "other"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"), ({"response_format": "json"}, "response_format"), ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format"), ({"stop": ["x"] * 17}, "stop"), ({"stop": 1}, "stop"),
    ({"response_format": {"type": "json_object"}, "grammar": 'root ::= "a"'}, "response_format"), ({"logprobs": 1}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"), ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"), ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"functions": [{"name": "f"}]}, "functions"), ({"function_call": {"name": "f"}}, "function_call"), ({"audio": {"voice": "a"}}, "audio"),
    ({"modalities": ["text", "audio"]}, "modalities"), ({"prediction": {"type": "content"}}, "prediction"), ({"model": 1}, "model"),
    ({"stream_options": 1}, "stream_options"), ({"max_tokens": 0}, "max_tokens"), ({"min_p": 2}, "min_p"), ({"suffix": "x"}, "suffix"),
    ({"mirostat": 2}, "mirostat"), ({"reasoning_effort": "high"}, "reasoning_effort"),
])
def test_a_value_that_cannot_be_used_is_a_400_that_names_it(client, server, stream, change, param):
    response = client.post(CHAT, json={"messages": HELLO, "stream": stream, **change})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["type"]) == (400, param, "BadRequest") and param.split("[")[0] in error["message"]
    assert server.asked == []


@pytest.mark.parametrize("path", [CHAT, TEXT, "/infill", "/tokenize", "/detokenize"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{", b'{"prompt": "\xe9"}', b"[" * 3000, b'{"a":' * 3000, b"9" * 5000])
def test_a_body_that_is_no_json_object_is_a_400(client, path, content):
    response = client.post(path, content=content)
    assert response.status_code == 400 and response.json()["error"]["type"] == "BadRequest"


def test_not_a_number_is_refused(client):
    response = client.post(CHAT, content='{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}')
    assert response.status_code == 400 and "temperature is nan" in response.json()["error"]["message"]


def test_a_body_of_too_many_bytes_is_refused_before_it_is_read_as_json(server):
    with served(_app(server)) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        text = "x" * (MOST_BYTES + 1)
        for sent in ({"content": json.dumps({"messages": [{"role": "user", "content": text}]})}, {"content": iter([text.encode()] * 3)}):
            response = client.post(CHAT, **sent)
            assert response.status_code == 413 and f"{MOST_BYTES:,} are the most" in response.json()["error"]["message"]
        assert client.post(CHAT, json={"messages": HELLO}).status_code == 200
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [{"stream": 1}, {"stream": "yes"}])
def test_stream_is_true_or_false(client, body):
    response = client.post(CHAT, json={"messages": HELLO, **body})
    assert response.status_code == 400 and response.json()["error"]["param"] == "stream"


def test_refusals_of_the_server_have_their_status_streaming_or_not():
    def overflow(request):
        raise ContextOverflow("The prompt has 700 tokens but the context has 512; shorten it.", param="messages", prompt_tokens=700, n_ctx=512)

    def full(request):
        raise NotReady("The queue is full; ask again in 7 s.", retry_after=7)

    for stream in (False, True):
        for path, body in ((CHAT, {"messages": HELLO}), (TEXT, {"prompt": "x"}), ("/infill", {"input_prefix": "x"})):
            with TestClient(_app(Scripted(refuse=overflow))) as client:
                response = client.post(path, json={**body, "stream": stream})
                error = response.json()["error"]
                assert (response.status_code, error["code"], error["type"]) == (400, "context_length_exceeded", "ContextOverflow")
                assert error["facts"] == {"param": "messages", "prompt_tokens": 700, "n_ctx": 512}
            with TestClient(_app(Scripted(refuse=full))) as client:
                response = client.post(path, json={**body, "stream": stream})
                assert response.status_code == 503 and response.headers["retry-after"] == "7"


def test_a_server_without_a_model_answers_503_with_retry_after(tmp_path):
    with TestClient(_app(smoke_server(tmp_path))) as client:
        for path, body in ((CHAT, {"messages": HELLO}), (CHAT, {"messages": HELLO, "stream": True}), ("/tokenize", {"content": "x"})):
            response = client.post(path, json=body)
            assert response.status_code == 503 and int(response.headers["retry-after"]) > 0 and response.json()["error"]["type"] == "NotReady"
        assert client.get("/v1/models").json()["data"] == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_before_its_first_piece_has_its_own_status(stream):
    with TestClient(_app(Scripted([UpstreamError("the model server died")]))) as client:
        for n in (1, 2):
            response = client.post(CHAT, json={"messages": HELLO, "stream": stream, "n": n})
            assert response.status_code == 502 and response.json()["error"]["type"] == "UpstreamError"


def test_a_choice_that_is_refused_ends_the_others():
    def second(request):
        if server.asked:
            raise NotReady("The queue is full; ask again in 7 s.", retry_after=7)

    server = Scripted(gate=threading.Semaphore(0), refuse=second)
    with TestClient(_app(server)) as client:
        assert client.post(CHAT, json={"messages": HELLO, "n": 2, "stream": True}).status_code == 503
        server.wait_open(0)


def test_a_stream_that_breaks_off_ends_with_an_error_event_and_without_done():
    for error, kind in ((UpstreamError("the model server died"), "UpstreamError"), (ZeroDivisionError("x"), "SuiteError")):
        told = ask(Scripted(["one ", error]), stream=True)
        assert told[-1]["error"]["type"] == kind and "[DONE]" not in told and told[1]["choices"][0]["delta"]["content"] == "one "


def test_text_completions_take_a_prompt_or_several(server):
    body = ask(server, TEXT, prompt="once upon", max_tokens=3)
    assert body["object"] == "text_completion" and body["id"].startswith("cmpl-") and body["choices"][0]["text"] == "one two three"
    assert server.asked[0].prompt == "once upon" and body["timings"] == TIMINGS
    server.asked.clear()
    body = ask(server, TEXT, prompt=["a", "b"], n=2, best_of=2)
    assert [request.prompt for request in server.asked] == ["a", "a", "b", "b"] and [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["prompt_tokens"] == 20 and body["usage"]["completion_tokens"] == 12
    chunks = ask(server, TEXT, prompt="a", stream=True)
    assert [chunk["choices"][0]["text"] for chunk in chunks[:-1]] == ["one ", "two ", "three", ""] and chunks[-1] == "[DONE]"
    ask(server, TEXT, prompt="a", suffix="z")
    assert (server.asked[-1].prompt, server.asked[-1].suffix) == ("a", "z")


@pytest.mark.parametrize(("body", "param"), [
    ({}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [1, 2]}, "prompt"), ({"prompt": [[1]]}, "prompt"), ({"prompt": ["x"] * 65}, "prompt"),
    ({"prompt": ["x"] * 5, "n": 16}, "prompt"), ({"prompt": "x", "best_of": 3}, "best_of"), ({"prompt": "x", "echo": True}, "echo"),
    ({"prompt": "x", "logprobs": True}, "logprobs"), ({"prompt": "x", "logprobs": 21}, "logprobs"), ({"prompt": "x", "suffix": 1}, "suffix"), ({"prompt": ""}, "prompt"),
])
def test_a_text_completion_that_cannot_be_made_is_a_400(client, body, param):
    response = client.post(TEXT, json=body)
    assert response.status_code == 400 and response.json()["error"]["param"] == param


def test_infill_speaks_as_llama_server_does(server):
    body = ask(server, "/infill", input_prefix="def f(", input_suffix="):", n_predict=4)
    assert (server.asked[0].prompt, server.asked[0].suffix, server.asked[0].max_tokens) == ("def f(", "):", 4)
    assert body["content"] == "one two three" and body["stop"] is True and body["timings"] == TIMINGS and body["tokens_cached"] == 4
    chunks = ask(server, "/infill", input_prefix="x", stream=True)
    assert [chunk["content"] for chunk in chunks] == ["one ", "two ", "three", ""] and [chunk["stop"] for chunk in chunks] == [False] * 3 + [True]
    assert ask(server, "/infill")["error"]["param"] == "input_prefix" and ask(server, "/infill", input_prefix=3)["error"]["param"] == "input_prefix"
    assert ask(server, "/infill", input_prefix="x", prompt="y")["error"]["param"] == "prompt"


def test_tokens_there_and_back(client):
    assert client.post("/tokenize", json={"content": "ab"}).json() == {"tokens": [1, 97, 98]}
    assert client.post("/tokenize", json={"content": "ab", "parse_special": False}).json() == {"tokens": [0, 97, 98]}
    assert client.post("/tokenize", json={"content": "a", "with_pieces": True}).json()["tokens"][1] == {"id": 97, "piece": "a"}
    assert client.post("/detokenize", json={"tokens": [97, 98]}).json() == {"content": "ab"}
    for path, body in (("/tokenize", {}), ("/tokenize", {"content": 1}), ("/tokenize", {"content": "x" * 1_000_001}), ("/detokenize", {"tokens": "ab"}),
                       ("/tokenize", {"content": "x", "add_special": True}), ("/detokenize", {"tokens": [1.5]}), ("/detokenize", {})):
        assert client.post(path, json=body).status_code == 400


def test_models_and_props_tell_what_is_loaded(client):
    assert [(one["id"], one["object"], one["n_ctx"]) for one in client.get("/v1/models").json()["data"]] == [("scripted", "model", 512)]
    assert client.get("/v1/models/scripted").json()["id"] == "scripted" and client.get("/v1/models/a/b").status_code == 404
    assert client.get("/props").json() == {"default_generation_settings": {"n_ctx": 512}, "total_slots": 4, "model_alias": "scripted"}


@pytest.mark.parametrize("body", [{"n": 1}, {"n": 3}, {"stream": True}, {"stream": True, "n": 3}])
def test_a_client_that_goes_away_while_nothing_has_come_yet_ends_what_it_asked_for(body):
    server = Scripted(gate=threading.Semaphore(0))
    with served(_app(server)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post(CHAT, json={"messages": HELLO, **body}, timeout=httpx.Timeout(20, read=0.3))
        server.wait_open(0)
        assert len(server.asked) == body.get("n", 1)
        server.gate.release(100)
        assert client.post(CHAT, json={"messages": HELLO}, timeout=20).status_code == 200


@pytest.mark.parametrize("n", [1, 2])
def test_a_client_that_goes_away_after_any_chunk_ends_all_its_choices(n):
    server = Scripted(["x"] * 10_000, threading.Semaphore(0))
    with served(_app(server)) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        for chunks in range(1, 5):
            server.gate.release(4 * n)
            with client.stream("POST", CHAT, json={"messages": HELLO, "stream": True, "n": n}) as response:
                lines = response.iter_lines()
                for _ in range(2 * chunks - 1):
                    next(lines)
            server.wait_open(0)
            assert len(server.asked) == chunks * n and client.get("/v1/models").status_code == 200


def test_more_streams_than_the_pool_of_threads_had_run_at_once_and_health_is_answered():
    gate, most = threading.Semaphore(0), 60
    server, texts = Scripted(gate=gate), []
    app = _app(server)
    app.add_api_route("/health", lambda: {"ok": True})

    def read(client, stream):
        response = client.post(CHAT, json={"messages": HELLO, "stream": stream})
        texts.append("".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(response)[:-1]) if stream
                     else response.json()["choices"][0]["message"]["content"])

    limits = httpx.Limits(max_connections=most + 1)
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60, limits=limits) as client:
        threads = [threading.Thread(target=read, args=(client, bool(at % 2))) for at in range(most)]
        for thread in threads:
            thread.start()
        server.wait_open(most)  # all of them are being answered, and none has got a piece
        assert client.get("/health").json() == {"ok": True}
        gate.release(3 * most)
        for thread in threads:
            thread.join(60)
    assert texts == ["one two three"] * most
    until(lambda: server.open == 0)


def test_a_server_that_stops_ends_what_is_still_being_written():
    server, seen = Scripted(["x"] * 100, threading.Semaphore(1)), []

    def read(client, stream):
        with contextlib.suppress(httpx.HTTPError):
            seen.append(client.post(CHAT, json={"messages": HELLO, "stream": stream}).text)

    with httpx.Client(trust_env=False, timeout=60) as client:
        with served(_app(server)) as url:
            client.base_url = url
            threads = [threading.Thread(target=read, args=(client, stream)) for stream in (False, True)]
            for thread in threads:
                thread.start()
            server.wait_open(2)
        server.wait_open(0)
        for thread in threads:
            thread.join(60)
    assert "[DONE]" not in "".join(seen)
