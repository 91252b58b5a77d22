"""When a reply began and how long it waited, as the gateway notes them and as its series show them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from suite.errors import NotReady, UpstreamError
from suite.gateway.attempt import Attempt, Choice, Server
from suite.gateway.breaker import Breaker
from suite.gateway.call import Call
from suite.gateway.series import ReplySeries
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request
from suite.usage.record import Usage


class Slow:
    """A server on a clock of its own: a number is seconds that pass, a text a piece, an exception is raised."""

    def __init__(self, name: str, clock: SimpleNamespace, *acts: Any, tokens: int = 0, **timings: float) -> None:
        self.name, self._clock, self._acts, self._tokens, self._timings = name, clock, acts, tokens, timings

    def stream(self, request: Request) -> ReplyStream:
        said: list[str] = []

        def pieces() -> Any:
            for act in self._acts:
                if isinstance(act, BaseException):
                    raise act
                if isinstance(act, str):
                    said.append(act)
                    yield act
                else:
                    self._clock.now += act

        return ReplyStream(pieces(), lambda: Reply("".join(said), self._tokens or len(said), 3, 0.5, "m", timings=self._timings), lambda: None)


def noted(*acts: Any, read: Callable[[ReplyStream], Any] = ReplyStream.read, before: tuple[Any, ...] = (), whole: bool = False, **more: Any) -> Usage:
    clock, kept = SimpleNamespace(now=100.0), []
    servers = [Slow("first", clock, *before)] if before else []
    asked = tuple(Server(server, Breaker(3, 10.0)) for server in [*servers, Slow("chat", clock, *acts, **more)])
    attempt = Attempt(Request.of("hello", max_tokens=9), Choice("chat-7b", "", asked), Call(), kept.append, clock=lambda: clock.now)
    with contextlib.suppress(UpstreamError):
        read(attempt.stream(whole))
    (usage,) = kept
    return usage


def test_the_first_piece_is_when_a_reply_has_begun() -> None:
    usage = noted(2.0, "a", 3.0, "b", "c", queue_ms=1500.0)
    assert (usage.first_seconds, usage.queue_seconds, usage.seconds, usage.tokens) == (2.0, 1.5, 5.0, 3)
    assert usage.tokens_per_second == pytest.approx(2 / 3)


def test_the_time_of_a_server_that_could_not_belongs_to_it() -> None:
    usage = noted(2.0, "a", "b", before=(4.0, NotReady("busy")))
    assert (usage.outcome, usage.server, usage.first_seconds) == ("fallback", "chat", 6.0)


@pytest.mark.parametrize("said", [{}, {"queue_ms": -1.0}, {"queue_ms": 2001.0}, {"queue_ms": float("nan")}], ids=str)
def test_a_queue_that_is_not_told_or_cannot_be_is_none(said: dict[str, float]) -> None:
    assert noted(2.0, "a", **said).queue_seconds is None


def test_a_reply_in_one_piece_has_begun_when_its_server_says() -> None:
    assert noted(5.0, "a whole reply", tokens=3, whole=True).first_seconds is None
    usage = noted(5.0, "a whole reply", tokens=3, first_token_ms=700.0)
    assert usage.first_seconds == 0.7 and usage.tokens_per_second == pytest.approx(2 / 4.3)
    assert noted(5.0, "a", tokens=1).first_seconds == 5.0  # of one token there are no two pieces


def test_a_reply_that_broke_off_or_was_ended_has_begun_all_the_same_and_one_that_gave_nothing_has_not() -> None:
    broken = noted(2.0, "a", 1.0, UpstreamError("lost"))
    assert (broken.outcome, broken.first_seconds, broken.tokens_per_second) == ("UpstreamError", 2.0, None)
    ended = noted(2.0, "a", 1.0, "b", "c", read=lambda stream: (next(stream), next(stream), stream.close()))
    assert (ended.outcome, ended.first_seconds) == ("cancelled", 2.0)
    assert noted(2.0, UpstreamError("lost")).first_seconds is None and noted(2.0).first_seconds is None


def series(*rows: Usage) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    made = ReplySeries(registry)
    for row in rows:
        made.observe(row)
    return {(sample.name, *sample.labels.values()): sample.value for family in registry.collect() for sample in family.samples}


def test_what_is_not_known_is_not_counted_as_nothing() -> None:
    usage = Usage(0.0, "ann", "chat-7b", "m", "s", 3, 11, 0, 4.0, "ok", None, 2.0)
    found = series(usage, Usage(0.0, "ann", "chat-7b", "m", "s", 3, 11, 0, 4.0, "ok"))
    assert found["suite_llm_first_token_seconds_count", "chat-7b"] == 1 and found["suite_llm_first_token_seconds_sum", "chat-7b"] == 2.0
    assert found["suite_llm_request_seconds_count", "chat-7b"] == 2 and found["suite_llm_tokens_per_second", "chat-7b"] == 5.0
    assert Usage(0.0, "", "", "", "", 3, 1, 0, 9.0, "ok", None, 4.0).tokens_per_second is None  # of one token there is no speed
    assert ("suite_llm_tokens_per_second", "code-7b") not in series(Usage(0.0, "ann", "code-7b", "m", "s", 3, 1, 0, 4.0, "ok", None, 4.0))
