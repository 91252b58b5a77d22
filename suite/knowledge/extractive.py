"""An answer without a model: the sentences of the passages that say most of what the question asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from suite.knowledge.record import Hit
from suite.text.blocks import blocks
from suite.text.sentences import sentences
from suite.text.terms import terms, weight

MOST = 2  # sentences
ENOUGH = 0.6  # share of the best sentence's score that a second one must have
ALREADY = 0.5  # how much a word counts that the sentence before has too
_NUMBER = re.compile(r"\[\d+\]")
_WORD, _FENCE = re.compile(r"[^\W_]"), re.compile(r"\s*(?:```|~~~)")


def extractive(question: str, hits: Sequence[Hit]) -> str:
    """The one or two best sentences of the passages, each with the number of its passage in brackets; hits come best first.

    A word of the question counts by how few of the sentences have it. Where no sentence has any, it is the first sentence of the best passage.
    """
    found = [(number, sentence) for number, hit in enumerate(hits, 1) for sentence in _sentences(hit.text)]
    held = [set(terms(sentence)) for _, sentence in found]
    asked = set(terms(question))
    worth = {term: weight(term) * math.log(1 + len(held) / (1 + sum(term in each for each in held))) for term in asked}
    chosen: list[int] = []
    said: set[str] = set()
    best = 0.0
    while len(chosen) < min(MOST, len(found)):
        scores = [sum(worth[term] * (ALREADY if term in said else 1.0) for term in each & asked) for each in held]
        at = max((at for at in range(len(found)) if at not in chosen), key=lambda at: scores[at])  # the first of equals
        if chosen and (not scores[at] or scores[at] < ENOUGH * best):
            break
        best = best or scores[at]
        chosen.append(at)
        said |= held[at]
    return " ".join(f"{found[at][1]} [{found[at][0]}]" for at in sorted(chosen))


def _sentences(text: str) -> list[str]:
    """What may stand as an answer: sentences, rows of a table below its head, lines of code; headings only where there is nothing else."""
    found: list[str] = []
    for block in blocks(text):
        part = text[block.start:block.end]
        if block.kind == "prose":
            found += [part[span.start:span.end] for span in sentences(part)]
        elif block.kind != "heading":
            lines = [line.strip() for line in part.splitlines() if _WORD.search(line) and not _FENCE.match(line)]
            found += [f"{lines[0]}\n{row}" for row in lines[1:]] if block.kind == "table" and len(lines) > 1 else lines
    return found or [text.strip()]


def grounded(text: str, hits: Sequence[Hit]) -> bool:
    """Whether the words, apart from numbers of passages in brackets and the size of letters, stand in one of the passages as they are."""
    words = _plain(_NUMBER.sub("", text)).rstrip(".").rstrip()
    return bool(words) and any(words in _plain(hit.text) for hit in hits)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
