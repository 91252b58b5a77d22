"""What is made of a document before it is stored: its chunks, their search terms and their vectors. Reads files, writes nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from suite.errors import SettingsError
from suite.knowledge.read import READING, Source
from suite.knowledge.record import TextEmbedder
from suite.knowledge.split import Chunk, Lengths, split
from suite.text.terms import RECIPE, terms

SPLIT_RECIPE = 2  # documents that were split by the rules of another one are split anew
CHARS_PER_TOKEN = 4  # of a text that the embedding model does not read: its tokens say nothing


@dataclass(frozen=True)
class Passage:
    """A chunk ready to be stored: `counts` of its terms by term id, how many terms it has, and its vector, if the model reads its language."""

    chunk: Chunk
    page: int | None
    counts: dict[int, int]
    length: int
    vector: tuple[float, ...] | None = None


def term_id(term: str) -> int:
    """A 32-bit id of a term, the same on every machine; two terms of a collection hardly ever share one."""
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")


class Preparation:
    """Splits, reads terms and embeds, by the settings in force. Safe to use from several threads.

    Raises SettingsError when a chunk may be longer than the embedding model reads.
    """

    def __init__(self, embedder: TextEmbedder, settings: Any) -> None:
        self.embedder = embedder
        self._size, self._overlap = settings.rag_chunk_size, settings.rag_chunk_overlap
        self._at_once = settings.embedding_max_texts
        self.label = f"{self._size}/{self._overlap}/{RECIPE}/{SPLIT_RECIPE}/{READING}"
        if self._size > embedder.model.max_tokens:
            raise SettingsError(f"RAG_CHUNK_SIZE is {self._size} tokens, but the embedding model {embedder.model.name} reads "
                                f"{embedder.model.max_tokens} at most; choose a smaller size.")

    def chunks(self, source: Source) -> list[Chunk]:
        """The document's chunks: measured in the embedding model's tokens where it reads the language, else in characters."""
        return split(source.text, self._size, self._overlap, self._lengths(source.text), source.kind)

    def passages(self, chunks: Sequence[tuple[Source, Chunk]]) -> list[Passage]:
        """Chunks, each with the document it is of, made ready to be stored; many at a time are embedded faster."""
        texts = [in_context(chunk.text, chunk.headings) for _, chunk in chunks]
        found = []
        for (source, chunk), text, vector in zip(chunks, texts, self._readable(texts), strict=True):
            words = terms(text)
            found.append(Passage(chunk, source.page(chunk.start), dict(Counter(map(term_id, words))), len(words), vector))
        return found

    def vectors(self, chunks: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[float, ...] | None]:
        """The vectors of stored chunks, each a text and the headings that it stands under; None where the model does not read the language."""
        return self._readable([in_context(text, headings) for text, headings in chunks])

    def _readable(self, texts: Sequence[str]) -> list[tuple[float, ...] | None]:
        places = [at for at, text in enumerate(texts) if self.embedder.reads(text)]
        vectors = dict(zip(places, self._vectors([texts[at] for at in places]), strict=True))
        return [vectors.get(at) for at in range(len(texts))]

    def _vectors(self, texts: list[str]) -> list[tuple[float, ...]]:
        if not texts:
            return []
        most = self.embedder.model.max_tokens
        pieces: list[tuple[int, str]] = []  # the text each is of
        lengths = self.embedder.tokens(texts)
        for at in sorted(range(len(texts)), key=lengths.__getitem__):  # texts of one length together: a batch is as slow as its longest
            pieces += [(at, piece) for piece in ([texts[at]] if lengths[at] <= most else self._readable_pieces(texts[at]))]
        rows: dict[int, list[Any]] = {}
        for start in range(0, len(pieces), self._at_once):
            batch = pieces[start:start + self._at_once]
            for (at, _), row in zip(batch, self.embedder.embed([piece for _, piece in batch], kind="passage"), strict=True):
                rows.setdefault(at, []).append(row)
        return [_mean(rows[at]) for at in range(len(texts))]

    def _readable_pieces(self, text: str) -> list[str]:
        """A chunk that was measured in characters, or has long headings, in pieces that the model reads whole; their mean stands for it."""
        return [piece.text for piece in split(text, self._size // 2, 0, self._tokens, "prose")]

    def _tokens(self, texts: Sequence[str]) -> list[int]:
        extra = self.embedder.tokens([""])[0]  # prefix and special tokens, which each text has once
        return [length - extra for length in self.embedder.tokens(list(texts))] if texts else []

    def _lengths(self, text: str) -> Lengths:
        if self.embedder.reads(text):
            return self._tokens
        return lambda texts: [math.ceil(len(each) / CHARS_PER_TOKEN) for each in texts]


def meaning(embedder: TextEmbedder, question: str) -> list[float]:
    """The vector of a question; of one that is longer than the model reads, the mean of its pieces, so that no part of it is left out."""
    pieces, rest = [], question
    while rest.strip():
        piece = embedder.head(rest, kind="query")
        if not piece:  # nothing of it can be read whole: the embedder says why
            piece = rest
        pieces.append(piece)
        rest = rest[len(piece):]
    return list(_mean([row for piece in pieces for row in embedder.embed([piece], kind="query")]))


def in_context(text: str, headings: Sequence[str]) -> str:
    """A chunk below the headings that it stands under and does not show itself."""
    return "\n".join([*(title for title in headings if title not in text), text])


def _mean(rows: Sequence[Any]) -> tuple[float, ...]:
    """The unit vector of a text whose pieces have these rows."""
    import numpy as np  # here: whoever only starts a bench need not load it

    row = np.mean(rows, axis=0)
    return tuple(float(value) for value in row / np.linalg.norm(row))
