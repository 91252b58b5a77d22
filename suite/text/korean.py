"""Korean words without their particles and endings, by Kiwi."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
KEPT = ("NN", "NR", "NP", "VV", "VA", "XR", "MAG")  # nouns, numerals, pronouns, verbs, adjectives, roots, adverbs
PIECE = 400  # characters that are analysed at once: enough to tell a noun from a verb
LONGEST = 60  # characters of a run without a blank: longer ones are no words, and analysing them is slow
_IS_HANGUL = re.compile(f"[{HANGUL}]")
_one_at_a_time = threading.Lock()  # Kiwi says nothing about several threads


def morphemes(text: str) -> list[str]:
    """The stems of a text's Korean words in order, with repeats: `파일을 저장했다` gives `파일`, `저장`. Other scripts give nothing.

    The first call loads Kiwi's model: two seconds, and half a gigabyte of memory.
    """
    found: list[str] = []
    for piece in _pieces(text):
        with _one_at_a_time:
            tokens = _kiwi().tokenize(piece)
        found.extend(token.form for token in tokens if token.tag.startswith(KEPT) and _IS_HANGUL.match(token.form))
    return found


@cache
def _kiwi() -> Kiwi:
    from kiwipiepy import Kiwi  # here: who never meets Korean need not load it

    return Kiwi(num_workers=1)


def _pieces(text: str) -> Iterator[str]:
    """Parts of the text that hold Korean, cut at white space, without the runs that are too long for words."""
    for line in text.splitlines():
        held, length = [], 0
        for word in line.split():
            if len(word) > LONGEST:
                continue
            if length + len(word) > PIECE:
                yield from _korean(held)
                held, length = [], 0
            held.append(word)
            length += len(word) + 1
        yield from _korean(held)


def _korean(words: list[str]) -> Iterator[str]:
    joined = " ".join(words)
    if _IS_HANGUL.search(joined):
        yield joined
