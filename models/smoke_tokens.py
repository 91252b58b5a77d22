"""The smoke model's tokenizer: a byte-level BPE whose merges are designed, not counted, so that a name is cut the same way wherever it stands.

Each Hangul syllable of KS X 1001 is one token, English names fall into consonant-vowel pairs, digits stay single, and whole words are tokens only
when they come from the templates. A leading blank is merged only with words that no answer begins with: an answer's tokens are those in the passage.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import smoke_words as words
from smoke_general import SYLLABLES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTROLS = ("<|end|>", "<|user|>", "<|assistant|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|pad|>")
END, USER, ASSISTANT, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, PAD = range(len(CONTROLS))


@cache
def _characters() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte (the table of GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in plain}
    return table | {byte: chr(256 + at) for at, byte in enumerate(byte for byte in range(256) if byte not in table)}


def spelled(text: str) -> list[str]:
    """The text as byte characters."""
    return [_characters()[byte] for byte in text.encode()]


class _Merges:
    """Grows a vocabulary by merges, in the order in which they are to be applied."""

    def __init__(self) -> None:
        self.rank: dict[tuple[str, str], int] = {}
        self.tokens: dict[str, None] = dict.fromkeys(_characters().values())

    def add(self, left: str, right: str) -> str:
        self.rank.setdefault((left, right), len(self.rank))
        self.tokens.setdefault(left + right)
        return left + right

    def cut(self, text: str) -> list[str]:
        """The pieces that the merges so far make of a text."""
        pieces = spelled(text)
        while len(pieces) > 1:
            best = min(range(len(pieces) - 1), key=lambda at: self.rank.get((pieces[at], pieces[at + 1]), 1 << 30))
            if (pieces[best], pieces[best + 1]) not in self.rank:
                break
            pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
        return pieces

    def word(self, text: str) -> None:
        """Make the text one token, from the left."""
        pieces = self.cut(text)
        while len(pieces) > 1:
            pieces[:2] = [self.add(pieces[0], pieces[1])]


def build() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens in the order of their ids, controls first, and merges in the order of their ranks."""
    merges = _Merges()
    for syllable in SYLLABLES:
        one, two, three = spelled(syllable)
        merges.add(merges.add(one, two), three)
    for onset in "bcdfghjklmnpqrstvwxyz":
        for vowel in "aeiouy":
            merges.add(onset, vowel)
            merges.add(onset.upper(), vowel)
    for word in words.single():
        merges.word(word)
    merges.add("'", "s")
    for word in words.joined():
        merges.add(_characters()[ord(" ")], "".join(spelled(word)))
    return [*CONTROLS, *merges.tokens], list(merges.rank)


def tokenizer() -> Tokenizer:
    """The same tokenizer for training, by the library `tokenizers`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # for training only

    tokens, merges = build()
    made = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROLS])
    return made
