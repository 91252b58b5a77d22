"""OpenAI's own Python client against a running stack: the gateway (8000), the chat model (8001), the code model (8004), the embedder (8003)."""

from __future__ import annotations

import asyncio
import json
import threading

import httpx
import jsonschema
import numpy as np
import openai
import pytest
from models_stage import served, smoke_server
from openai_stage import Scripted, until
from prometheus_client.parser import text_string_to_metric_families

from suite import bench as benches
from suite.errors import UpstreamError
from suite.http import model
from suite.http.problem import add_problems

PORTS = {"api-gateway": "chat-7b", "inference-chat": "smoke", "inference-code": "smoke"}
HELLO = [{"role": "user", "content": "안녕하세요"}]
ON = {"ignore_eos": True}  # the bundled model ends its replies early; a test that needs tokens says so
SCHEMA = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}, "count": {"type": "integer", "minimum": 3, "maximum": 5}},
          "required": ["answer", "count"], "additionalProperties": False}
LIGHT = {"type": "function", "function": {"name": "set_light", "description": "Switch the light.", "parameters": {
    "type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False}}}
DOOR = {"type": "function", "function": {"name": "open_door", "description": "Open a door.", "parameters": {
    "type": "object", "properties": {"door": {"enum": ["front", "back"]}}, "required": ["door"], "additionalProperties": False}}}


@pytest.fixture(scope="module")
def stack(models_dir):
    """One real stack, and its target."""
    with benches.throwaway(models_dir=str(models_dir)) as made:
        yield made


def client_of(url, token="none", kind=openai.OpenAI, **options):
    """A client that tries once."""
    return kind(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=60, **options)


@pytest.fixture(scope="module", params=PORTS)
def port(request, stack):
    """A port's part, a client of it, and the model to ask there."""
    _, target = stack
    with client_of(target.urls[request.param], target.token) as client:
        client.part, client.asked = request.param, PORTS[request.param]
        yield client


def ask(client, **options):
    """A chat completion of a few tokens."""
    return client.chat.completions.create(**{"model": client.asked, "messages": HELLO, "max_tokens": 8, **options})


def test_models_are_listed_and_found(port):
    assert port.asked in [one.id for one in port.models.list()]
    assert port.models.retrieve(port.asked).id == port.asked
    with pytest.raises(openai.NotFoundError):
        port.models.retrieve("gpt-9")


def test_a_chat_completion_has_text_usage_and_timings(port):
    reply = ask(port, extra_body=ON, user="me")
    assert reply.choices[0].finish_reason == "length" and reply.choices[0].message.role == "assistant"
    assert reply.usage.completion_tokens == 8 and reply.usage.total_tokens == reply.usage.prompt_tokens + 8
    timings = reply.model_extra["timings"]
    assert timings["predicted_n"] == 8 and timings["prompt_n"] + timings["cache_n"] == reply.usage.prompt_tokens
    assert reply.usage.prompt_tokens_details.cached_tokens == timings["cache_n"] and reply.model_extra["suite"]["smoke"] is True


def test_what_was_read_before_is_not_read_again(port):
    asked = [{"role": "user", "content": f"{port.part} 앞에서 읽은 것은 다시 읽지 않습니다. " * 8}]
    first, second = (ask(port, messages=asked, max_tokens=1, extra_body=ON) for _ in range(2))
    assert second.usage.prompt_tokens_details.cached_tokens > second.usage.prompt_tokens // 2 > first.usage.prompt_tokens_details.cached_tokens
    anew = ask(port, messages=asked, max_tokens=1, extra_body={**ON, "cache_prompt": False})
    assert anew.usage.prompt_tokens_details.cached_tokens == 0


def test_a_stream_is_the_same_text_and_tells_its_usage(port):
    same = {"seed": 5, "temperature": 0.8, "max_tokens": 20, "extra_body": ON}
    chunks = list(ask(port, stream=True, stream_options={"include_usage": True}, **same))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ask(port, **same).choices[0].message.content and text
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 20 and all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason == "length" and chunks[-1].model_extra["timings"]["predicted_n"] == 20
    plain = list(ask(port, stream=True, **same))
    assert plain[-1].choices[0].finish_reason == "length" and plain[-1].model_extra["timings"]["predicted_n"] == 20
    assert len({chunk.id for chunk in plain}) == 1


def test_the_helper_that_gathers_a_stream_gathers_it(port):
    with port.chat.completions.stream(model=port.asked, messages=HELLO, max_tokens=50, extra_body={"grammar": 'root ::= "it is done"'}) as stream:
        told = [event.type for event in stream]
        reply = stream.get_final_completion()
    assert reply.choices[0].finish_reason == "stop" and reply.choices[0].message.content == "it is done" and "content.delta" in told


def test_a_seed_gives_the_same_text_and_its_choices_differ(port):
    options = {"seed": 11, "temperature": 2.0, "n": 4, "max_tokens": 4, "top_p": 1.0, "extra_body": {**ON, "min_p": 0.0, "top_k": 0}}
    first, second = (ask(port, **options) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2, 3] and first.usage.completion_tokens == 16 and len(set(texts)) > 1
    parts = [""] * 4
    for chunk in ask(port, stream=True, **options):
        for choice in chunk.choices:
            parts[choice.index] += choice.delta.content or ""
    for again in ([choice.message.content for choice in second.choices], parts):
        # one of 48 tokens of such a flat choice may turn, since the prompt was there already and sums end in other bits (see Sampler)
        assert sum(one == other for one, other in zip(texts, again, strict=True)) >= 3


def test_a_stop_string_ends_the_text_before_it(port):
    options = {"seed": 3, "temperature": 1.0, "max_tokens": 24, "extra_body": ON}
    whole = ask(port, **options).choices[0].message.content
    stop = whole[5:7]
    cut = ask(port, stop=[stop], **options).choices[0]
    assert cut.message.content == whole[:whole.index(stop)] and cut.finish_reason == "stop"


def test_logprobs_are_those_of_the_tokens_chosen(port):
    options = {"logprobs": True, "top_logprobs": 3, "temperature": 0, "max_tokens": 5, "extra_body": {**ON, "repeat_penalty": 1.0}}
    reply = ask(port, **options).choices[0]
    rows = reply.logprobs.content
    assert len(rows) == 5 and all(row.logprob <= 0 and len(row.top_logprobs) == 3 for row in rows)
    assert all(row.logprob == max(other.logprob for other in row.top_logprobs) for row in rows)
    assert b"".join(bytes(row.bytes) for row in rows).decode("utf-8", "replace").lstrip().startswith(
        reply.message.content.lstrip().rstrip("\ufffd"))
    streamed = [row for chunk in ask(port, stream=True, **options) for choice in chunk.choices if choice.logprobs for row in choice.logprobs.content]
    assert [row.token for row in streamed] == [row.token for row in rows]


def test_a_bias_of_100_repeats_its_token(port, stack):
    _, target = stack
    tokens = target.json("POST", "inference-chat", "/tokenize", json={"content": "a"})["tokens"]
    piece = target.json("POST", "inference-chat", "/detokenize", json={"tokens": tokens[-1:]})["content"]
    reply = ask(port, logit_bias={str(tokens[-1]): 100}, temperature=0, max_tokens=6, extra_body={**ON, "repeat_penalty": 1.0})
    assert reply.choices[0].message.content == piece * 6


def test_a_json_schema_is_kept(port):
    wanted = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}}
    for seed in range(3):
        choice = ask(port, response_format=wanted, seed=seed, temperature=1.5, max_tokens=200).choices[0]
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(port, response_format=wanted, max_tokens=200, stream=True))
    jsonschema.validate(json.loads(streamed), SCHEMA)


def test_a_json_object_is_one(port, stack):
    _, target = stack
    end = target.json("POST", "inference-chat", "/tokenize", json={"content": "}"})["tokens"][-1]  # or it may write on for long
    choice = ask(port, response_format={"type": "json_object"}, logit_bias={str(end): 100}, temperature=0, max_tokens=100).choices[0]
    assert isinstance(json.loads(choice.message.content), dict) and choice.finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("choice", "names"), [
    ("required", {"set_light", "open_door"}), ({"type": "function", "function": {"name": "open_door"}}, {"open_door"}), ("auto", None),
])
def test_tools_are_called_with_arguments_that_fit(port, stream, choice, names):
    options = {"tools": [LIGHT, DOOR], "tool_choice": choice, "max_tokens": 400, "temperature": 0.7, "seed": 1, "parallel_tool_calls": False}
    if stream:
        chunks = [chunk.choices[0] for chunk in ask(port, stream=True, **options)]
        finish = chunks[-1].finish_reason
        calls = [call for one in chunks for call in one.delta.tool_calls or ()]
    else:
        answer = ask(port, **options).choices[0]
        finish, calls = answer.finish_reason, answer.message.tool_calls or []
    if names is None:
        assert (finish == "tool_calls") == bool(calls)  # it may call, or not
    else:
        assert finish == "tool_calls" and len(calls) == 1 and calls[0].function.name in names and calls[0].id
    for call in calls:
        parameters = next(tool["function"]["parameters"] for tool in (LIGHT, DOOR) if tool["function"]["name"] == call.function.name)
        jsonschema.validate(json.loads(call.function.arguments), parameters)


def test_a_call_and_its_result_are_a_conversation(port):
    call = {"id": "call_1", "type": "function", "function": {"name": "set_light", "arguments": '{"on": true}'}}
    turns = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "done"}]
    assert ask(port, messages=turns, tools=[LIGHT]).choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_text_completions_whole_and_streamed(port):
    options = {"model": port.asked, "prompt": "The backup runs at", "max_tokens": 8, "seed": 2, "extra_body": ON}
    whole = port.completions.create(logprobs=2, **options)
    assert whole.object == "text_completion" and whole.usage.completion_tokens == 8 and whole.choices[0].finish_reason == "length"
    assert len(whole.choices[0].logprobs.token_logprobs) == 8 and whole.choices[0].logprobs.text_offset[0] == 0
    assert "".join(chunk.choices[0].text for chunk in port.completions.create(stream=True, **options)) == whole.choices[0].text
    several = port.completions.create(**{**options, "prompt": ["a", "b"]}, n=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def test_what_cannot_be_used_is_a_bad_request_that_names_it(port):
    for options, param in (({"temperature": 9}, "temperature"), ({"messages": []}, "messages"), ({"max_tokens": 0}, "max_tokens"),
                           ({"extra_body": {"grammar": "root ::= ("}}, "grammar"), ({"logit_bias": {"999999": 1}}, "logit_bias")):
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as caught:
                ask(port, stream=stream, **options)
            assert caught.value.param == param
    with pytest.raises(openai.BadRequestError) as caught:
        ask(port, messages=[{"role": "user", "content": "단어 " * 20_000}])
    sizes = caught.value.body["facts"]
    assert caught.value.code == "context_length_exceeded" and sizes["prompt_tokens"] > sizes["n_ctx"]
    assert str(sizes["prompt_tokens"]) in caught.value.message and str(sizes["n_ctx"]) in caught.value.message
    assert ask(port, max_tokens=1).usage.completion_tokens <= 1


def test_another_key_is_refused(port, stack):
    _, target = stack
    with client_of(target.urls[port.part], "wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_client_that_drops_after_any_chunk_frees_its_reply(port, stack):
    running, _ = stack
    servers = [running.parts[name] for name in ("inference-chat", "inference-code")]
    for number in range(1, 6):
        stream = ask(port, stream=True, max_tokens=3000, temperature=1.0, n=1 + number % 2, extra_body=ON)
        for _ in range(number):
            next(stream)
        stream.close()
        until(lambda: not any(server.stats()["busy"] or server.stats()["waiting"] for server in servers))
    assert sum(server.stats()["failed"] for server in servers) == 0
    assert ask(port, max_tokens=2, extra_body=ON).usage.completion_tokens == 2


def test_the_asynchronous_client_runs_many_at_once(port, stack):
    _, target = stack

    async def one(client, seed):
        parts = []
        async for chunk in await client.chat.completions.create(model=port.asked, messages=HELLO, max_tokens=16, seed=seed, temperature=1.0,
                                                                stream=True, extra_body=ON):
            parts.append(chunk.choices[0].delta.content or "")
        return "".join(parts)

    async def all_of_them():
        async with client_of(target.urls[port.part], target.token, openai.AsyncOpenAI) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(12)))

    texts = asyncio.run(all_of_them())
    assert len(texts) == 12 and all(texts)
    assert texts[4] == ask(port, seed=4, temperature=1.0, max_tokens=16, extra_body=ON).choices[0].message.content


def test_the_numbers_of_each_model_server_are_on_its_own_port(stack, port):
    _, target = stack
    ask(port, max_tokens=1)
    text = target.call("GET", port.part, "/metrics").text
    assert f'suite_requests_total{{part="{port.part}",route="/v1/chat/completions",status="200"}}' in text
    assert ("llamacpp:tokens_predicted_total " in text) == (port.part != "api-gateway")
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names))


def test_an_alias_that_nobody_has_is_not_found(stack):
    _, target = stack
    with client_of(target.urls["api-gateway"], target.token) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=HELLO)


@pytest.mark.parametrize("part", ["api-gateway", "embedding"])
def test_embeddings_come_as_the_client_asks_for_them(stack, part):
    running, target = stack
    with client_of(target.urls[part], target.token) as client:
        packed = client.embeddings.create(model="minilm", input=["The backup runs at three.", "백업"])  # it asks for base64 by itself
        plain = client.embeddings.create(model="minilm", input="The backup runs at three.", encoding_format="float")
        known = running.embedder.embed(["The backup runs at three."])[0]
        assert len(packed.data) == 2 and np.allclose(packed.data[0].embedding, known, atol=1e-6) and np.allclose(plain.data[0].embedding, known, atol=1e-6)
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="text-embedding-3-small", input="x")
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="minilm", input=[[1, 2, 3]])


def _app(server):
    app = model.app(server)
    add_problems(app)
    return app


def test_a_full_queue_is_a_503_that_says_when_to_come_back(tmp_path):
    server = smoke_server(tmp_path, llama_slots=1, llama_queue=1)
    server.load()
    try:
        with served(_app(server)) as url, client_of(url) as client:
            client.asked = "smoke"
            running = ask(client, stream=True, max_tokens=4000, extra_body=ON)
            next(running)
            waiting = threading.Thread(target=ask, args=(client,), kwargs={"max_tokens": 1})
            waiting.start()
            until(lambda: server.stats()["waiting"] == 1)
            for stream in (False, True):
                with pytest.raises(openai.APIStatusError) as caught:
                    ask(client, stream=stream)
                assert caught.value.status_code == 503 and int(caught.value.response.headers["retry-after"]) > 0
            running.close()
            waiting.join(60)
            assert ask(client, max_tokens=1, extra_body=ON).usage.completion_tokens == 1
    finally:
        server.close()


def test_a_stream_that_breaks_off_is_an_error_of_the_client():
    with served(_app(Scripted(["one ", "two ", UpstreamError("the model server died in the middle of a reply")]))) as url, client_of(url) as client:
        client.asked, seen = "scripted", []
        with pytest.raises(openai.APIError, match="died in the middle"):
            for chunk in ask(client, stream=True):
                seen.append(chunk.choices[0].delta.content)
        assert seen == ["", "one ", "two "]


def test_a_client_that_waits_no_longer_frees_what_it_asked_for():
    server = Scripted(gate=threading.Semaphore(0))
    with served(_app(server)) as url, client_of(url) as client:
        client.asked = "scripted"
        for stream in (False, True):
            with pytest.raises(openai.APITimeoutError):
                ask(client, stream=stream, timeout=httpx.Timeout(20, read=0.3))
            server.wait_open(0)
        server.gate.release(100)
        assert ask(client).choices[0].message.content == "one two three"
