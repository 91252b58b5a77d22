"""Cut a text into overlapping chunks at sentence ends, losing nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from suite.text.sentences import sentences

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Chunk:
    """Characters `start` to `end` of a document: `text` is exactly that slice. `index` counts from 0."""

    index: int
    start: int
    end: int
    text: str


def split(text: str, size: int, overlap: int) -> list[Chunk]:
    """The chunks of a text, in order: at most `size` characters each, neighbours sharing whole sentences of at most `overlap` characters.

    A sentence longer than `size` is cut between words, a longer word anywhere. Every character that is not white space lies in a chunk.
    An overlap of more than half the size counts as half.
    """
    overlap = min(overlap, size // 2)
    units = [unit for start, end in _covering(text) for unit in _fitted(text, start, end, size, overlap)]
    chunks: list[Chunk] = []
    first, fresh = 0, 0  # the chunk's first unit, and its first unit that no chunk had before
    while fresh < len(units):
        after = fresh + 1
        while after < len(units) and units[after][1] - units[first][0] <= size:
            after += 1
        start, end = units[first][0], units[after - 1][1]
        chunks.append(Chunk(len(chunks), start, end, text[start:end]))
        previous, fresh, first = first, after, after
        while (fresh < len(units) and first - 1 > previous and units[after - 1][1] - units[first - 1][0] <= overlap
               and units[fresh][1] - units[first - 1][0] <= size):
            first -= 1
    return chunks


def _covering(text: str) -> list[tuple[int, int]]:
    """Sentence spans plus whatever they leave out, so that no rule of sentences can lose text."""
    spans: list[tuple[int, int]] = []
    position = 0
    for sentence in sentences(text):
        _keep(spans, text, position, sentence.start)
        _keep(spans, text, max(position, sentence.start), sentence.end)
        position = max(position, sentence.end)
    _keep(spans, text, position, len(text))
    return spans


def _keep(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left < len(piece):
        spans.append((start + left, start + len(piece.rstrip())))


def _fitted(text: str, start: int, end: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """The span itself, or its words, or pieces of a word: none longer than `size`."""
    if end - start <= size:
        return [(start, end)]
    piece = max(1, min(overlap or size, size // 4))  # short enough for neighbours to share one
    fitted: list[tuple[int, int]] = []
    for word in _WORD.finditer(text, start, end):
        if word.end() - word.start() <= size:
            fitted.append(word.span())
        else:
            fitted.extend((at, min(at + piece, word.end())) for at in range(word.start(), word.end(), piece))
    return fitted
