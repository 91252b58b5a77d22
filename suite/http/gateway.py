"""The gateway's port: OpenAI's surface over all aliases (8000)."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from suite.http.completion import Body, completion, events, listed, listing
from suite.serving.reply import Reply, ReplyStream


class Chatting(Protocol):
    """What this port needs of the gateway."""

    name: str

    def chat(self, messages: str | list[dict[str, Any]], model: str = "auto", stream: bool = False, **options: Any) -> Reply | ReplyStream: ...

    def models(self) -> list[dict[str, Any]]: ...


def app(gateway: Chatting) -> FastAPI:
    """The routes of the gateway; `suite` in a reply says which alias answered and why."""
    api = FastAPI(title=gateway.name, docs_url=None, redoc_url=None, openapi_url=None)

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        return listing(gateway.models())

    @api.get("/v1/models/{name}")
    def model(name: str) -> dict[str, Any]:
        return listed(gateway.models(), name)

    @api.post("/v1/chat/completions")
    def chat(body: Body) -> Response:
        answer = gateway.chat(body.messages, model=body.model or "auto", stream=body.stream, **body.options())
        return events(answer, body.model or "auto") if isinstance(answer, ReplyStream) else JSONResponse(completion(answer))

    return api
