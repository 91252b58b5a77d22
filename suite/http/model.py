"""A model server's port: OpenAI's surface over one model (8001 chat, 8004 code)."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI
from pydantic import BaseModel

from suite.http.openai import add_openai, add_tokens
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request


class Serving(Protocol):
    """What this port needs of a model server."""

    name: str

    @property
    def model(self) -> str: ...

    def complete(self, request: Request) -> Reply: ...

    def stream(self, request: Request) -> ReplyStream: ...

    def info(self) -> dict[str, Any]: ...

    def load(self) -> None: ...

    def swap(self, path: str) -> None: ...

    def unload(self) -> None: ...

    def tokenize(self, text: str, special: bool = False) -> list[int]: ...

    def detokenize(self, tokens: list[int]) -> str: ...


class Wanted(BaseModel):
    """The body of POST /models/load: a catalogue name, a file of the models directory, or a path; empty for what was loaded before."""

    model: str = ""


class Alone:
    """A model server as the routes see it: a list of at most one model."""

    def __init__(self, server: Serving) -> None:
        self._server = server

    def complete(self, request: Request) -> Reply:
        """The whole reply."""
        return self._server.complete(request)

    def stream(self, request: Request) -> ReplyStream:
        """The reply piece by piece."""
        return self._server.stream(request)

    def models(self) -> list[dict[str, Any]]:
        """What is loaded, or would be by the next request."""
        info = self._server.info()
        return [info] if info["id"] else []


def app(server: Serving) -> FastAPI:
    """The routes of one model server."""
    api = FastAPI(title=server.name, docs_url=None, redoc_url=None, openapi_url=None)
    alone = Alone(server)
    add_openai(api, alone, only=lambda: server.model, whole=alone.stream)
    add_tokens(api, server)

    @api.get("/props")
    def props() -> dict[str, Any]:
        """The few facts that clients of llama-server look for."""
        info = server.info()
        return {"default_generation_settings": {"n_ctx": info.get("n_ctx", 0)}, "total_slots": info.get("slots", 0), "model_alias": info["id"]}

    @api.post("/models/load")
    def load(body: Wanted) -> dict[str, Any]:
        """Load another model, or (without a name) the one that was unloaded."""
        if body.model:
            server.swap(body.model)
        else:
            server.load()
        return server.info()

    @api.post("/models/unload")
    def unload() -> dict[str, Any]:
        """Give the memory back."""
        server.unload()
        return server.info()

    return api
