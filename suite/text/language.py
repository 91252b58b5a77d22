"""Which language a text is written in, as far as an embedding model must know."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Language = Literal["ko", "en", "other"]

_HANGUL = re.compile("[가-힣\u1100-\u11ff\u3130-\u318f]")
_LATIN = re.compile("[A-Za-z]")
_WORD = re.compile(r"[^\W\d_]+")
HANGUL_WEIGHT = 2  # a syllable says about as much as two Latin letters
_ENGLISH = ("the of and to in is are was were be it that this for with on as by at from what which who how when where why do does "
                     "did can you your we our not or if an has have had will would should could there their they he she his her i me my")
# Function words that are no English words: German, French, Spanish, Portuguese, Italian, Dutch.
_FOREIGN = ("der das und ist nicht ein eine einen mit von zu auf für sich wie wann wer warum dem den des les la et est une du dans que "
                     "qui pour pas sur au aux avec où quand el los las y en del una por con para cómo qué cuándo o os um uma não com il lo gli "
                     "che di è per non dove het een van niet wat hoe wanneer le un der es se são")
_ENGLISH_WORDS, _FOREIGN_WORDS = frozenset(_ENGLISH.split()), frozenset(_FOREIGN.split())


def language(text: str) -> Language:
    """Return `ko`, `en` or `other` for a text, by its script and, for Latin script, its function words.

    Korean with a few English names in it is `ko`; English terms joined by a Korean particle are `en`, because that is what a model of English
    can still read. A text without letters is `other`.
    """
    text = unicodedata.normalize("NFC", text)
    letters = [character for character in text if character.isalpha()]
    hangul, latin = len(_HANGUL.findall(text)), len(_LATIN.findall(text))
    rest = len(letters) - hangul - latin
    if hangul and hangul * HANGUL_WEIGHT >= max(latin, rest):
        return "ko"
    if not latin or rest * 4 > latin:
        return "other"
    words = [word.lower() for word in _WORD.findall(text)]
    foreign = sum(word in _FOREIGN_WORDS for word in words)
    return "other" if foreign > sum(word in _ENGLISH_WORDS for word in words) else "en"
