"""Where the sentences of a text begin and end."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLOSERS = "\"'”’»)\\]}」』》〉）】"
# A mark with its closing quotes, or a line break. `。！？` need no space after them; `.!?` do.
_END = re.compile(f"[.!?…]+[{_CLOSERS}]*(?=\\s|$)|[。！？｡]+[{_CLOSERS}]*|\\n+")
_ABBREVIATIONS = ("mr mrs ms dr prof st jr sr vs etc eg ie cf fig figs no nos vol pp ed eds inc ltd co corp dept approx gen sen rep gov "
                           "jan feb mar apr jun jul aug sep sept oct nov dec al")
_ABBREVIATED = frozenset(_ABBREVIATIONS.split())
_LAST_WORD = re.compile(r"([A-Za-z](?:[A-Za-z.]*[A-Za-z])?)\.$")
_LIST_NUMBER = re.compile(r"(?:^|\n)\s*\d{1,3}\.$")


@dataclass(frozen=True)
class Span:
    """A piece of a text: `text[start:end]`, in characters; no white space at either end."""

    start: int
    end: int


def sentences(text: str) -> list[Span]:
    """Return the sentences of a text in order, as spans that do not overlap and leave out only white space.

    A sentence ends at `.`, `!`, `?` or `…` before white space, at `。！？`, or at a line break; a line that goes on with a small Latin letter
    is a wrapped line and does not end one, nor do decimals, initials, common English abbreviations and list numbers.
    """
    spans: list[Span] = []
    start = 0
    for mark in _END.finditer(text):
        if _goes_on(text, start, mark):
            continue
        _add(spans, text, start, mark.end())
        start = mark.end()
    _add(spans, text, start, len(text))
    return spans


def _goes_on(text: str, start: int, mark: re.Match[str]) -> bool:
    found = mark.group()
    if found.startswith("\n"):
        rest = text[mark.end():mark.end() + 80].lstrip(" \t")
        return len(found) == 1 and rest[:1].isascii() and rest[:1].islower()
    if found != ".":
        return False
    before = text[max(start, mark.end() - 40):mark.end()]
    if _LIST_NUMBER.search(before) and not text[start:mark.start()].strip(" \t\n0123456789"):
        return True
    word = _LAST_WORD.search(before)
    if word is None:
        return False
    plain = word.group(1).replace(".", "").lower()
    following = text[mark.end():mark.end() + 20].lstrip()
    initial = len(word.group(1)) == 1 and word.group(1).isupper() and word.group(1) != "I"
    dotted = "." in word.group(1) and following[:1].islower()
    return initial or dotted or (plain in _ABBREVIATED and not following.startswith("\n") and following != "")


def _add(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left < len(piece):
        spans.append(Span(start + left, start + len(piece.rstrip())))
