"""Port 8003: texts in, vectors out, by our own route and by OpenAI's, which the gateway has too."""

from __future__ import annotations

import base64
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from suite.embedding.model import EmbeddingModel
from suite.errors import BadRequest, NotFound
from suite.http.completion import listed, listing
from suite.http.openai import Opened, add_post, json_response


class EmbedderPart(Protocol):
    """What this port serves."""

    model: EmbeddingModel

    def embed(self, texts: list[str], kind: str = "passage") -> np.ndarray: ...

    def count(self, texts: list[str]) -> int: ...


class Texts(BaseModel):
    """The body of POST /embed; `kind` is passage or query."""

    model_config = ConfigDict(strict=True, extra="forbid")
    texts: list[str]
    kind: str = "passage"


def app(part: EmbedderPart) -> FastAPI:
    """The routes: POST /embed, GET /model, POST /prewarm, which answers once the model has embedded a text, and OpenAI's."""
    api = FastAPI(title="embedding", docs_url=None, redoc_url=None)
    add_embeddings(api, part)

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        return listing([_row(part.model)])

    @api.get("/v1/models/{name:path}")
    def one(name: str) -> dict[str, Any]:
        return listed([_row(part.model)], name)

    @api.post("/embed")
    def embed(body: Texts) -> dict[str, Any]:
        vectors = part.embed(body.texts, kind=body.kind)
        return {"embeddings": vectors.tolist(), "model": part.model.id, "dim": int(vectors.shape[1]), "normalize": True}

    @api.get("/model")
    def model() -> dict[str, Any]:
        return part.model.to_dict()

    @api.post("/prewarm")
    def prewarm() -> dict[str, Any]:
        return {"ok": True, "model": part.model.id, "dim": int(part.embed(["warm"]).shape[1])}

    return api


def add_embeddings(api: FastAPI, part: EmbedderPart) -> None:
    """Add POST /v1/embeddings."""

    def answer(raw: dict[str, Any], _opened: Opened) -> Response:
        _asked_for(raw, part.model)
        texts = _texts(raw.get("input"))
        packed = _packed(raw.get("encoding_format"))
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() if packed else row.tolist() for row in part.embed(texts)]
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        tokens = part.count(texts)
        return json_response({"object": "list", "data": data, "model": part.model.id, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    add_post(api, "/v1/embeddings", answer)


def _asked_for(raw: dict[str, Any], known: EmbeddingModel) -> None:
    """Whether it is this model, with its own dimension, that was asked for: vectors of another would silently mean something else."""
    name, size = raw.get("model"), raw.get("dimensions")
    if name is not None and not isinstance(name, str):
        raise BadRequest(f"model is {name!r:.80} but must be a text.", param="model")
    if name and name not in (known.id, known.name, "auto"):
        raise NotFound(f"No embedding model is called {name!r:.80} here; ask for {known.id!r}.", param="model")
    if size is not None and (isinstance(size, bool) or size != known.dim):
        raise BadRequest(f"dimensions is {size!r:.80} but the vectors of {known.id} have {known.dim}; leave it out.", param="dimensions")


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"input is {value!r:.80} but must be a text or a list of texts; numbers of tokens are not read, send the text.",
                         param="input")
    return texts


def _packed(kind: Any) -> bool:
    if kind not in (None, "float", "base64"):
        raise BadRequest(f"encoding_format is {kind!r:.80} but must be float or base64.", param="encoding_format")
    return kind == "base64"


def _row(model: EmbeddingModel) -> dict[str, Any]:
    return {"id": model.id, "name": model.name, "dim": model.dim}
