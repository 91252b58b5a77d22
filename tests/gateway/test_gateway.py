from __future__ import annotations

import pytest

from suite.errors import BadRequest, ContextOverflow, NotFound, NotReady, UpstreamError
from suite.gateway.gateway import Gateway
from suite.monitoring.probe import good
from suite.serving.reply import Reply, ReplyStream

ALIASES = ("chat-7b", "code-7b")


class Failing:
    """A server that says it is ready and fails after `pieces` pieces."""

    name = "failing"

    def __init__(self, pieces=0, error=None):
        self.left, self.error = pieces, error or UpstreamError("the connection was reset")

    def ready(self):
        return good(model="failing")

    def stream(self, request):
        def pieces():
            for _ in range(self.left):
                yield "word "
            raise self.error

        return ReplyStream(pieces(), lambda: None, lambda: None)

    def complete(self, request):
        return self.stream(request).read()


def test_an_alias_is_answered_by_its_own_server(gateway, servers):
    before = servers[1].info()["requests"]
    reply = gateway.chat("안녕하세요", model="code-7b", max_tokens=4)
    assert isinstance(reply, Reply)
    assert (reply.alias, reply.why, reply.fallback, reply.smoke, reply.tokens) == ("code-7b", "asked for by name", False, True, 4)
    assert servers[1].info()["requests"] == before + 1 and servers[0].info()["requests"] == 0


def test_auto_decides_by_the_words_and_says_which(gateway):
    assert gateway.chat("점심 메뉴는?", max_tokens=1).alias == "chat-7b"
    reply = gateway.chat([{"role": "user", "content": "파이썬 함수를 써 줘"}], max_tokens=1)
    assert reply.alias == "code-7b" and "파이썬" in reply.why


def test_a_stream_carries_the_same_facts_at_its_end(gateway):
    stream = gateway.chat("안녕", model="chat-7b", stream=True, max_tokens=12, seed=4)
    assert "".join(stream) == stream.reply.text == gateway.chat("안녕", model="chat-7b", max_tokens=12, seed=4).text
    assert stream.reply.alias == "chat-7b" and not stream.reply.fallback


@pytest.mark.parametrize("stream", [False, True])
def test_the_other_server_stands_in_for_one_that_is_down_and_the_reply_says_so(gateway, servers, stream):
    servers[0].unload()
    answer = gateway.chat("hello", model="chat-7b", stream=stream, max_tokens=3)
    reply = answer.read() if stream else answer
    assert reply.fallback and reply.alias == "chat-7b" and reply.tokens == 3
    assert "inference-code stood in because inference-chat could not answer" in reply.why
    servers[0].load()
    assert not gateway.chat("hello", model="chat-7b", max_tokens=3).fallback


def test_a_server_that_fails_before_its_first_piece_is_replaced(servers):
    gateway = Gateway({"chat-7b": [Failing()], "code-7b": [servers[1]]})
    assert gateway.chat("hello", model="chat-7b", max_tokens=3).fallback


def test_a_server_that_fails_in_the_middle_is_not_replaced(servers):
    gateway = Gateway({"chat-7b": [Failing(pieces=2)], "code-7b": [servers[1]]})
    stream, seen = gateway.chat("hello", model="chat-7b", stream=True), []
    with pytest.raises(UpstreamError, match="reset"):
        for piece in stream:
            seen.append(piece)
    assert seen == ["word ", "word "] and servers[1].info()["requests"] == 0


def test_a_time_out_is_not_tried_again(servers):
    late = UpstreamError("gave no reply in time", timeout=True)
    gateway = Gateway({"chat-7b": [Failing(error=late)], "code-7b": [servers[1]]})
    with pytest.raises(UpstreamError, match="in time"):
        gateway.chat("hello", model="chat-7b")
    assert servers[1].info()["requests"] == 0


def test_with_every_server_down_the_first_reason_is_raised(gateway, servers):
    for server in servers:
        server.unload()
    with pytest.raises(NotReady, match="inference-chat"):
        gateway.chat("hello", model="chat-7b")


def test_what_the_caller_does_wrong_is_not_tried_elsewhere(gateway, servers):
    with pytest.raises(ContextOverflow):
        gateway.chat("단어 " * 5000, model="chat-7b")
    assert servers[1].info()["requests"] == 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [({"model": "gpt-4"}, NotFound, "chat-7b, code-7b, auto"), ({"temperature": float("nan")}, BadRequest, "temperature"),
     ({"colour": "red"}, BadRequest, "colour"), ({"max_tokens": 0}, BadRequest, "max_tokens")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_are_refused_at_once_streaming_or_not(gateway, options, error, said, stream):
    with pytest.raises(error, match=said):
        gateway.chat("hello", stream=stream, **options)


def test_ready_names_the_aliases_that_would_not_be_answered_by_their_own_server(gateway, servers):
    assert gateway.ready().ok and gateway.deep().ok
    assert set(gateway.deep().facts["aliases"]) == set(ALIASES)
    servers[1].unload()
    for state in (gateway.ready(), gateway.deep()):
        assert not state.ok and len(state.reasons) == 1 and "code-7b" in state.reasons[0]
    assert [(row["id"], row["ready"], row["smoke"]) for row in gateway.models()] == [("chat-7b", True, True), ("code-7b", False, False)]


def test_aliases_have_the_names_that_the_settings_give_them(servers):
    gateway = Gateway({"talk": [servers[0]], "build": [servers[1]]}, chat="talk", code="build")
    assert gateway.chat("점심은?", max_tokens=1).alias == "talk"
    assert gateway.chat("python?", max_tokens=1).alias == "build"
    with pytest.raises(BadRequest, match="no server"):
        Gateway({"talk": [servers[0]]}, chat="talk", code="build")


def test_closing_a_stream_early_stops_its_server(gateway, servers):
    with gateway.chat("hello", model="chat-7b", stream=True, max_tokens=3000) as stream:
        next(stream)
    assert stream.reply.finish == "cancelled" and stream.reply.tokens < 3000


def test_the_time_limit_of_the_gateway_reaches_the_server(servers):
    gateway = Gateway({"chat-7b": [servers[0]], "code-7b": [servers[1]]}, timeout=0.001)
    for asked in ({}, {"timeout": 30}):
        with pytest.raises(UpstreamError, match=r"within 0\.001 s"):
            gateway.chat("word " * 1500, model="chat-7b", max_tokens=2000, **asked)
