"""The routes of OpenAI's surface, and llama-server's beside them, over whatever can complete and stream a Request."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Asked
from starlette.routing import Match, Route
from starlette.types import Receive, Scope

from suite.errors import BadRequest
from suite.http import body as bodies
from suite.http.body import Body
from suite.http.completion import (
    Chunks,
    InfillChunks,
    completion,
    dumped,
    infill_completion,
    listed,
    listing,
    text_completion,
)
from suite.http.sse import Events, Writer, close_aside
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

CLIENT_GONE = 499  # nobody reads it; the counts of requests show it
MOST_CHARACTERS = 1_000_000  # of a text to tokenize, which takes about a second
MOST_TOKENS = 1_000_000
T, R = TypeVar("T"), TypeVar("R")


class Completing(Protocol):
    """What the routes are over; `request.model` is the name that the client asked for."""

    def complete(self, request: Request) -> Reply: ...

    def stream(self, request: Request) -> ReplyStream: ...

    def models(self) -> list[dict[str, Any]]: ...


class Tokenizing(Protocol):
    """What /tokenize and /detokenize are over."""

    def tokenize(self, text: str, special: bool = False) -> list[int]: ...

    def detokenize(self, tokens: list[int]) -> str: ...


@dataclass(frozen=True)
class Kind:
    """One way to be asked and to answer: how its body is read, its JSON, and the events of its streams."""

    read: Callable[[dict[str, Any]], Body]
    whole: Callable[[Sequence[Reply], int], dict[str, Any]]
    events: Callable[[str, Body], Writer]


CHAT = Kind(bodies.chat, completion, lambda model, body: Chunks("chat.completion.chunk", model, body.usage, body.prompts))
TEXT = Kind(bodies.completions, text_completion, lambda model, body: Chunks("text_completion", model, body.usage, body.prompts))
INFILL = Kind(bodies.infill, infill_completion, lambda model, body: InfillChunks(model))


@dataclass
class Opened:
    """The streams that one call has opened; closed from another thread, it also closes those that are opened later."""

    streams: list[ReplyStream] = field(default_factory=list)
    closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stream: ReplyStream) -> ReplyStream:
        """Keep it in mind."""
        with self._lock:
            self.streams.append(stream)
            closed = self.closed
        if closed:
            stream.close()
        return stream

    def close(self) -> None:
        """End them all, without waiting for it."""
        with self._lock:
            self.closed, streams = True, list(self.streams)
        if streams:
            close_aside(streams)


Answer = Callable[[dict[str, Any], Opened], Response]


def add_openai(api: FastAPI, part: Completing, *, only: Callable[[], str] | None = None,
               whole: Callable[[Request], ReplyStream] | None = None) -> None:
    """Add /v1/models, /v1/chat/completions, /v1/completions and /infill.

    `only` names the one model that answers whatever name is asked for, as in llama.cpp's own server. `whole` begins a reply that is
    wanted in one piece, so that it can be ended when its client goes away; without it `part.complete` is called.
    """

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        return listing(part.models())

    @api.get("/v1/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        return listed(part.models(), name)

    def answering(kind: Kind) -> Answer:
        def answer(raw: dict[str, Any], opened: Opened) -> Response:
            body = kind.read(raw)
            if body.stream:
                # all of them are asked for before the first is waited for, and that is waited for so that a refusal has its own status
                streams = [opened.add(part.stream(request)) for request in body.requests]
                _side_by_side(ReplyStream.begin, streams, opened)
                return Events(streams, kind.events(only() if only else body.model or "auto", body))
            if whole is None:
                replies = _side_by_side(part.complete, body.requests, opened)
            else:
                replies = _side_by_side(ReplyStream.read, [opened.add(whole(request)) for request in body.requests], opened)
            return json_response(kind.whole(replies, body.prompts))

        return answer

    add_post(api, "/v1/chat/completions", answering(CHAT))
    add_post(api, "/v1/completions", answering(TEXT))
    add_post(api, "/infill", answering(INFILL))


def add_tokens(api: FastAPI, part: Tokenizing) -> None:
    """Add llama-server's /tokenize and /detokenize."""

    def tokenize(raw: dict[str, Any], _opened: Opened) -> Response:
        text = raw.get("content")
        if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            raise BadRequest(f"content is {text!r:.80} but must be a text of at most {MOST_CHARACTERS:,} characters.", param="content")
        if bodies.flag(raw, "add_special"):
            raise BadRequest("add_special is true, which this server does not support; the tokens are those of the text alone.", param="add_special")
        tokens: list[Any] = part.tokenize(text, bodies.flag(raw, "parse_special", True))
        if bodies.flag(raw, "with_pieces"):
            tokens = [{"id": token, "piece": part.detokenize([token])} for token in tokens]
        return json_response({"tokens": tokens})

    def detokenize(raw: dict[str, Any], _opened: Opened) -> Response:
        tokens = raw.get("tokens")
        if not isinstance(tokens, list) or len(tokens) > MOST_TOKENS or any(isinstance(t, bool) or not isinstance(t, int) for t in tokens):
            raise BadRequest(f"tokens is {tokens!r:.80} but must be a list of at most {MOST_TOKENS:,} whole numbers.", param="tokens")
        return json_response({"content": part.detokenize(tokens)})

    add_post(api, "/tokenize", tokenize)
    add_post(api, "/detokenize", detokenize)


def add_post(api: FastAPI, path: str, answer: Answer) -> None:
    """Add a route that reads a JSON object and answers in a thread; what it has opened is closed when the client goes away before the answer."""

    async def endpoint(asked: Asked) -> Response:
        opened = Opened()
        try:
            content = await bodies.read(asked.receive)
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        work = asyncio.ensure_future(run_in_threadpool(_answered, answer, content, opened))
        watch = asyncio.ensure_future(_gone(asked.receive))
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            opened.close()
            with contextlib.suppress(Exception):
                await work
            return Response(status_code=CLIENT_GONE)
        except BaseException:
            opened.close()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        finally:
            watch.cancel()

    api.router.routes.append(Plain(path, endpoint, methods=["POST"]))


class Plain(Route):
    """A route whose function gets the request as it came, known to the door by its template like FastAPI's own."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is asked for."""
        match, child = super().matches(scope)
        if match != Match.NONE:
            child["route"] = self
        return match, child


def json_response(content: dict[str, Any]) -> Response:
    """JSON in UTF-8."""
    return Response(dumped(content).encode("utf-8", "replace"), media_type="application/json")


def _answered(answer: Answer, content: bytes, opened: Opened) -> Response:
    try:
        return answer(bodies.parsed(content), opened)
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply to be read; send a flatter one.") from error


async def _gone(receive: Callable[[], Awaitable[Any]] | Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _side_by_side(ask: Callable[[T], R], items: Sequence[T], opened: Opened) -> list[R]:
    """The answers in the order of the items, each asked in a thread of its own when there are several; the first error ends them all."""
    if len(items) == 1:
        return [ask(items[0])]
    with ThreadPoolExecutor(len(items), "suite-choices") as threads:
        asked = [threads.submit(contextvars.copy_context().run, ask, item) for item in items]
        failed = next((each for each in wait(asked, return_when=FIRST_EXCEPTION).done if each.exception()), None)
        if failed is not None:
            opened.close()
            failed.result()
        return [each.result() for each in asked]
