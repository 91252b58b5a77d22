"""Cut a text into overlapping chunks at sentence ends and headings, losing nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from suite.text.blocks import Block, blocks
from suite.text.sentences import sentences

Lengths = Callable[[Sequence[str]], Sequence[int]]  # how long each text is, in the unit that chunks are measured by

FULL_ENOUGH = 0.25  # share of a chunk's size from which on a heading begins the next chunk
MOST_CHARS = 8  # characters per unit of size: what a tokenizer takes for one word of any length is cut too
MAX_TITLE = 120  # characters of a heading in the path of headings
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Chunk:
    """Characters `start` to `end` of a document: `text` is exactly that slice, and `after` the white space that follows it.

    `index` counts from 0; `headings` are the titles that it stands below, the highest first.
    """

    index: int
    start: int
    end: int
    text: str
    after: str = ""
    headings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Unit:
    """What is not cut: a sentence, a heading, a line of code; `joins` says that neighbouring chunks may share it."""

    start: int
    end: int
    size: int
    kind: str
    headings: tuple[str, ...] = ()

    @property
    def joins(self) -> bool:
        return self.kind == "prose"


def split(text: str, size: int, overlap: int, lengths: Lengths, kind: str = "prose") -> list[Chunk]:
    """The chunks of a text, in order: the units in each are at most `size` long together, by `lengths`.

    Neighbours share whole sentences of at most `overlap`; more than half the size counts as half. Code, tables and headings are kept
    whole where they fit; what is longer than `size` is cut between lines, a longer line between words, a longer word anywhere. A heading begins a
    chunk, unless the one before would be small, and never ends one. `kind` code or table says that each line stands for itself.
    The chunks with the white space after them cover the text from the first character that is none.
    """
    units = _units(text, size, lengths, kind)
    overlap = min(overlap, size // 2)
    chunks: list[Chunk] = []
    first = fresh = 0  # the chunk's first unit, and its first unit that no chunk had before
    while fresh < len(units):
        after = _filled(units, first, fresh, size)
        start, end = units[first].start, units[after - 1].end
        chunks.append(Chunk(len(chunks), start, end, text[start:end], headings=units[fresh].headings))
        previous, fresh, first = first, after, after
        shared = 0
        while (fresh < len(units) and first - 1 > previous and units[first - 1].joins and units[fresh].kind != "heading"
               and shared + units[first - 1].size <= min(overlap, size - units[fresh].size)):
            first -= 1
            shared += units[first].size
    return [replace(chunk, after=text[chunk.end:chunks[chunk.index + 1].start if chunk.index + 1 < len(chunks) else len(text)]) for chunk in chunks]


def _filled(units: list[_Unit], first: int, fresh: int, size: int) -> int:
    """The unit after the last one of the chunk that begins at `first` and has to hold `fresh`."""
    total = sum(unit.size for unit in units[first:fresh + 1])
    after = fresh + 1
    while after < len(units) and total + units[after].size <= size:
        if units[after].kind == "heading" and units[after - 1].kind != "heading" and total >= FULL_ENOUGH * size:
            break
        total += units[after].size
        after += 1
    while after < len(units) and after - 1 > fresh and units[after - 1].kind == "heading":
        after -= 1
    return after


def _units(text: str, size: int, lengths: Lengths, kind: str) -> list[_Unit]:
    whole = blocks(text) if kind == "prose" else [Block("code", *span) for span in _lines(text, 0, len(text))]
    path: list[Block] = []
    spans: list[tuple[int, int, str, tuple[str, ...]]] = []
    for block in whole:
        if block.kind == "heading":
            path = [above for above in path if above.level < block.level] + [block]
        titles = tuple(above.title[:MAX_TITLE] for above in path if above.title)
        found = _covering(text, block) if block.kind == "prose" else _kept(text, block.start, block.end)
        spans += [(start, end, block.kind, titles) for start, end in found]
    counted = lengths([text[start:end] for start, end, _, _ in spans])
    units: list[_Unit] = []
    for (start, end, of, titles), length in zip(spans, counted, strict=True):
        if length <= size and end - start <= MOST_CHARS * size:
            units.append(_Unit(start, end, length, of, titles))
        else:
            units += [_Unit(*piece, "prose" if of == "heading" else of, titles) for piece in _cut(text, start, end, size, lengths)]
    return units


def _covering(text: str, block: Block) -> list[tuple[int, int]]:
    """Sentences plus whatever they leave out, so that no rule of sentences can lose text."""
    spans: list[tuple[int, int]] = []
    position = block.start
    for sentence in sentences(text[block.start:block.end]):
        start, end = block.start + sentence.start, block.start + sentence.end
        spans += _kept(text, position, start)
        spans += _kept(text, max(position, start), end)
        position = max(position, end)
    return spans + _kept(text, position, block.end)


def _kept(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The span without the white space around it; none where nothing is left."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return [(start + left, start + len(piece.rstrip()))] if left < len(piece) else []


def _lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans = []
    while start < end:
        stop = text.find("\n", start, end) + 1 or end
        spans.append((start, stop))
        start = stop
    return spans


def _cut(text: str, start: int, end: int, size: int, lengths: Lengths) -> list[tuple[int, int, int]]:
    """Pieces of a span that is too long, with their lengths: its lines, the words of a line, the halves of a word."""
    lines = [span for line in _lines(text, start, end) for span in _kept(text, *line)]
    pieces = lines if len(lines) > 1 else [word.span() for word in _WORD.finditer(text, start, end)]
    if len(pieces) == 1:
        middle = (start + end) // 2
        if end - start <= 1:
            return [(start, end, size)]  # one character that the tokenizer makes many tokens of
        step = max(1, min(middle - start, MOST_CHARS * size))
        pieces = [(at, min(at + step, end)) for at in range(start, end, step)]
    counted = lengths([text[first:last] for first, last in pieces])
    found: list[tuple[int, int, int]] = []
    for (first, last), length in zip(pieces, counted, strict=True):
        if length <= size and last - first <= MOST_CHARS * size:
            found.append((first, last, length))
        else:
            found += _cut(text, first, last, size, lengths)
    return found
