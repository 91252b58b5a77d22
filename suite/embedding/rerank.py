"""Orders found passages anew by a cross-encoder, which reads the question and the passage together."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.embedding.embed import RETRY_AFTER, valid
from suite.embedding.load import load_reranker
from suite.embedding.model import RerankModel, rerank_model
from suite.embedding.pull import pull
from suite.embedding.verify import stamp, verify
from suite.errors import BadRequest, NotReady, SuiteError, WeightsError
from suite.monitoring.probe import State, bad, good, guarded

if TYPE_CHECKING:
    from fastembed.rerank.cross_encoder import TextCrossEncoder
    from tokenizers import Tokenizer

    from suite.settings import Settings

SHARED = 4  # neighbouring windows of a passage share this part of their tokens: one in so many
SPARE = 8  # one in so many tokens of a window is kept free: cut elsewhere, the words at its ends may be other tokens, and more of them
LEAST = 4  # a question may leave to the passage no less than one in so many tokens
_QUESTION, _PASSAGE = "When does the backup run?", "The backup runs at three in the morning."


def open_reranker(settings: Settings, models_dir: Path, cache_dir: Path) -> Reranker | None:
    """The reranker that RAG_RERANKER names, not loaded yet; None when it names none. SettingsError for one that nobody knows."""
    return Reranker(settings, models_dir, cache_dir) if settings.rag_reranker else None


class Reranker:
    """A cross-encoder from weights that are in `models_dir`; it is loaded when it is first asked. Every method may be called from any thread."""

    name = "reranker"

    def __init__(self, settings: Settings, models_dir: Path, cache_dir: Path) -> None:
        self.settings, self.models_dir, self.cache_dir = settings, models_dir, cache_dir
        self.model: RerankModel = rerank_model(settings.rag_reranker, models_dir)
        self._loaded: tuple[TextCrossEncoder, Tokenizer] | None = None
        self._failure: SuiteError | None = None
        self._tried: tuple[int, ...] = ()  # the files that the failed attempt saw
        self._loading = threading.Lock()

    def start(self) -> None:
        """Nothing to load yet."""

    def close(self) -> None:
        """Free the model; the next question loads it again."""
        with self._loading:
            self._loaded = None

    def live(self) -> State:
        """Is the part there? It has no thread of its own."""
        return good()

    def ready(self) -> State:
        """Are its weights there, and did they load if they were tried? Nothing is loaded for this."""
        facts = {"model": self.model.id, "languages": list(self.model.languages), "loaded": self._loaded is not None}
        if self._loaded is None and not self.model.here(self.models_dir):
            return bad(self._missing().message, retry_after=RETRY_AFTER, **facts)
        if self._failure is not None and self._tried == stamp(self.model, self.models_dir / self.model.id):
            return bad(self._failure.message, retry_after=RETRY_AFTER, **facts)
        return good(**facts)

    def deep(self) -> State:
        """Does a probe question get a score, the same twice?"""
        return guarded(self._deep)

    def reads(self, text: str) -> bool:
        """Does the model know the language of this text?"""
        return self.model.reads(text)

    def fetch(self, token: str = "", progress: Callable[..., Any] | None = None) -> Path:
        """Fetch the weights from the model hub, try them, and return their folder; WeightsError when that fails."""
        return pull(self.model, self.models_dir, self.cache_dir, self.settings.hf_endpoint, token, progress)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question, in order; higher is better, and scores of one question compare. None for no texts.

        Nothing is cut: of a text that the model cannot read whole beside the question, the best of several overlapping windows counts.
        BadRequest for a question that leaves less than a quarter of `model.max_tokens` to the text, and for what is no valid text; NotReady or
        WeightsError while the weights are not there or not usable.
        """
        [question], passages = valid([question]), valid(texts)
        if not passages:
            return []
        encoder, tokenizer = self._serving()
        room = self._room(tokenizer, question)
        parts = [(index, text[begin:end]) for index, text in enumerate(passages) for begin, end in windows(tokenizer, text, room)]
        parts.sort(key=lambda part: -len(part[1]))  # of like length together: a batch is filled up to its longest
        batch = self.settings.embedding_batch_size
        found = [float(score) for score in encoder.rerank_pairs([(question, part) for _, part in parts], batch_size=batch)]
        if len(found) != len(parts) or not all(math.isfinite(score) for score in found):
            raise WeightsError(f"The reranker {self.model.id} gave unusable numbers; run `suite models pull {self.model.id}` to fetch it anew.")
        best = [-math.inf] * len(passages)
        for (index, _), score in zip(parts, found, strict=True):
            best[index] = max(best[index], score)
        return best

    def _room(self, tokenizer: Tokenizer, question: str) -> int:
        """How many tokens of a text fit beside the question."""
        asked = len(tokenizer.encode(question, add_special_tokens=False))
        room = self.model.max_tokens - asked - tokenizer.num_special_tokens_to_add(True)
        if room < self.model.max_tokens // LEAST:
            raise BadRequest(f"The question has {asked} tokens, but {self.model.id} reads {self.model.max_tokens} with the passage; shorten the "
                             "question.", param="query", tokens=asked, limit=self.model.max_tokens)
        return room

    def _serving(self) -> tuple[TextCrossEncoder, Tokenizer]:
        loaded = self._loaded
        if loaded is not None:
            return loaded
        with self._loading:
            if self._loaded is None:
                seen = stamp(self.model, self.models_dir / self.model.id)
                if self._failure is not None and self._tried == seen:  # the same files would fail again, after being hashed again
                    raise self._failure
                try:
                    self._loaded, self._failure = self._opened(), None
                except SuiteError as error:
                    self._failure, self._tried = error, seen
                    raise
            return self._loaded

    def _opened(self) -> tuple[TextCrossEncoder, Tokenizer]:
        if not self.model.here(self.models_dir):
            raise self._missing()
        folder = self.models_dir / self.model.id
        verify(self.model, folder)
        return load_reranker(self.model, folder, self.cache_dir, self.settings.embedding_threads)

    def _missing(self) -> NotReady:
        return NotReady(f"The reranker {self.model.id} is not in {self.models_dir}; run `suite models pull {self.model.id}`, or leave RAG_RERANKER "
                        "empty.", part=self.name, retry_after=RETRY_AFTER)

    def _deep(self) -> State:
        first, second = (self.scores(_QUESTION, [_PASSAGE])[0] for _ in range(2))
        facts = {"model": self.model.id, "score": round(first, 4)}
        return good(**facts) if math.isclose(first, second, abs_tol=1e-4) else bad("The probe got two different scores in a row.", **facts)


def windows(tokenizer: Tokenizer, text: str, room: int) -> list[tuple[int, int]]:
    """Beginnings and ends of overlapping windows over a text, each of at most `room` tokens; the text itself where it fits."""
    spans = tokenizer.encode(text, add_special_tokens=False).offsets
    if len(spans) <= room or len(text) < 2:
        return [(0, len(text))]
    size = max(1, room - room // SPARE)
    starts = [*range(0, len(spans) - size, max(1, size - size // SHARED)), len(spans) - size]
    found: list[tuple[int, int]] = []
    for begin, end in ((spans[start][0], spans[start + size - 1][1]) for start in starts):
        if len(tokenizer.encode(text[begin:end], add_special_tokens=False)) <= room:
            found.append((begin, end))
        else:
            middle = (begin + end) // 2
            found += [(left + start, left + stop) for left, right in ((begin, middle), (middle, end))
                      for start, stop in windows(tokenizer, text[left:right], room)]
    return found
