"""Texts made on the spot: the same for the same name, in plausible sentences of varied length, and questions that one paragraph answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from suite.knowledge.evaluate import squad


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words("old quiet northern broken green narrow public modern small famous hidden early wooden heavy rare private wide southern empty "
                     "careful distant silver local simple cold deep royal annual steady")
_NOUNS = _words("archive bridge harbour ledger museum river garden station tower library market letter engine school valley painting observatory "
                "island festival canal theatre road village collection survey map lighthouse orchard council workshop manuscript hospital railway")
_DEEDS = _words("described repaired measured visited sold restored opened closed painted moved protected financed recorded abandoned rebuilt studied "
                "inherited extended photographed catalogued")
_REASONS = ("because the water rose every spring", "although nobody had asked for it", "while the price of grain was falling",
            "so that the work could go on", "after two winters without snow", "before the new law came into force",
            "which surprised most of the neighbours", "as the oldest records show", "when the last owner died", "until the money ran out")
_PERIODS = ("During the following years,", "According to the report,", "In the same week,", "For a long time,", "At first,", "Later,",
            "As a result,", "In spite of the weather,", "Every autumn,", "By then,")
_ONSETS, _VOWELS, _ENDS = _words("b d f g h k l m n p r s t v br dr gr kr st tr"), _words("a e i o u"), _words("l n r s t m ck nd rn")
_PLACE_ENDS = ("ford", "holm", "wick", "stead", "mouth", "dale")

_KO_NOUNS = _words("기록관 다리 항구 박물관 정원 등대 도서관 시장 편지 학교 골짜기 그림 천문대 섬 축제 운하 극장 마을 지도 과수원 의회 병원 철도 숲")
_KO_DEEDS = _words("고쳤다 세웠다 방문했다 팔았다 복원했다 열었다 닫았다 옮겼다 보호했다 기록했다 연구했다 넓혔다 그렸다 조사했다")
_KO_REASONS = ("봄마다 물이 불어났기 때문에", "아무도 부탁하지 않았지만", "곡식 값이 떨어지는 동안", "일을 계속할 수 있도록",
               "눈이 오지 않은 두 해 뒤에", "새 법이 시행되기 전에")
_KO_FAMILY, _KO_GIVEN = _words("김 이 박 최 정 강 조 윤 장 임"), _words("민 서 지 현 수 영 준 하 은 호 진 아 도 연 우")


@dataclass(frozen=True)
class Asked:
    """A question, and the number of the paragraph that answers it."""

    text: str
    place: int


class Writer:
    """Writes in `language` (en or ko), always the same for the same `name`."""

    def __init__(self, name: str, language: str = "en") -> None:
        self._chance = random.Random(f"{language} {name}")
        self._sentence = {"en": self._english, "ko": self._korean}[language]

    def document(self, characters: int) -> str:
        """Paragraphs of together about so many characters."""
        parts: list[str] = []
        while characters > 0:
            parts.append(self.paragraph())
            characters -= len(parts[-1]) + 2
        return "\n\n".join(parts) + "\n"

    def paragraph(self) -> str:
        """Three to nine sentences."""
        return " ".join(self._sentence() for _ in range(self._chance.randint(3, 9)))

    def answered(self, count: int) -> tuple[list[str], list[Asked]]:
        """So many English paragraphs, each of a place of its own with two facts in it, and a question for each fact."""
        pick, paragraphs, asked = self._chance.choice, [], []
        for place in range(count):
            where, who, year, what = self._place(), self._person(), self._chance.randint(1500, 1999), pick(_NOUNS)
            facts = [(f"The {what} of {where} was founded in {year}.", f"When was the {what} of {where} founded?"),
                     (f"{who} kept {self._thing()} in {where} for most of a life.", f"Who kept something in {where}?")]
            sentences = [self._sentence() for _ in range(self._chance.randint(2, 6))]
            for fact, question in facts:
                sentences.insert(self._chance.randint(0, len(sentences)), fact)
                asked.append(Asked(question, place))
            paragraphs.append(" ".join(sentences))
        return paragraphs, asked

    def _english(self) -> str:
        chance = self._chance
        parts = [chance.choice(_PERIODS)] if chance.random() < 0.3 else []
        parts += [self._person() if chance.random() < 0.5 else self._thing(), chance.choice(_DEEDS), self._thing()]
        if chance.random() < 0.5:
            parts.append(f"of {self._place()}")
        if chance.random() < 0.4:
            parts.append(f"in {chance.randint(1500, 1999)}")
        if chance.random() < 0.4:
            parts.append(f"with {chance.randint(2, 90)} others, and {self._person()} was not among them")
        if chance.random() < 0.5:
            parts.append(chance.choice(_REASONS))
        text = " ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def _korean(self) -> str:
        chance = self._chance
        who, what = chance.choice(_KO_FAMILY) + chance.choice(_KO_GIVEN) + chance.choice(_KO_GIVEN), chance.choice(_KO_NOUNS)
        where = chance.choice(_KO_GIVEN) + chance.choice(_KO_GIVEN) + chance.choice("동읍면시군")
        parts = [particle(who, "은", "는"), f"{chance.randint(1500, 1999)}년에"] if chance.random() < 0.5 else [particle(who, "이", "가")]
        if chance.random() < 0.5:
            parts.append(chance.choice(_KO_REASONS))
        if chance.random() < 0.4:
            parts.append(f"사람 {chance.randint(2, 90)}명과 함께")
        return " ".join([*parts, f"{where}의", particle(what, "을", "를"), chance.choice(_KO_DEEDS)]) + "."

    def _thing(self) -> str:
        chance = self._chance
        return f"the {chance.choice(_ADJECTIVES) + ' ' if chance.random() < 0.7 else ''}{chance.choice(_NOUNS)}"

    def _person(self) -> str:
        return f"{self._name()} {self._name()}"

    def _place(self) -> str:
        return self._name() + self._chance.choice(_PLACE_ENDS)

    def _name(self) -> str:
        chance = self._chance
        syllables = [chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(chance.randint(1, 2))]
        return ("".join(syllables) + chance.choice(_ENDS)).capitalize()


def particle(word: str, closed: str, open_: str) -> str:
    """The Korean word with that one of two particles which fits its last sound: `closed` after a consonant."""
    return word + (closed if (ord(word[-1]) - ord("가")) % 28 else open_)


def fill(folder: Path, name: str, size: int, language: str = "en", korean_every: int = 0) -> int:
    """Write text files of 5 to 100 KB and together about `size` bytes into a new folder; give how many bytes they have.

    Every `korean_every`-th file is Korean whatever the language, none when 0.
    """
    folder.mkdir(parents=True)
    sizes = random.Random(name)
    written = number = 0
    while written < size:
        number += 1
        own = "ko" if korean_every and number % korean_every == 0 else language
        most = min(size - written, sizes.randint(5_000, 100_000))
        data = Writer(f"{name} {number}", own).document(most // (1 if own == "en" else 2)).encode()  # a Korean character has 2.3 bytes on average
        (folder / f"{number:05}.txt").write_bytes(data)
        written += len(data)
    return written


def paragraph_files(file: Path, folder: Path) -> list[tuple[str, str]]:
    """Write the paragraphs of a file in SQuAD's format into a folder, a file each; give its questions with the name of the file that answers each.

    No two such files with names of their own give files of the same name. Raises BadRequest as `squad` does.
    """
    paragraphs, questions = squad(file)
    folder.mkdir(parents=True, exist_ok=True)
    for number, paragraph in enumerate(paragraphs):
        (folder / f"{file.stem}-{number:06}.txt").write_text(paragraph, encoding="utf-8")
    return [(text, f"{file.stem}-{place:06}.txt") for text, place in questions]


def vocabulary(count: int) -> Iterator[str]:
    """So many different made-up words of small letters, short ones first."""
    seen: set[str] = set()
    chance = random.Random("vocabulary")
    while len(seen) < count:
        syllables = 1 + len(seen) * 3 // count + chance.randint(0, 1)
        word = "".join(chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(syllables)) + chance.choice(_ENDS)
        if word not in seen:
            seen.add(word)
            yield word
