"""Made conversations of real words: turns in Korean and English, and questions about them.

What is assumed: how often a word is used falls with its rank as Zipf's law has it (exponent 1), which gives function words that stand in nearly every
turn, a few thousand frequent words, and a long tail of rare ones. English words are the whole words of the bundled embedder's vocabulary, which lists
them by frequency. Korean words are those of the golden documents as they stand there, by frequency, then headwords of the dictionary that Kiwi brings
(names from encyclopedias), each with a particle. A turn has 25 to 100 words, question and reply together. Half of the turns are Korean.

The Korean words of a stored turn stand one to a line: Kiwi reads each line alone, so that the search terms of a turn are those of its words, and a
million turns need not be analysed one by one. What is saved while the clock runs, and every question, is written with blanks and analysed whole.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from suite.benchmark.knowledge_texts import particle
from suite.errors import RunFailed
from suite.settings import package_file
from suite.text.korean import HANGUL
from suite.text.terms import PAIR, terms

LANGUAGES = {"en": "English", "ko": "Korean"}
HEADWORDS = 40_000  # of the Korean dictionary
LITTLE, FREQUENT = 60, 1_000  # ranks: below the first a word says little, from the second on it is rare
LENGTH = (25, 100)  # words of a turn
ASKED = (3, 8)  # content words of a question
EVERYDAY = {"en": ("what did we say about", "how was it again with", "do you remember the", "can you tell me where the"),
            "ko": ("지난번에 말한", "그때 우리가 정한", "혹시 기억하는지 궁금한데", "어떻게 하기로 했는지")}
_PARTICLES = (("은", "는"), ("이", "가"), ("을", "를"))
_PLAIN, _HEADWORD, _HANGUL = re.compile("[가-힣A-Za-z0-9]+"), re.compile("[가-힣]{2,5}"), re.compile(f"[{HANGUL}]")


@dataclass(frozen=True)
class Made:
    """A made turn: its words by rank, in `language`; `split` of them are the question."""

    language: str
    ranks: Any
    split: int


class Words:
    """The words of a language by rank, and how they are drawn."""

    def __init__(self, listed: Sequence[str]) -> None:
        self.listed = list(listed)
        frequency = 1 / np.arange(1, len(self.listed) + 1)
        self._frequent = np.cumsum(frequency / frequency.sum())

    def drawn(self, chance: Any, count: int) -> Any:
        """So many ranks, as often as each is used."""
        return np.searchsorted(self._frequent, chance.random(count)).clip(0, len(self.listed) - 1)


class Talk:
    """Writes turns and questions, the same for the same `seed`. Raises RunFailed where the word lists cannot be had."""

    def __init__(self, models_dir: Path, seed: int = 7) -> None:
        self.words = {"en": Words(english(models_dir)), "ko": Words(korean())}
        self._chance = np.random.default_rng(seed)

    def turns(self, language: str, count: int) -> list[Made]:
        """So many turns."""
        lengths = self._chance.integers(*LENGTH, count, endpoint=True)
        drawn = self.words[language].drawn(self._chance, int(lengths.sum()))
        return [Made(language, ranks, max(4, len(ranks) // 4)) for ranks in np.split(drawn, np.cumsum(lengths)[:-1])]

    def text(self, made: Made, between: str = " ") -> tuple[str, str]:
        """Question and reply; words are set apart by `between`."""
        listed = self.words[made.language].listed
        spelled = [listed[rank] for rank in made.ranks.tolist()]
        return between.join(spelled[:made.split]), between.join(spelled[made.split:])

    def stored(self, made: Made) -> tuple[str, str, list[str]]:
        """Question and reply as they are filled in, and the search terms of both together."""
        question, reply = self.text(made, "\n" if made.language == "ko" else " ")
        found = [_terms_of(word) for word in question.split() + reply.split()]
        return question, reply, [term for kind in range(3) for parts in found for term in parts[kind]]

    def question(self, made: Made) -> str:
        """A question about a turn: content words of it, half of them frequent ones where it has as many, among everyday words."""
        chance, listed = self._chance, self.words[made.language].listed
        count = int(chance.integers(*ASKED, endpoint=True))
        ranks = np.unique(made.ranks)
        frequent, rare = ranks[(ranks >= LITTLE) & (ranks < FREQUENT)], ranks[ranks >= FREQUENT]
        some = chance.permutation(frequent)[:count // 2]
        chosen = [*some, *chance.permutation(rare)[:count - len(some)]]
        everyday = EVERYDAY[made.language]
        return " ".join([everyday[int(chance.integers(len(everyday)))], *(listed[rank] for rank in chance.permutation(np.array(chosen, int)))])


def check(talk: Talk, sample: Sequence[Made]) -> None:
    """Raise RunFailed unless the search terms that were put together are those of the whole text."""
    for made in sample:
        question, reply, found = talk.stored(made)
        if found != terms(f"{question}\n{reply}"):
            raise RunFailed(f"The search terms of a made {LANGUAGES[made.language]} turn are not those of its words, so it stands for no real one.")


@lru_cache(maxsize=400_000)
def _terms_of(word: str) -> tuple[tuple[str, ...], ...]:
    """The search terms of a word: those of its letters and digits, its Korean stems, its pairs of Korean characters."""
    found = terms(word)
    pairs = tuple(term for term in found if term.startswith(PAIR))
    stems = tuple(term for term in found if _HANGUL.match(term))
    return tuple(term for term in found if not term.startswith(PAIR) and not _HANGUL.match(term)), stems, pairs


def english(models_dir: Path) -> list[str]:
    """The whole words of the bundled embedder's vocabulary, the most frequent first."""
    file = models_dir / "minilm" / "tokenizer.json"
    try:
        places: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError) as error:
        raise RunFailed(f"The English words come from {file}, which cannot be read ({type(error).__name__}); "
                        "run `suite models pull minilm`.") from error
    return [word for word in sorted(places, key=places.__getitem__) if word.isascii() and word.isalpha() and len(word) > 1]


def korean() -> list[str]:
    """The words of the golden documents by frequency, then headwords of Kiwi's dictionary with a particle, in an order that is always the same."""
    golden = Counter[str]()
    for path in sorted(package_file("runbooks/golden").rglob("*")):
        if path.suffix in (".md", ".json", ".txt", ".csv"):
            golden.update(word for word in _PLAIN.findall(path.read_text(encoding="utf-8")) if _HANGUL.search(word))
    spec = find_spec("kiwipiepy_model")
    if spec is None or spec.origin is None:
        raise RunFailed("The Korean words come from the dictionary in the package kiwipiepy_model, which is not installed.")
    lines = (Path(spec.origin).parent / "default.dict").read_text(encoding="utf-8").splitlines()
    headwords = sorted({word for word in (line.partition("\t")[0] for line in lines) if _HEADWORD.fullmatch(word)})
    order = np.random.default_rng(11).permutation(len(headwords))[:HEADWORDS]
    followed = (particle(headwords[place], *_PARTICLES[number % len(_PARTICLES)]) for number, place in enumerate(order.tolist()))
    return list(dict.fromkeys([*(word for word, _ in golden.most_common()), *followed]))
