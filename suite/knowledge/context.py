"""What a model is given to answer from: hits made into passages that do not repeat each other, as many as its window holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from suite.knowledge.record import Hit
from suite.text.size import tokens

AROUND = 220  # tokens of the rules, the numbers of the passages and the chat template
LEAST_TOKENS = 40  # passages cut below this would answer nothing


def budget(window: int | None, reply: int, question: str, most: int) -> int:
    """Tokens that the passages may take: `most`, or what a window of so many tokens leaves beside the question and the reply."""
    if window is None:
        return most
    return max(LEAST_TOKENS, min(most, window - reply - AROUND - tokens(question)))


def merged(hits: Sequence[Hit]) -> list[Hit]:
    """Hits of one document that touch or overlap as one passage, in the place of the best of them."""
    found: list[Hit] = []
    for hit in hits:
        beside = [other for other in found if other.document == hit.document and _touch(other, hit)]
        for other in beside:
            hit = _joined(other, hit)
        place = found.index(beside[0]) if beside else len(found)
        found = [other for other in found if other not in beside]
        found.insert(place, hit)
    return found


def fit(hits: Sequence[Hit], most: int) -> list[Hit]:
    """The best passages that take at most `most` tokens together; the first is cut when it alone is longer."""
    used: list[Hit] = []
    left = most
    for hit in hits:
        size = tokens(hit.text)
        if size > left:
            if not used:
                used.append(_cut(hit, left))
            break
        used.append(hit)
        left -= size
    return used


def _touch(one: Hit, other: Hit) -> bool:
    """Whether nothing but the white space that is known lies between two hits."""
    first, second = sorted((one, other), key=lambda hit: (hit.start, hit.end))
    return second.start <= first.end + len(first.after)


def _joined(one: Hit, other: Hit) -> Hit:
    first, second = sorted((one, other), key=lambda hit: (hit.start, hit.end))
    best = one.id if one.score >= other.score else other.id
    joined = replace(first, score=max(one.score, other.score), id=best)
    if second.end <= first.end:
        return joined
    return replace(joined, text=(first.text + first.after)[:second.start - first.start] + second.text, end=second.end, after=second.after)


def _cut(hit: Hit, most: int) -> Hit:
    """The beginning of a hit that takes about so many tokens, at the end of a word where there is one."""
    size = max(1, int(len(hit.text) * most / tokens(hit.text)))
    kept = hit.text[:size]
    space = kept.rfind(" ")
    kept = kept[:space] if space > size // 2 else kept
    return replace(hit, text=kept, end=hit.start + len(kept), after="")
