"""English words without their endings, by Snowball's rules."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py_rust_stemmers import SnowballStemmer

_local = threading.local()


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of a word in small letters: `indexing` and `indexes` give `index`. What is not only ASCII letters is given back as it is."""
    return _stemmer().stem_word(word) if word.isascii() and word.isalpha() else word


def _stemmer() -> SnowballStemmer:
    if not hasattr(_local, "stemmer"):  # nothing says that one may be shared between threads
        from py_rust_stemmers import SnowballStemmer

        _local.stemmer = SnowballStemmer("english")
    return _local.stemmer
