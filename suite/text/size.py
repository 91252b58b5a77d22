"""About how large a text is to a chat model, without its tokenizer."""

from __future__ import annotations

import math

LATIN_CHARS, OTHER_CHARS = 3.5, 1.2  # characters per token, rather too few: a prompt that is too long has to be asked again


def tokens(text: str) -> int:
    """About how many tokens a chat model makes of a text, by its scripts."""
    latin = sum(character.isascii() for character in text)
    return math.ceil(latin / LATIN_CHARS + (len(text) - latin) / OTHER_CHARS)
