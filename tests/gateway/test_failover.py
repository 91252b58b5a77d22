"""Who is asked when one server cannot: which failures make room for another, and which do not."""

from __future__ import annotations

import gc
import threading

import pytest
from raw_server import RawServer, answer, chunk, http, sse

from suite.errors import BadRequest, ContextOverflow, NotReady, UpstreamError
from suite.gateway.breaker import CLOSED, OPEN
from suite.gateway.gateway import Gateway
from suite.gateway.openai_upstream import OpenAIUpstream
from suite.monitoring.probe import good
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request


class Told:
    """A server that does what it is told: pieces of text, and an exception is raised where it stands; counts what it was asked."""

    def __init__(self, name, *acts, model="m"):
        self.name, self.acts, self.asked, self.closed = name, acts or (f"{name} ", "says"), [], 0
        self.model_said = model

    def ready(self):
        return good(model=self.model_said)

    def complete(self, request):
        return self.stream(request).read()

    def stream(self, request):
        self.asked.append(request)
        said = []

        def pieces():
            for act in self.acts:
                if isinstance(act, BaseException):
                    raise act
                said.append(act)
                yield act

        def stop():
            self.closed += 1

        return ReplyStream(pieces(), lambda: Reply("".join(said), len(said), 3, 0.5, self.model_said, timings={"cache_n": 1}), stop)


def gateway(chat, code, **options):
    kept = []
    made = Gateway({"chat-7b": chat, "code-7b": code}, record=kept.append, who="ann", **options)
    made.kept = kept
    return made


def ask(part, stream=False, **options):
    answered = part.chat("hello", model="chat-7b", stream=stream, **options)
    return answered.read() if stream else answered


SAFE = [NotReady("not now"), NotReady("dead", down=True), UpstreamError("lost before it answered")]
UNSAFE = [UpstreamError("late", timeout=True), UpstreamError("bad key", final=True), BadRequest("bad"), ContextOverflow("too long")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", SAFE, ids=str)
def test_a_server_that_gave_nothing_is_replaced_and_the_reply_says_by_whom_and_why(error, stream):
    code = Told("code")
    reply = ask(gateway([Told("chat", error)], [code]), stream)
    assert reply.fallback and reply.text == "code says" and len(code.asked) == 1
    assert reply.why == f"asked for by name; code stood in because chat could not answer ({error.message})"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", UNSAFE, ids=str)
def test_other_failures_are_the_callers_to_see(error, stream):
    code = Told("code")
    with pytest.raises(type(error), match=error.message):
        ask(gateway([Told("chat", error)], [code]), stream)
    assert code.asked == []


def test_after_the_first_piece_nobody_else_is_asked():
    code = Told("code")
    part = gateway([Told("chat", "one ", UpstreamError("broke off"))], [code])
    with pytest.raises(UpstreamError, match="broke off"):
        ask(part, True)
    assert code.asked == [] and [usage.outcome for usage in part.kept] == ["UpstreamError"]


def test_a_reply_that_is_wanted_whole_and_breaks_off_is_given_by_one_more_server_alone():
    broken, code = Told("chat", "one ", UpstreamError("broke off")), Told("code")
    part = gateway([broken], [code])
    reply = ask(part, False)
    assert reply.text == "code says" and reply.fallback and len(broken.asked) == len(code.asked) == 1
    assert [usage.outcome for usage in part.kept] == ["fallback"]
    lost = [Told(name, "one ", UpstreamError(f"{name} broke off")) for name in ("a", "b")]
    third = Told("c")
    with pytest.raises(UpstreamError, match="b broke off"):
        ask(gateway([*lost, third], [Told("d")]), False)
    assert third.asked == []


def test_the_order_is_the_aliases_own_and_then_the_others():
    down = [Told(name, NotReady(f"{name} is down")) for name in ("a", "b", "c")]
    last = Told("d")
    reply = ask(gateway(down[:2], [down[2], last]))
    assert reply.fallback and reply.text == "d says" and "d stood in because a could not answer (a is down)" in reply.why
    assert [len(each.asked) for each in down] == [1, 1, 1]


def test_a_request_that_was_lost_goes_to_one_more_server_and_no_further():
    lost = [Told(name, UpstreamError(f"{name} ended")) for name in ("a", "b")]
    third = Told("c")
    with pytest.raises(UpstreamError, match="b ended"):
        ask(gateway([lost[0], lost[1], third], [Told("d")]))
    assert third.asked == []
    assert ask(gateway([lost[0], Told("x", NotReady("no")), third], [Told("d")])).text == "c says"  # one that did nothing does not count


def test_the_first_reason_is_raised_when_nobody_can():
    with pytest.raises(NotReady, match="a is down") as caught:
        ask(gateway([Told("a", NotReady("a is down", part="a", retry_after=7))], [Told("b", NotReady("b is down"))]))
    assert caught.value.facts["retry_after"] == 7


def test_later_servers_get_the_time_that_is_left():
    code = Told("code")
    ask(gateway([Told("chat", NotReady("no"))], [code]), timeout=30)
    assert code.asked[0].timeout < 30
    chat = Told("chat")
    ask(gateway([chat], [code], timeout=20), timeout=30)
    assert chat.asked[0].timeout == 20


def test_a_failing_server_is_left_alone_seen_and_tried_again():
    chat, code = Told("chat", UpstreamError("boom")), Told("code")
    part = gateway([chat], [code], failures=2, seconds=3600)
    assert [row["breaker"] for row in part.models()] == [CLOSED, CLOSED]
    for _ in range(5):
        assert ask(part).text == "code says"
    assert len(chat.asked) == 2 and part.kept[-1].outcome == "fallback"
    row = part.models()[0]
    assert (row["breaker"], row["kind"], row["ready"], row["reasons"]) == (OPEN, "own", False, ["boom"])
    assert not part.ready().ok and "alias chat-7b: boom" in part.ready().reasons
    assert "chat failed again and again and is left alone for 3600 s: boom" in ask(part).why
    part.servers()[0].breaker._until = 0.0  # the time is over
    chat.acts = ("well ", "again")
    assert ask(part).text == "well again" and part.models()[0]["breaker"] == CLOSED


def test_with_all_of_them_left_alone_the_error_says_when_to_come_back():
    part = gateway([Told("chat", UpstreamError("boom"))], [Told("code", UpstreamError("bang"))], failures=1, seconds=50)
    with pytest.raises(UpstreamError):
        ask(part)
    with pytest.raises(NotReady, match="chat failed again and again and is left alone for 50 s: boom") as caught:
        ask(part)
    assert caught.value.facts["retry_after"] == 50


@pytest.mark.parametrize("error", [BadRequest("bad"), UpstreamError("late", timeout=True), NotReady("unloaded"), UpstreamError("bad key", final=True)], ids=str)
def test_what_is_not_the_servers_failure_does_not_count_against_it(error):
    chat = Told("chat", error)
    part = gateway([chat], [Told("code", NotReady("no"))], failures=1)
    for _ in range(3):
        with pytest.raises(type(error)):
            ask(part)
    assert len(chat.asked) == 3 and part.models()[0]["breaker"] == CLOSED


def test_a_server_that_hangs_counts_as_failed():
    chat = Told("chat", UpstreamError("nothing within 60 s", timeout=True, down=True))
    part = gateway([chat], [Told("code")], failures=1)
    with pytest.raises(UpstreamError, match="nothing within"):
        ask(part)
    assert part.models()[0]["breaker"] == OPEN and ask(part).fallback


def test_a_stream_that_always_breaks_opens_the_breaker_too():
    part = gateway([Told("chat", "one ", UpstreamError("broke off"))], [Told("code")], failures=2)
    for _ in range(2):
        with pytest.raises(UpstreamError):
            ask(part, stream=True)
    assert part.models()[0]["breaker"] == OPEN


def test_readiness_names_a_replica_that_is_out_and_stays_positive():
    out, there = Told("a", UpstreamError("boom")), Told("b")
    part = gateway([out, there], [Told("code")], failures=1)
    ask(part)
    state = part.ready()
    assert state.ok and state.reasons == ("alias chat-7b: boom",)
    assert [(server["name"], server["ready"]) for server in part.models()[0]["servers"]] == [("a", False), ("b", True), ("code", True)]


def test_usage_is_noted_once_per_request_however_it_ended():
    part = gateway([Told("chat")], [Told("code")])
    ask(part)
    ask(part, stream=True)
    stream = part.chat("hello", model="chat-7b", stream=True)
    next(stream)
    stream.close()
    dropped = part.chat("hello", model="chat-7b", stream=True)
    next(dropped)
    del dropped
    gc.collect()
    part.chat("hello", model="chat-7b", stream=True).close()
    assert [(row.outcome, row.tokens, row.server) for row in part.kept] == [
        ("ok", 2, "chat"), ("ok", 2, "chat"), ("cancelled", 1, "chat"), ("cancelled", 1, "chat"), ("cancelled", 0, "")]
    first = part.kept[0]
    assert (first.who, first.alias, first.model, first.prompt_tokens, first.cached) == ("ann", "chat-7b", "m", 3, 1)
    assert "hello" not in str([row.to_dict() for row in part.kept])


def test_accounts_that_fail_do_not_break_replies():
    def full(usage):
        raise OSError("disk full")

    part = Gateway({"chat-7b": [Told("chat")], "code-7b": [Told("code")]}, record=full)
    assert part.chat("hello", model="chat-7b").text == "chat says"


@pytest.mark.parametrize("before", [[], ["one "]], ids=["before the first piece", "after it"])
def test_an_interrupt_closes_the_server_and_is_no_failure_of_it(before):
    chat = Told("chat", *before, KeyboardInterrupt())
    part = gateway([chat], [Told("code")], failures=1)
    with pytest.raises(KeyboardInterrupt):
        ask(part)
    assert chat.closed and part.kept[0].outcome == "cancelled" and part.models()[0]["breaker"] == CLOSED


def test_one_server_under_two_aliases_has_one_breaker():
    both = Told("both", UpstreamError("boom"))
    part = gateway([both], [both], failures=1)
    with pytest.raises(UpstreamError):
        ask(part)
    assert [row["breaker"] for row in part.models()] == [OPEN, OPEN] and len(part.servers()) == 1


def test_raw_prompts_and_auto_go_the_same_way():
    part = gateway([Told("chat")], [Told("code")])
    assert part.complete(Request.of(prompt="def f(x):", suffix="return y")).alias == "code-7b"
    assert part.complete(Request.of(prompt="Once upon a time", model="auto")).alias == "chat-7b"
    stream = part.stream(Request.of(prompt="x", model="code-7b"))
    assert list(stream) == ["code ", "says"] and stream.reply.alias == "code-7b"


@pytest.fixture
def url():
    """Makes gateways over raw servers: the chat alias' one or more, then the code alias' one."""
    servers = []

    def make(chat, code, **options):
        servers.extend(RawServer(*scripts) for scripts in (chat, code))
        made = [OpenAIUpstream(name, server.url, "there") for name, server in zip(("chat-box", "code-box"), servers, strict=True)]
        part = gateway([made[0]], [made[1]], **options)
        closers.append(part.close)
        return part, servers

    closers = []
    yield make
    for close in (*closers, *(server.close for server in servers)):
        close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [b"", b"no http", http({}, "503 No"), http({}, "429 No"), http({}, "500 Oh"), http(b"<html>", kind="text/html"), sse({"error": "full"})])
def test_over_http_another_server_takes_over_before_the_first_piece(url, first, stream):
    second = sse(chunk("fine", "stop")) if stream else http(answer("fine"))
    part, _ = url([first], [second])
    reply = ask(part, stream)
    assert reply.text == "fine" and reply.fallback and "code-box stood in because chat-box could not answer" in reply.why


@pytest.mark.parametrize("first", [sse(chunk("one"), end=False), sse(chunk("one"), {"error": "full"}), sse(chunk("one"), b"data: {x\n\n")])
def test_over_http_a_stream_that_breaks_is_reported(url, first):
    part, servers = url([first], [sse(chunk("fine", "stop"))])
    stream, seen = part.chat("hello", model="chat-7b", stream=True), []
    with pytest.raises(UpstreamError, match="chat-box"):
        for piece in stream:
            seen.append(piece)
    assert seen == ["one"] and servers[1].requests == []


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "404 No", "422 No"])
def test_over_http_what_a_server_refuses_is_not_asked_elsewhere(url, status):
    part, servers = url([http({"error": {"message": "no"}}, status)], [http(answer("fine"))])
    with pytest.raises((BadRequest, UpstreamError)):
        ask(part)
    assert servers[1].requests == []


def test_a_busy_server_is_waited_for_only_when_nobody_else_can_and_only_within_the_time(url):
    busy = http({}, "429 Busy", Retry_After="0.05")
    part, servers = url([busy, http(answer("at last"))], [http({}, "503 No")])
    reply = ask(part)
    assert reply.text == "at last" and not reply.fallback and len(servers[0].requests) == 2 and len(servers[1].requests) == 1


def test_a_wait_longer_than_the_time_left_is_not_begun(url):
    part, servers = url([http({}, "429 Busy", Retry_After="30")], [http({}, "503 No")])
    with pytest.raises(NotReady, match="too much to do"):
        ask(part, timeout=2)
    assert len(servers[0].requests) == 1


def test_closing_a_stream_ends_a_wait(url):
    part, servers = url([http({}, "429 Busy", Retry_After="50")], [http({}, "503 No")])
    assert closed_meanwhile(part.chat("hello", model="chat-7b", stream=True), lambda: servers[1].requests) == []
    assert [usage.outcome for usage in part.kept] == ["cancelled"]


def closed_meanwhile(stream, condition):
    """What a reader in another thread gets of a stream that is closed as soon as the condition holds."""
    got = []
    reader = threading.Thread(target=lambda: got.extend(stream))
    reader.start()
    while not condition():
        reader.join(0.01)
    stream.close()
    reader.join(20)
    assert not reader.is_alive()
    return got


def test_a_server_that_fails_because_it_was_closed_is_not_at_fault():
    class Startled(Told):
        def stream(self, request):
            closing = threading.Event()
            self.asked.append(request)

            def pieces():
                closing.wait(20)
                raise UpstreamError("closed under me")
                yield

            return ReplyStream(pieces(), lambda: None, closing.set)

    chat, code = Startled("chat"), Told("code")
    part = gateway([chat], [code], failures=1)
    assert closed_meanwhile(part.chat("hello", model="chat-7b", stream=True), lambda: chat.asked) == []
    assert code.asked == [] and part.models()[0]["breaker"] == CLOSED and [usage.outcome for usage in part.kept] == ["cancelled"]


@pytest.mark.parametrize("whole", [False, True])
def test_closing_before_the_first_piece_ends_the_work_at_the_server_and_asks_nobody_else(url, whole):
    ended = threading.Event()

    def silent(connection):
        connection.recv(1)
        ended.set()

    part, servers = url([silent], [http(answer("fine"))], failures=1)
    request = Request.of("hello", model="chat-7b")
    assert closed_meanwhile(part.whole(request) if whole else part.stream(request), lambda: servers[0].requests) == []
    assert ended.wait(20) and servers[1].requests == [] and len(servers[0].requests) == 1
    assert [usage.outcome for usage in part.kept] == ["cancelled"] and part.servers()[0].breaker.state == CLOSED


def test_another_model_than_the_configured_one_is_told(url):
    part, _ = url([http(answer("x", model="small-3b"))], [http(answer("y"))])
    assert ask(part).why.endswith("chat-box was asked for the model there and says that small-3b answered")


def test_a_stand_in_of_another_suite_stays_flagged(url):
    part, _ = url([http(answer("x", suite={"fallback": True, "smoke": True, "why": "its own"}))], [http(answer("y"))])
    reply = ask(part)
    assert reply.fallback and reply.smoke
