"""Port 8003: texts in, vectors out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from suite.embedding.model import EmbeddingModel


class EmbedderPart(Protocol):
    """What this port serves."""

    model: EmbeddingModel

    def embed(self, texts: list[str]) -> np.ndarray: ...


class Texts(BaseModel):
    """The body of POST /embed."""

    model_config = ConfigDict(strict=True, extra="forbid")
    texts: list[str]


def app(part: EmbedderPart) -> FastAPI:
    """The routes: POST /embed, GET /model, and POST /prewarm, which answers once the model has embedded a text."""
    api = FastAPI(title="embedding", docs_url=None, redoc_url=None)

    @api.post("/embed")
    def embed(body: Texts) -> dict[str, Any]:
        vectors = part.embed(body.texts)
        return {"embeddings": vectors.tolist(), "model": part.model.id, "dim": int(vectors.shape[1]), "normalize": True}

    @api.get("/model")
    def model() -> dict[str, Any]:
        return part.model.to_dict()

    @api.post("/prewarm")
    def prewarm() -> dict[str, Any]:
        return {"ok": True, "model": part.model.id, "dim": int(part.embed(["warm"]).shape[1])}

    return api
