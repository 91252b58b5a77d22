"""One request on its way: the servers are asked in order until one begins to answer.

A server that did nothing with the request (no connection, 429, 502, 503, not ready) makes room for the next one. One that had it, and failed
before its first piece, makes room once: a request that brings servers down must not go round all of them. After the first piece, for what the
caller did wrong, and when the time is over, nobody else is asked. A reply that is wanted whole has one piece: its last word is its first.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from suite.errors import NotReady, SuiteError, UpstreamError
from suite.gateway.breaker import Breaker, Permit
from suite.gateway.call import Call
from suite.gateway.upstream import URL, Upstream, kind_of
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request
from suite.usage.record import CANCELLED, FALLBACK, OK, Usage

LONGEST_REASON = 160


@dataclass(frozen=True, eq=False)
class Server:
    """A model server and its breaker."""

    upstream: Upstream
    breaker: Breaker

    @property
    def name(self) -> str:
        """The server's name."""
        return self.upstream.name


@dataclass(frozen=True)
class Choice:
    """What was decided for one request: the alias, why, and the servers to ask in this order (all but the first only if those before cannot)."""

    alias: str
    why: str
    servers: tuple[Server, ...]


class Attempt:
    """One request. Use `stream`, once; `record` gets its usage when it has ended, however it ended."""

    def __init__(self, request: Request, choice: Choice, call: Call, record: Callable[[Usage], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.request, self.choice, self.call = request, choice, call
        self._record, self._clock = record, clock
        self._at, self._began = time.time(), clock()
        self._deadline = self._began + (request.timeout or math.inf)
        self._failures: list[tuple[Server, SuiteError]] = []
        self._answering: tuple[Server, Permit] | None = None
        self._stream: ReplyStream | None = None  # the one that is being asked, then the one that answers
        self._stopped, self._settled = threading.Event(), threading.Lock()
        self._recorded, self._first_piece, self._in_one = False, None, True
        self._reply: Reply | None = None
        self._error: SuiteError | None = None

    def stream(self, whole: bool = False) -> ReplyStream:
        """The reply piece by piece; nobody is asked before the first piece is, so that another server can take over until somebody has seen one.

        With `whole` its pieces are of no interest: a server that can gives it in one.
        """
        return ReplyStream(self._pieces(_whole if whole else _streamed), self._finished, self._stop)

    def _pieces(self, ask: Callable[[Upstream, Request], ReplyStream]) -> Iterator[str]:
        try:
            stream = self._first(ask)
            if stream is None or self._stopped.is_set():  # closed by another thread meanwhile
                return
            while (piece := self._next(stream)) is not None:
                self._first_piece, self._in_one = (self._clock() - self._began, True) if self._first_piece is None else (self._first_piece, False)
                yield piece
            if not self._stopped.is_set():
                self._reply = self._ended(stream.reply)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failed(error)
            raise

    def _next(self, stream: ReplyStream) -> str | None:
        began = self._clock()
        try:
            return next(stream, None)
        finally:
            self.call.upstream_seconds += self._clock() - began

    def _finished(self) -> Reply:
        if self._error is not None:
            raise self._error
        if self._reply is not None:
            return self._reply
        if self._stream is None or self._answering is None:
            raise NotReady("This reply was closed before it began; ask again.", retry_after=1)
        return self._marked(self._stream.reply)

    def _stop(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.close()
        self._cancelled()

    def _first(self, ask: Callable[[Upstream, Request], ReplyStream]) -> ReplyStream | None:
        """The stream of the first server that begins to answer; None when this request was closed. Raises the first failure when none does."""
        patience: list[tuple[float, Server]] = []
        for server in self.choice.servers:
            answer = self._try(server, ask, patience)
            if answer is not None or self._stopped.is_set():
                return answer
        if patience:
            wait, server = min(patience, key=lambda pair: pair[0])
            if self._clock() + wait < self._deadline:
                answer = None if self._stopped.wait(wait) else self._try(server, ask, [])
                if answer is not None or self._stopped.is_set():
                    return answer
        raise self._failures[0][1]

    def _try(self, server: Server, ask: Callable[[Upstream, Request], ReplyStream], patience: list[tuple[float, Server]]) -> ReplyStream | None:
        """Ask one server; None means that another may be asked."""
        permit = server.breaker.enter()
        if permit is None:
            rest = max(1, math.ceil(server.breaker.rests()))
            why = f": {server.breaker.why.rstrip('.')}" if server.breaker.why else ""
            self._failures.append((server, NotReady(f"{server.name} failed again and again and is left alone for {rest} s{why}.", part=server.name,
                                                    retry_after=rest)))
            return None
        began = self._clock()
        try:
            answer = self._stream = ask(server.upstream, self._request(began))
            if self._stopped.is_set():
                answer.close()  # closed before this one was known
            answer.begin()
            if ask is _whole:  # nobody has seen a piece of it before all are there, so another server can take over until then
                answer = self._stream = _in_one(answer)
        except (NotReady, UpstreamError) as error:
            if self._stopped.is_set():
                permit.void()
                return None
            _settle(permit, error)
            had_it = any(isinstance(earlier, UpstreamError) for _, earlier in self._failures)
            self._failures.append((server, error))
            if isinstance(error, UpstreamError) and (had_it or error.facts.get("timeout") or error.facts.get("final")):
                raise
            if error.facts.get("asked_to_wait") is not None:
                patience.append((error.facts["asked_to_wait"], server))
            return None
        except SuiteError:  # the request is at fault: the server did its work
            permit.good()
            raise
        except BaseException:
            permit.void()
            raise
        finally:
            self.call.upstream_seconds += self._clock() - began
        if self._stopped.is_set():
            permit.void()
            return None
        permit.begun()
        self._answering = (server, permit)
        return answer

    def _request(self, now: float) -> Request:
        if not self._failures or self._deadline == math.inf:
            return self.request
        if now >= self._deadline:
            raise UpstreamError(f"No server began to answer within {self.request.timeout:g} s; the first of them: {self._failures[0][1].message}",
                                timeout=True)
        return replace(self.request, timeout=self._deadline - now)

    def _marked(self, reply: Reply) -> Reply:
        """The reply with who answered and why."""
        assert self._answering is not None
        server, why = self._answering[0], self.choice.why
        first = self.choice.servers[0]
        if server is not first:
            why = f"{why}; {server.name} stood in because {first.name} could not answer ({_short(self._failures[0][1])})"
        asked = getattr(server.upstream, "model", "") if kind_of(server.upstream) == URL else ""
        if asked and reply.model != asked:
            why = f"{why}; {server.name} was asked for the model {asked} and says that {reply.model} answered"
        return replace(reply, alias=self.choice.alias, fallback=reply.fallback or server is not first, why=why)

    def _ended(self, reply: Reply) -> Reply:
        reply = self._marked(reply)
        if self._once():
            assert self._answering is not None
            self._answering[1].good()
            self._note(reply, FALLBACK if reply.fallback else OK)
        return reply

    def _failed(self, error: BaseException) -> None:
        # a copy: the error itself holds the frames of whoever it passes through
        self._error = type(error)(error.message, **error.facts) if isinstance(error, SuiteError) else \
            UpstreamError(f"This reply did not come to its end ({type(error).__name__}); ask again.")
        if self._once():
            if self._answering is not None:
                _settle(self._answering[1], error)
            cancelled = not isinstance(error, Exception)
            self._note(None, CANCELLED if cancelled else "timeout" if getattr(error, "facts", {}).get("timeout") else type(error).__name__)

    def _cancelled(self) -> None:
        if self._once():
            reply = None
            if self._answering is not None:
                self._answering[1].void()
                try:
                    reply = self._stream.reply if self._stream is not None else None
                except SuiteError:
                    reply = None  # closed between two pieces of a server that cannot say how far it was
            self._note(reply, CANCELLED)

    def _once(self) -> bool:
        """Whether this is the first end of this request; a stream that was read to its end is closed too."""
        with self._settled:
            first, self._recorded = not self._recorded, True
        return first

    def _note(self, reply: Reply | None, outcome: str) -> None:
        server = self._answering[0] if self._answering is not None else None
        timings, seconds = reply.timings if reply else {}, self._clock() - self._began
        first = self._first_piece
        if reply and reply.tokens > 1 and self._in_one:  # not its first token, unless the server says when that was
            first = _stage(timings, "first_token_ms", seconds)
        self._record(Usage(
            at=self._at, who=self.call.who, alias=self.choice.alias, model=reply.model if reply else "", server=server.name if server else "",
            prompt_tokens=reply.prompt_tokens if reply else 0, tokens=reply.tokens if reply else 0,
            cached=int(timings.get("cache_n", 0)), seconds=seconds, outcome=outcome,
            queue_seconds=_stage(timings, "queue_ms", seconds), first_seconds=first))


def _streamed(upstream: Upstream, request: Request) -> ReplyStream:
    return upstream.stream(request)


def _whole(upstream: Upstream, request: Request) -> ReplyStream:
    return getattr(upstream, "whole", upstream.stream)(request)


def _in_one(stream: ReplyStream) -> ReplyStream:
    """A stream that was read to its end, as one piece; raises what it raises on its way."""
    text = "".join(stream)
    return ReplyStream(iter([text] if text else []), lambda: stream.reply, stream.close)


def _settle(permit: Permit, error: BaseException) -> None:
    """What a failure says about the server: its own fault, or nothing (it is busy, unloaded, or the request's time was over)."""
    facts = error.facts if isinstance(error, SuiteError) else {}
    if isinstance(error, UpstreamError) and facts.get("final"):
        permit.good()
    elif facts.get("down") or (isinstance(error, UpstreamError) and not facts.get("timeout")):
        permit.bad(str(error))
    else:
        permit.void()


def _stage(timings: dict[str, float], name: str, most: float) -> float | None:
    """Seconds of one stage as the server says; None where it does not, or says what cannot be."""
    said = timings.get(name, -1.0) / 1000
    return said if 0 <= said <= most else None


def _short(error: SuiteError) -> str:
    text = " ".join(error.message.split())
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON - 1] + "…"
