from __future__ import annotations

import contextlib
import json

import httpx
import pytest
from fastapi.testclient import TestClient
from models_stage import served

from suite.errors import BadRequest, NotFound, NotReady, SuiteError, UpstreamError
from suite.gateway.gateway import Gateway
from suite.http import gateway as gateway_app
from suite.http.apps import _add_questions
from suite.http.client import Client
from suite.http.problem import add_problems
from suite.http.remote_gateway import RemoteGateway
from suite.monitoring.metric import Metrics
from suite.monitoring.probe import good
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

HELLO = [{"role": "user", "content": "안녕하세요"}]


def _app(part):
    app = gateway_app.app(part)
    _add_questions(app, "api-gateway", part, Metrics())
    add_problems(app)
    return app


@pytest.fixture
def client(gateway):
    """A client of the gateway's app."""
    with TestClient(_app(gateway), raise_server_exceptions=False) as made:
        yield made


@contextlib.contextmanager
def _remote(part):
    """The guest's side of a gateway, over a real port and with the client that guests use."""

    async def trusting(scope, receive, send):  # as the guard marks a request that carried the token
        scope.setdefault("state", {})["trusted"] = True
        await app(scope, receive, send)

    app = _app(part)
    with served(trusting) as url, Client(url, "") as client:
        yield RemoteGateway(client)


@pytest.fixture
def remote(gateway):
    """The guest's side of the gateway over both servers."""
    with _remote(gateway) as made:
        yield made


class BreaksOff:
    """A model server that fails after two pieces."""

    name = "breaks-off"

    def ready(self):
        return good(model="breaks-off")

    def stream(self, request):
        def pieces():
            yield "one "
            yield "two "
            raise UpstreamError("the model server ended in the middle of a reply")

        return ReplyStream(pieces(), lambda: None, lambda: None)

    def complete(self, request):
        return self.stream(request).read()


def test_a_reply_says_which_alias_answered_and_why(client):
    body = client.post("/v1/chat/completions", json={"model": "auto", "messages": [{"role": "user", "content": "python?"}], "max_tokens": 2}).json()
    assert body["model"] == "code-7b"
    assert body["suite"]["alias"] == "code-7b" and "python" in body["suite"]["why"]
    assert body["suite"]["smoke"] is True and body["suite"]["fallback"] is False
    assert client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 1}).json()["suite"]["alias"] == "chat-7b"


def test_the_aliases_are_listed_as_models(client):
    assert [row["id"] for row in client.get("/v1/models").json()["data"]] == ["chat-7b", "code-7b"]
    assert client.get("/v1/models/code-7b").json()["upstream"] == "inference-code"
    assert client.post("/v1/chat/completions", json={"model": "gpt-4", "messages": HELLO}).status_code == 404


def test_a_reply_that_breaks_off_ends_with_an_error_event_and_without_done(servers):
    broken = Gateway({"chat-7b": [BreaksOff()], "code-7b": [servers[1]]})
    with TestClient(_app(broken)) as client:
        response = client.post("/v1/chat/completions", json={"model": "chat-7b", "messages": HELLO, "stream": True})
        events = [line[6:] for line in response.text.split("\n\n") if line]
        assert json.loads(events[-1])["error"]["type"] == "UpstreamError" and "[DONE]" not in response.text
        whole = client.post("/v1/chat/completions", json={"model": "chat-7b", "messages": HELLO})  # of which nobody has seen a piece
        assert whole.status_code == 200 and whole.json()["choices"][0]["message"]["content"]
    alone = Gateway({"chat-7b": [BreaksOff()], "code-7b": [BreaksOff()]})
    with TestClient(_app(alone)) as client:
        assert client.post("/v1/chat/completions", json={"model": "chat-7b", "messages": HELLO}).status_code == 502
    with _remote(broken) as remote:
        stream, seen = remote.chat("hello", model="chat-7b", stream=True), []
        with pytest.raises(UpstreamError, match="in the middle"):
            for piece in stream:
                seen.append(piece)
        assert seen == ["one ", "two "]
        with pytest.raises(UpstreamError):
            stream.reply  # noqa: B018


def _timeless(reply):
    """A reply without what differs from one run to the next."""
    return {**reply.to_dict(), "seconds": 0, "timings": sorted(reply.timings)}


def test_a_guest_gets_raw_replies_logprobs_and_schemas_as_the_host_does(gateway, remote):
    requests = [Request.of(prompt="The archive", model="code-7b", max_tokens=8, seed=2, logprobs=2, ignore_eos=True),
                Request.of("hello", model="chat-7b", max_tokens=8, seed=2, logprobs=1, logit_bias={5: -10}, ignore_eos=True),
                Request.of("hello", model="chat-7b", max_tokens=30, seed=2, temperature=0, json_schema={"type": "boolean"})]
    for request in requests:
        here, there, stream = gateway.complete(request), remote.complete(request), remote.stream(request)
        pieces = list(stream)
        assert _timeless(here) == _timeless(there) == _timeless(stream.reply) and "".join(pieces) == here.text
        assert [row for piece in pieces for row in piece.logprobs] == list(here.logprobs)


def test_a_guest_gets_tool_calls_as_the_host_does(remote_told):
    gateway, remote = remote_told
    here, there = gateway.chat("hello", model="chat-7b"), remote.chat("hello", model="chat-7b")
    stream = remote.chat("hello", model="chat-7b", stream=True)
    assert list(stream) == [Calls.TEXT] and _timeless(stream.reply) == _timeless(here) == _timeless(there) and here.tool_calls == Calls.CALLS


class Calls:
    """A model server that says something with a line separator in it, and calls a tool."""

    name = "calls"
    TEXT = "a\u2028b\u0085c"
    CALLS = ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},)

    def ready(self):
        return good(model="calls")

    def stream(self, request):
        return ReplyStream(iter([self.TEXT]), lambda: Reply(self.TEXT, 1, 1, 0.1, "calls", tool_calls=self.CALLS, finish="tool_calls"), lambda: None)

    def complete(self, request):
        return self.stream(request).read()


@pytest.fixture
def remote_told():
    """A gateway over Calls, and the guest's side of it."""
    made = Gateway({"chat-7b": [Calls()], "code-7b": [Calls()]})
    with _remote(made) as there:
        yield made, there


def test_every_answer_says_what_the_gateway_cost(client):
    body = {"model": "chat-7b", "messages": HELLO, "max_tokens": 200, "ignore_eos": True}
    whole = client.post("/v1/chat/completions", json=body)
    streamed = client.post("/v1/chat/completions", json={**body, "stream": True})
    refused = client.post("/v1/chat/completions", json={**body, "temperature": 9})
    listed = client.get("/v1/models")
    for response in (whole, streamed, refused, listed):
        assert float(response.headers["x-suite-overhead-ms"]) >= 0.0
    spent = whole.json()["suite"]["seconds"] * 1e3  # what the server took is not the gateway's
    assert float(whole.headers["x-suite-overhead-ms"]) < spent


def test_usage_is_charged_to_the_actor_that_the_header_names(servers):
    kept = []
    gateway = Gateway({"chat-7b": [servers[0]], "code-7b": [servers[1]]}, record=kept.append, who="admin_user")
    body = {"model": "chat-7b", "messages": HELLO, "max_tokens": 3, "ignore_eos": True}
    with TestClient(_app(gateway)) as client:
        client.post("/v1/chat/completions", json=body)
        client.post("/v1/chat/completions", json={**body, "stream": True}, headers={"X-Actor": "%EA%B9%80"})
        client.post("/v1/completions", json={"prompt": "x", "model": "code-7b", "max_tokens": 2, "ignore_eos": True, "n": 2}, headers={"X-Actor": "dev_user"})
    assert [(row.who, row.alias, row.tokens, row.outcome) for row in kept] == [
        ("admin_user", "chat-7b", 3, "ok"), ("김", "chat-7b", 3, "ok"), ("dev_user", "code-7b", 2, "ok"), ("dev_user", "code-7b", 2, "ok")]


def test_a_guest_gets_the_replies_that_the_host_gets(gateway, remote):
    options = {"model": "code-7b", "max_tokens": 20, "seed": 6, "temperature": 1.0, "stop": ("zzz",)}
    here, there = gateway.chat("안녕", **options), remote.chat("안녕", **options)
    assert isinstance(there, Reply)
    assert _timeless(here) == _timeless(there)
    stream = remote.chat("안녕", stream=True, **options)
    assert "".join(stream) == stream.reply.text == here.text
    assert _timeless(stream.reply) == _timeless(here)
    assert remote.chat("python?", max_tokens=1).why == gateway.chat("python?", max_tokens=1).why


def test_a_guest_gets_the_models_that_the_host_gets(gateway, remote, servers):
    assert remote.models() == gateway.models() and all(row["ready"] for row in remote.models())
    servers[0].unload()
    assert remote.models() == gateway.models() and not remote.models()[0]["ready"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("options", "kind"),
    [({"model": "gpt-4"}, NotFound), ({"temperature": float("nan")}, BadRequest), ({"colour": 1}, BadRequest), ({"stop": [""]}, BadRequest)],
)
def test_a_guest_gets_the_errors_that_the_host_gets(gateway, remote, stream, options, kind):
    with pytest.raises(kind) as here:
        gateway.chat("hello", stream=stream, **options)
    with pytest.raises(kind) as there:
        answer = remote.chat("hello", stream=stream, **options)
        list(answer)
    assert there.value.message == here.value.message


def test_a_guest_learns_that_no_server_is_ready(remote, servers):
    for server in servers:
        server.unload()
    for stream in (False, True):
        with pytest.raises(NotReady) as caught:
            list(remote.chat("hello", model="chat-7b", stream=stream))
        assert caught.value.facts["part"] == "inference-chat"


def test_a_guest_that_closes_a_stream_early_keeps_what_arrived(remote):
    stream = remote.chat("hello", stream=True, max_tokens=50, model="chat-7b")
    first = next(stream)
    stream.close()
    assert stream.reply.finish == "cancelled" and stream.reply.text.startswith(first)
    assert remote.chat("hello", max_tokens=1, model="chat-7b").tokens == 1


def _answering(body, headers=None):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers=headers))
    return RemoteGateway(httpx.Client(base_url="http://test", transport=transport))


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n', b"data: {broken\n\n", b"<html>"])
def test_a_stream_without_its_proper_end_is_an_error_for_the_guest(body):
    with pytest.raises(UpstreamError, match="broke off"):
        list(_answering(body).chat("hello", stream=True))


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"choices": []}'])
def test_a_body_of_another_program_is_an_error_for_the_guest(body):
    with pytest.raises(SuiteError, match="no reply of ours"):
        _answering(body).chat("hello")
