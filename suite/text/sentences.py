"""Where the sentences of a text begin and end."""

from __future__ import annotations

import re
from dataclasses import dataclass

from suite.text.blocks import blocks

_CLOSERS = "\"'”’»)\\]}」』》〉）】"
# A mark with its closing quotes, or a line break. `。！？` need no space after them; `.!?` do. Or a word that may end a Korean sentence without one.
_POLITE = "[어아여해예에세네군까데게려워와돼지죠봐줘]요|죠"
_END = re.compile(f"[.!?…]+[{_CLOSERS}]*(?=\\s|$)|[。！？｡]+[{_CLOSERS}]*|\\n+|(?:[가-힣](?:니다|니까|다)|{_POLITE})(?=[ \\t])")
_WITH_B, _WITH_SS, _WITH_N = 17, 20, 4  # the final consonants of 합, 했, 한 in Unicode's order
# what follows a verb form in 다 that does not end its sentence: 했다 고, 간다 면, 온다 해도
_CARRIED_ON = ("고", "면", "는", "가", "라고", "며", "지만", "해도", "하더라도", "보니", "보면", "싶", "할", "하는", "든지", "거나")
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

    A sentence ends at `.`, `!`, `?` or `…` before white space, at `。！？`, at a line break, or after a form that ends a Korean sentence (`합니다`,
    `해요`, `했다`); a line that goes on with a small Latin letter is a wrapped line and does not end one, nor do decimals, initials, common
    English abbreviations and list numbers. A heading, a table and a fenced piece of code are one sentence each.
    """
    spans: list[Span] = []
    for block in blocks(text):
        if block.kind == "prose":
            _of_prose(spans, text, block.start, block.end)
        else:
            _add(spans, text, block.start, block.end)
    return spans


def _of_prose(spans: list[Span], text: str, start: int, end: int) -> None:
    for mark in _END.finditer(text, start, end):
        if _goes_on(text, start, mark):
            continue
        _add(spans, text, start, mark.end())
        start = mark.end()
    _add(spans, text, start, end)


def _goes_on(text: str, start: int, mark: re.Match[str]) -> bool:
    found = mark.group()
    if found.startswith("\n"):
        rest = text[mark.end():mark.end() + 80].lstrip(" \t")
        return len(found) == 1 and rest[:1].isascii() and rest[:1].islower()
    if "가" <= found[0] <= "힣":
        return not _ends_korean(found, text[mark.end():mark.end() + 10].lstrip())
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


def _ends_korean(found: str, following: str) -> bool:
    """Whether a word's last syllables end a sentence: `합니다` does, `하니까` does not, and `했다` only where nothing carries it on."""
    consonant = (ord(found[0]) - ord("가")) % 28
    if found.endswith(("니다", "니까")):
        return consonant == _WITH_B
    if found.endswith("다"):
        return consonant in (_WITH_SS, _WITH_N) and not following.startswith(_CARRIED_ON)
    return True


def _add(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left < len(piece):
        spans.append(Span(start + left, start + len(piece.rstrip())))
