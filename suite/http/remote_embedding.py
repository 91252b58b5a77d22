"""The host's embedder, as a guest sees it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import httpx
import numpy as np

from suite.embedding.model import EmbeddingModel
from suite.errors import BadRequest


class RemoteEmbedder:
    """The same methods as `Embedder` over HTTP; `client` has the base URL, the token and the translation of errors."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    @cached_property
    def model(self) -> EmbeddingModel:
        """The host's model."""
        return EmbeddingModel.from_dict(self.client.get("/model").json())

    def reads(self, text: str) -> bool:
        """Does the host's model know the language of this text?"""
        return self.model.reads(text)

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        """Return one unit-length float32 vector per text, shape (n, dim); the numbers are exactly the host's."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise BadRequest("`texts` must be a list of texts; put a single text into a list.", param="texts")
        try:
            answer = self.client.post("/embed", json={"texts": list(texts), "kind": kind}).json()
        except UnicodeEncodeError:
            raise BadRequest("`texts` hold half a character (a lone surrogate); decode their source with errors='replace'.", param="texts") from None
        return np.array(answer["embeddings"], np.float32).reshape(len(texts), int(answer["dim"]))
