"""A model server behind a URL, as vLLM, llama-server and Ollama answer, and as broken ones do: over real sockets, byte by byte."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import RawServer, answer, chunk, http, sse, staying

from suite.errors import BadRequest, ContextOverflow, NotReady, SuiteError, UpstreamError
from suite.gateway.connection import Hold, Lost
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.serving.request import Request

HELLO = Request.of("hello")


@pytest.fixture
def over():
    """Makes a server with its scripts, and the upstream that asks it."""
    made = []

    def make(*scripts, **options):
        server = RawServer(*scripts)
        upstream = OpenAIUpstream("box", server.url, options.pop("model", "there"), **options)
        made.append((server, upstream))
        return upstream, server

    yield make
    for server, upstream in made:
        upstream.close()
        server.close()


def read(stream):
    pieces = list(stream)
    return pieces, stream.reply


STREAMS = {
    "vllm": [chunk("", delta={"role": "assistant"}), chunk("Hel"), chunk("lo"), chunk("", "stop"), {"model": "there", "choices": [], "usage": {
        "prompt_tokens": 5, "completion_tokens": 2}}],
    "llama-server": [chunk(None, delta={"role": "assistant", "content": None}), chunk("Hel"), chunk("lo"), chunk(None, "stop"), {
        "model": "there", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}, "timings": {"cache_n": 4, "predicted_n": 2, "x": 1}}],
    "ollama without usage": [chunk("Hel", delta={"role": "assistant"}), chunk("lo"), chunk("", "stop")],
    "keep-alives and comments": [b": ping\n\n", b":\n", b"event: message\nid: 7\nretry: 100\n", chunk("Hel"), b": keep-alive\n\n", chunk("lo", "stop")],
    "carriage returns, no space": [b'data:{"choices":[{"delta":{"content":"Hel"}}]}\r\n\r\n', b'data:{"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}\r\n\r\n'],
    "usage beside the text": [chunk("Hel", usage=None), chunk("lo", "stop", usage={"prompt_tokens": 5, "completion_tokens": 2})],
    "a reasoning model": [chunk(None, delta={"reasoning_content": "hm"}), chunk("Hel"), chunk("lo", "stop")],
}


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS)
def test_streams_as_servers_send_them(over, events):
    upstream, server = over(sse(*events))
    pieces, reply = read(upstream.stream(HELLO))
    assert (pieces, reply.text, reply.tokens, reply.finish) == (["Hel", "lo"], "Hello", 2, "stop")
    assert reply.timings["predicted_n"] == 2 and server.body()["stream"] is True and server.body()["stream_options"] == {"include_usage": True}


def test_a_stream_may_end_without_done_once_its_reason_was_said_and_without_the_reason_once_done_was(over):
    for events, end in (([chunk("a"), chunk(None, "length")], False), ([chunk("a")], True)):
        upstream, _ = over(sse(*events, end=end))
        assert read(upstream.stream(HELLO))[1].text == "a"


def test_signs_that_python_takes_for_line_ends_do_not_cut_an_event(over):
    text = "a\u2028b\u0085c\x0bd\u2029e"
    upstream, _ = over(sse(chunk(text), chunk("", "stop")))
    assert read(upstream.stream(HELLO))[1].text == text


def test_a_server_that_does_not_stream_gives_its_reply_at_once(over):
    upstream, _ = over(http(answer("hello there")))
    pieces, reply = read(upstream.stream(HELLO))
    assert pieces == ["hello there"] == [reply.text] and reply.prompt_tokens == 5


def test_a_whole_reply_carries_counts_model_and_timings(over):
    upstream, server = over(http(answer("안녕", model="another-7b", timings={"prompt_ms": 3.5, "predicted_n": 2, "junk": "x"})))
    reply = upstream.complete(HELLO)
    assert (reply.text, reply.tokens, reply.prompt_tokens, reply.model) == ("안녕", 2, 5, "another-7b")
    assert reply.timings == {"prompt_ms": 3.5, "predicted_n": 2}
    assert "stream" not in server.body() and server.body()["model"] == "there"
    bare, _ = over(http(answer("x", model=None)))
    assert bare.complete(HELLO).model == "there" and bare.complete(HELLO).timings["cache_n"] == 3


def test_options_go_by_the_names_that_servers_know(over):
    upstream, server = over(http(answer()), model="")
    upstream.complete(Request.of("x", top_k=4, min_p=0.1, repeat_penalty=1.2, seed=0, stop=("a", "b"), logit_bias={7: -3}, logprobs=2, max_tokens=9,
                                 ignore_eos=True, cache_prompt=False, grammar='root ::= "a"', presence_penalty=0.5))
    sent = server.body()
    assert sent == {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "top_k": 4, "min_p": 0.1, "repeat_penalty": 1.2, "repetition_penalty": 1.2,
                    "presence_penalty": 0.5, "seed": 0, "stop": ["a", "b"], "logit_bias": {"7": -3.0}, "logprobs": True, "top_logprobs": 2,
                    "ignore_eos": True, "cache_prompt": False, "grammar": 'root ::= "a"', "guided_grammar": 'root ::= "a"',
                    "structured_outputs": {"grammar": 'root ::= "a"'}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    upstream.complete(Request.of("x", tools=tools, tool_choice="f", parallel_tool_calls=False))
    assert server.body()["tool_choice"] == {"type": "function", "function": {"name": "f"}} and server.body()["parallel_tool_calls"] is False
    upstream.complete(Request.of("x", json_schema={"type": "integer"}))
    assert server.body()["response_format"]["json_schema"]["schema"] == {"type": "integer"}


def test_raw_prompts_and_gaps_go_to_completions(over):
    text = {"model": "there", "choices": [{"text": "c", "finish_reason": "stop", "logprobs": {
        "tokens": ["c"], "token_logprobs": [-0.5], "top_logprobs": [{"c": -0.5, "d": -2}], "text_offset": [0]}}]}
    upstream, server = over(http(text))
    reply = upstream.complete(Request.of(prompt="a", suffix="z", logprobs=1))
    assert server.requests[-1].startswith(b"POST /v1/completions ") and server.body()["prompt"] == "a" and server.body()["suffix"] == "z"
    assert reply.text == "c" and reply.logprobs[0]["logprob"] == -0.5 and [row["token"] for row in reply.logprobs[0]["top_logprobs"]] == ["c", "d"]


def test_tool_calls_and_logprobs_come_whole_or_in_pieces(over):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    rows = {"content": [{"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": [{"token": "y", "logprob": -2, "bytes": None}]}]}
    upstream, _ = over(http(answer(None, message={"tool_calls": [call]}, finish="tool_calls")))
    reply = upstream.complete(HELLO)
    assert reply.tool_calls == (call,) and reply.finish == "tool_calls" and reply.text == ""
    parts = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}, {"index": 0, "function": {"arguments": '{"a"'}},
             {"index": 0, "function": {"arguments": ": 1}"}}]
    upstream, _ = over(sse(*(chunk(None, delta={"tool_calls": [part]}) for part in parts), chunk(None, "tool_calls")))
    assert upstream.stream(HELLO).read().tool_calls == (call,)
    event = chunk("x", "stop")
    event["choices"][0]["logprobs"] = rows
    upstream, _ = over(sse(event))
    pieces, reply = read(upstream.stream(HELLO))
    assert pieces[0].logprobs == reply.logprobs and reply.logprobs[0]["top_logprobs"] == [{"token": "y", "bytes": [121], "logprob": -2.0}]


BROKEN = {
    "nothing": sse(end=False),
    "no end": sse(chunk("one"), end=False),
    "only a role": sse(chunk(None, delta={"role": "assistant"}), end=False),
    "done and nothing": sse(),
    "an error event": sse(chunk("one"), {"error": {"message": "CUDA out of memory"}}),
    "an error before all": sse({"error": "no slot"}),
    "an error by name": sse(chunk("one"), b'event: error\ndata: {"message": "gone"}\n\n'),
    "an error line": sse(chunk("one"), b'error: {"code": 500, "message": "gone"}\n\n'),
    "no JSON": sse(chunk("one"), b"data: {broken\n\n"),
    "half a line": sse(chunk("one"), b'data: {"choices": [{"delta": {}, "finish_reason": "st', end=False),
    "NaN": sse(b'data: {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": NaN}}\n\n'),
    "no choices": sse(chunk("one"), {"id": 7}),
    "choices of numbers": sse({"choices": [7]}),
    "content of numbers": sse({"choices": [{"delta": {"content": 7}}]}),
    "given up": sse(chunk("one"), chunk(None, "abort")),
    "no UTF-8": sse(b"data: \xff\xfe\n\n"),
    "HTML": http(b"<html>login</html>", kind="text/html"),
    "garbage lines": sse(b"hello\n"),
    "a cut chunk": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n40\r\ndata: {\"choi",
    "a chunk of no size": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\ndata",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing at all": b"",
    "a calls' list of texts": sse(chunk(None, delta={"tool_calls": ["x"]})),
    "a call without a name": sse(chunk(None, delta={"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), chunk(None, "stop")),
    "compressed": http(b"\x1f\x8b", kind="text/event-stream", Content_Encoding="gzip"),
    "deep": sse(b"data: " + b"[" * 100_000 + b"\n\n"),
}


@pytest.mark.parametrize("response", BROKEN.values(), ids=BROKEN)
def test_a_stream_that_is_not_whole_is_an_error_and_never_an_end(over, response):
    upstream, _ = over(response)
    stream, seen = upstream.stream(HELLO), []
    with pytest.raises(UpstreamError, match="box") as caught:
        for piece in stream:
            seen.append(piece)
        stream.reply  # noqa: B018
    assert seen in ([], ["one"], ["x"]) and "\n" not in caught.value.message and len(caught.value.message) < 500
    with pytest.raises(UpstreamError):
        stream.reply  # noqa: B018


BODIES = [b"", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [[]]}', b'{"choices": {}}', b'{"error": "x"}', b"<html>", b"\xff", b'{"choices": [{"message": 3}]}',
          b'{"choices": [{"message": {"content": {}}}]}', b'{"choices": [{"message": {"content": "x"}, "finish_reason": 7}]}', b"[" * 100_000, b"NaN",
          b'{"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": Infinity}}', json.dumps(answer())[:-3].encode()]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_no_reply_is_an_error(over, body):
    upstream, _ = over(http(body))
    with pytest.raises(UpstreamError, match="box"):
        upstream.complete(HELLO)


def test_a_body_shorter_than_it_was_said_to_be_is_an_error(over):
    upstream, _ = over(http(answer(), length=10_000))
    with pytest.raises(UpstreamError, match="missing"):
        upstream.complete(HELLO)


def test_absurd_numbers_are_not_taken(over):
    body = json.dumps(answer("x")).replace('"completion_tokens": 2', '"completion_tokens": 1e999').replace('"prompt_tokens": 5', '"prompt_tokens": -4')
    upstream, _ = over(http(body.encode()))
    reply = upstream.complete(HELLO)
    assert (reply.tokens, reply.prompt_tokens) == (1, 0)


def test_more_than_anybody_may_send_is_an_error(over, monkeypatch):
    from suite.gateway import openai_upstream, wire
    from suite.gateway import sse as events

    monkeypatch.setattr(openai_upstream, "MOST_BYTES", 1000)
    monkeypatch.setattr(events, "LONGEST_LINE", 1000)
    monkeypatch.setattr(wire, "LONGEST_TEXT", 1000)
    for response in (http(answer("x" * 2000)), sse(*[chunk("x" * 300)] * 9), sse(b"data: " + b" " * 2000, end=False)):
        upstream, _ = over(response)
        with pytest.raises(UpstreamError, match="more than"):
            upstream.stream(HELLO).read()


STATUSES = [
    ("400 Bad", {"error": {"message": "top_k is bad"}}, BadRequest, "top_k is bad"), ("422 No", {"detail": "no such option"}, BadRequest, "no such option"),
    ("400 Bad", {"error": {"message": "This model's maximum context length is 4096 tokens."}}, ContextOverflow, "4096"),
    ("400 Bad", {"error": {"type": "exceed_context_size_error", "message": "too long", "n_ctx": 512}}, ContextOverflow, "too long"),
    ("401 No", {"error": "bad key"}, UpstreamError, "check its key"), ("404 No", {"error": {"message": "model not found"}}, UpstreamError, "model not found"),
    ("429 Busy", {}, NotReady, "too much to do"), ("503 No", {"error": {"message": "Loading model"}}, NotReady, "Loading model"),
    ("502 Bad", b"<html>bad gateway</html>", NotReady, "502"), ("500 Oh", {"error": {"message": "decode failed"}}, UpstreamError, "decode failed"),
    ("504 Late", b"", UpstreamError, "504"), ("301 Moved", b"", UpstreamError, "301"), ("204 Empty", b"", UpstreamError, "204"),
]


@pytest.mark.parametrize(("status", "body", "kind", "said"), STATUSES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_other_status_has_its_error(over, status, body, kind, said, stream):
    upstream, _ = over(http(body, status))
    with pytest.raises(kind, match=said) as caught:
        upstream.stream(HELLO).read() if stream else upstream.complete(HELLO)
    assert type(caught.value) is kind and caught.value.facts["part"] == "box" and caught.value.facts["status"] == int(status[:3])


def test_a_busy_server_says_when_to_come_back(over):
    for value, seconds in (("2", 2), ("0.5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-3", None), ("nan", None)):
        upstream, _ = over(http({}, "429 Busy", Retry_After=value))
        with pytest.raises(NotReady) as caught:
            upstream.complete(HELLO)
        assert caught.value.facts.get("asked_to_wait") == seconds and caught.value.facts["retry_after"] == (5 if seconds is None else seconds)


def test_nobody_there_is_an_error_that_says_where(over):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        upstream = OpenAIUpstream("box", url)
        with pytest.raises(NotReady, match=f"box at {url} does not accept connections") as caught:
            upstream.complete(HELLO)
    assert caught.value.facts["down"] is True and not upstream.ready().ok


def silent(connection):
    """Reads on, and never answers; ends when the other side does."""
    connection.recv(1)


def test_each_stage_has_its_own_end(over):
    upstream, _ = over(silent, first_token=0.2, timeout=30)
    for ask in (upstream.stream, upstream.whole):
        with pytest.raises(UpstreamError, match=r"did not begin a reply within 0\.2 s") as caught:
            ask(HELLO).read()
        assert not caught.value.facts.get("timeout")
    upstream, _ = over(silent, timeout=0.2)
    with pytest.raises(UpstreamError, match=r"no whole reply within 0\.2 s") as caught:
        upstream.complete(HELLO)
    assert caught.value.facts["timeout"] is True and caught.value.facts["down"] is True
    with pytest.raises(UpstreamError, match=r"within 0\.1 s") as caught:  # the caller's own time says nothing about the server
        upstream.complete(Request.of("hello", timeout=0.1))
    assert caught.value.facts["timeout"] is True and "down" not in caught.value.facts


@pytest.mark.parametrize("events", [[], [b": ping\n\n"] * 3, [chunk(None, delta={"role": "assistant"})]], ids=["head only", "pings", "role only"])
def test_pings_and_roles_are_no_beginning(over, events):
    def script(connection):
        connection.sendall(sse(*events, end=False))
        silent(connection)

    upstream, _ = over(script, first_token=0.2, timeout=30)
    with pytest.raises(UpstreamError, match=r"did not begin a reply within 0\.2 s"):
        upstream.stream(HELLO).read()


def test_a_server_that_falls_silent_is_given_up_at_the_deadline(over):
    def script(connection):
        connection.sendall(sse(chunk("one"), end=False))
        silent(connection)

    upstream, _ = over(script, timeout=0.3)
    stream = upstream.stream(HELLO)
    assert next(stream) == "one"
    with pytest.raises(UpstreamError, match=r"within 0\.3 s") as caught:
        next(stream)
    assert "down" not in caught.value.facts


def test_connections_are_kept_and_one_that_ended_meanwhile_is_replaced(over):
    upstream, server = over(staying(http(answer())))
    for _ in range(5):
        upstream.complete(HELLO)
    assert server.connections == 1
    closing, server = over(staying(http(answer())), lambda connection: connection.shutdown(socket.SHUT_RDWR), staying(http(answer("again"))))
    closing.complete(HELLO)
    assert closing.complete(HELLO).text == "again" and len(server.requests) == 3  # ended just as the second request came: sent once more


def test_closing_a_stream_ends_the_connection_at_once(over):
    ended = threading.Event()

    def script(connection):
        connection.sendall(sse(chunk("one"), end=False))
        connection.recv(1)
        ended.set()

    upstream, _ = over(script)
    stream = upstream.stream(HELLO)
    assert next(stream) == "one"
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    stream.close()
    reader.join(10)
    assert ended.wait(10) and not reader.is_alive() and stream.reply.finish == "cancelled" and stream.reply.text == "one"


def test_ready_says_what_is_listed_there(over):
    def listing(*rows):
        return over(http({"data": list(rows)}))[0].ready()

    assert listing({"id": "there"}).ok and listing({"id": "there"}).facts["model"] == "there"
    assert not listing({"id": "other"}, {"id": "third"}).ok and "other, third" in listing({"id": "other"}, {"id": "third"}).reasons[0]
    assert listing({"id": "/models/x.gguf", "owned_by": "llamacpp"}).ok
    assert not listing({"id": "there", "ready": False}).ok and listing({"id": "there", "smoke": True}).facts["smoke"]
    assert over(http({}, "404 No"))[0].ready().ok and not over(http({}, "401 No"))[0].ready().ok and not over(http(b"<html>"))[0].ready().ok


def test_the_key_is_sent_and_is_in_no_error(over):
    upstream, server = over(http({"error": "bad key"}, "401 No"), key="sesame-open")
    with pytest.raises(SuiteError) as caught:
        upstream.complete(HELLO)
    assert b"Authorization: Bearer sesame-open\r\n" in server.requests[0] and "sesame" not in str(caught.value.to_dict()) + repr(upstream)


WHOLE = sse(chunk("one "), chunk("두 "), chunk("three", "stop"), {"choices": [], "usage": {"completion_tokens": 3}})


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(WHOLE)), flips=st.lists(st.tuples(st.integers(120, len(WHOLE) - 1), st.integers(0, 255)), max_size=3))
def test_a_damaged_stream_gives_a_whole_reply_or_an_error_of_ours(cut, flips):
    data = bytearray(WHOLE[:cut])
    for place, value in flips:
        if place < len(data):
            data[place] = value
    with RawServer(bytes(data)) as server:
        upstream = OpenAIUpstream("box", server.url)
        try:
            reply = upstream.stream(HELLO).read()
            assert flips or reply.text == "one 두 three"
        except SuiteError as error:
            assert "\n" not in error.message
        upstream.close()


def test_what_nobody_asked_for_is_not_taken_for_the_next_answer(over):
    go, sent = threading.Event(), threading.Event()

    def talkative(connection):
        connection.sendall(http(answer("first")))
        go.wait(20)
        connection.sendall(http(answer("uninvited")))
        sent.set()

    upstream, server = over(talkative, staying(http(answer("second"))))
    assert upstream.complete(HELLO).text == "first"
    go.set()
    assert sent.wait(20)
    assert upstream.complete(HELLO).text == "second" and server.connections == 2


def test_a_request_that_was_taken_back_is_not_sent(over):
    upstream, server = over(http(answer()))
    hold = Hold()
    hold.drop()
    with pytest.raises(Lost, match="taken back"):
        upstream._connections.send("POST", "/v1/chat/completions", b"{}", {}, time.monotonic() + 10, hold)
    assert server.requests == []


@pytest.mark.parametrize(("name", "said"), [("an error event", "CUDA out of memory"), ("an error line", "gone"), ("an error before all", "no slot"), ("compressed", "coding 'gzip'")])
def test_the_reason_that_a_server_gives_is_passed_on(over, name, said):
    upstream, _ = over(BROKEN[name])
    with pytest.raises(UpstreamError, match=said):
        upstream.stream(HELLO).read()
