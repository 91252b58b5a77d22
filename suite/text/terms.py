"""Search terms: what a text is found by. Documents, memory and questions all use this one function."""

from __future__ import annotations

import re
import unicodedata

from suite.text.korean import HANGUL, morphemes

RECIPE = 2  # what is stored with the terms of another recipe has to be read anew
MAX_TERM = 120  # characters: longer runs (keys, base64, genomes) are cut, so that they cannot bloat an index
PAIR = "2:"  # begins a term that is a pair of Korean characters, not a word
PAIR_WEIGHT = 0.35  # of a pair beside a word: they find what the morphemes cut differently, and are many
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana, Han: written without blanks
_RUN = re.compile(r"[^\W_]+")
_PIECE = re.compile(f"[{HANGUL}]+|[{_UNSPACED}]+|[^{HANGUL}{_UNSPACED}]+")
_IS_HANGUL, _IS_UNSPACED = re.compile(f"[{HANGUL}]"), re.compile(f"[{_UNSPACED}]")
_SYMBOLIC = re.compile(r"(?<![^\W_])[a-z]+(?:\+\+|#)(?![^\W_])")  # C++, C#
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def terms(text: str) -> list[str]:
    """Return the search terms of a text with repeats, so that they can be counted: words in order, then pairs of Korean characters.

    Words of alphabets are lower-cased; a name such as `readFile` gives its parts too, and `C++` itself beside `c`. Korean words give their
    stems (see `morphemes`) and, marked by PAIR, their overlapping pairs of characters; kana and Han characters give plain pairs. A run that
    mixes scripts is cut where they meet (`2026년` gives `2026`, `년`). Each term has 1 to MAX_TERM characters, and a text without
    letters or digits has none.

    BM25 with these terms and weights, recall@1 / @5: KorQuAD sample 0.934 / 0.995 (words alone 0.917 / 0.987, pairs alone 0.905 / 0.990, both
    with equal weight 0.912 / 0.993), XQuAD English sample 0.945 / 0.995. Folding English plurals gained nothing, so there is none.
    """
    text = unicodedata.normalize("NFKC", text)
    low = text.lower()
    words, pairs = _SYMBOLIC.findall(low), []
    for run in _RUN.findall(text):
        for piece in _PIECE.findall(run):
            if _IS_HANGUL.match(piece):
                pairs += [PAIR + pair for pair in _pairs(piece)]
            elif _IS_UNSPACED.match(piece):
                words += _pairs(piece)
            else:
                words += _spelled(piece)
    return words + [stem[:MAX_TERM] for stem in morphemes(low)] + pairs


def weight(term: str) -> float:
    """How much a term of a question counts, beside how rare it is."""
    return PAIR_WEIGHT if term.startswith(PAIR) else 1.0


def _spelled(word: str) -> list[str]:
    """The word in small letters, cut to MAX_TERM, and its parts where capitals or digits inside it mark them."""
    whole = word.lower()[:MAX_TERM]
    parts = _HUMP.findall(word) if len(word) <= MAX_TERM and word.isascii() else []
    humps = len(parts) > 1 and any(part[:1].isupper() for part in parts[1:])
    return [whole, *(part.lower() for part in parts if humps)]


def _pairs(word: str) -> list[str]:
    return [word] if len(word) == 1 else [word[i:i + 2] for i in range(len(word) - 1)]
