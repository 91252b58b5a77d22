"""The gateway's port: OpenAI's surface over all aliases (8000)."""

from __future__ import annotations

import time
from typing import Any, Protocol
from urllib.parse import unquote

from fastapi import FastAPI

from suite.gateway.call import CALL, Call
from suite.http.openai import add_openai
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

OVERHEAD = b"x-suite-overhead-ms"


class Answering(Protocol):
    """What this port needs of the gateway."""

    name: str

    def complete(self, request: Request) -> Reply: ...

    def whole(self, request: Request) -> ReplyStream: ...

    def stream(self, request: Request) -> ReplyStream: ...

    def models(self) -> list[dict[str, Any]]: ...


def app(gateway: Answering) -> FastAPI:
    """The routes of the gateway; `suite` in a reply says which alias answered and why.

    `X-Actor` (percent-encoded) may name who is to be charged with the usage. Every answer says in `x-suite-overhead-ms` how long it was in the
    gateway besides the time in the model server; a stream's, until its first piece.
    """
    api = FastAPI(title=gateway.name, docs_url=None, redoc_url=None, openapi_url=None)
    add_openai(api, gateway, whole=gateway.whole)
    api.add_middleware(Stopwatch)
    return api


class Stopwatch:
    """ASGI layer that measures each request, and hands down the Call in which the gateway notes the time that was not its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, call = time.monotonic(), Call(_actor(scope["headers"]))

        async def timed(message: Any) -> None:
            if message["type"] == "http.response.start":
                overhead = max(0.0, time.monotonic() - began - call.upstream_seconds)
                message = {**message, "headers": [*message.get("headers", ()), (OVERHEAD, f"{overhead * 1e3:.3f}".encode())]}
            await send(message)

        mark = CALL.set(call)
        try:
            await self.app(scope, receive, timed)
        finally:
            CALL.reset(mark)


def _actor(headers: Any) -> str:
    named = next((value for name, value in headers if name.lower() == b"x-actor"), b"")
    return " ".join(unquote(named.decode("latin-1")).split())[:80]
