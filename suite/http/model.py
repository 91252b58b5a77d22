"""A model server's port: OpenAI's chat completions (8001 chat, 8004 code)."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from suite.http.completion import Body, completion, events, listed, listing
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request


class Serving(Protocol):
    """What this port needs of a model server."""

    name: str

    def complete(self, request: Request) -> Reply: ...

    def stream(self, request: Request) -> ReplyStream: ...

    def info(self) -> dict[str, Any]: ...


def app(server: Serving) -> FastAPI:
    """The routes of one model server."""
    api = FastAPI(title=server.name, docs_url=None, redoc_url=None, openapi_url=None)

    def rows() -> list[dict[str, Any]]:
        info = server.info()
        return [info] if info["loaded"] else []

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        return listing(rows())

    @api.get("/v1/models/{name}")
    def model(name: str) -> dict[str, Any]:
        return listed(rows(), name)

    @api.post("/v1/chat/completions")
    def chat(body: Body) -> Response:
        request = body.request()  # one model is loaded here: the name in the body is not looked at, as in llama.cpp's own server
        if body.stream:
            return events(server.stream(request), server.info()["id"])
        return JSONResponse(completion(server.complete(request)))

    return api
