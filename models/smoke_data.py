"""Generates the text that the smoke model learns from and is measured on: invented facts, questions, and general requests.

Names and values are split by a hash of their spelling: `Maker(seed)` draws only from nine tenths of them, `Maker(seed, unseen=True)` only from the
rest, so a measured case has names and values that no training text contained. Needs nothing but the standard library.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import smoke_words as words
from smoke_general import Chatter

ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z")
CODAS = ("n", "r", "l", "s", "t", "m", "k")
SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송류홍전고문양손배백허남심노하곽성차주우구민유"
    "나진지엄채원천방공현함변염여추도소석선설마길연위표명기반라왕금옥육인맹제모"
)
GIVEN = "민준서연지우현수영은혜정진희상태경호성재동승원철미나리아소윤하유빈채예린도건시훈규찬혁주환석란옥숙순자"
SYLLABLES = [bytes((high, low)).decode("euc_kr") for high in range(0xB0, 0xC9) for low in range(0xA1, 0xFF)]  # the 2,350 of KS X 1001
JOINED = frozenset(words.joined())
USUAL = {language: [each for each in made if each.index("{v}") > each.index("{a}")] for language, made in words.FACTS.items()}
UNUSUAL = {language: [each for each in made if each.index("{v}") < each.index("{a}")] for language, made in words.FACTS.items()}
NO_FINAL, RIEUL = frozenset("2459aeiouyAEIOUYwh"), frozenset("178lLrR")


@dataclass(frozen=True)
class Fact:
    """One statement: the value that an entity has for an attribute."""

    entity: str
    attribute: str
    value: str
    kind: str


@dataclass(frozen=True)
class Case:
    """Passages and what is asked about them: a user's message is `head` + a question of `asked`, whose second half is the right answer.

    `facts` is the number of facts in the passages, 0 for a general message; `refused` marks the questions that the passages do not answer.
    """

    language: str
    head: str
    asked: tuple[tuple[str, str], ...]
    facts: int
    refused: tuple[bool, ...]
    history: tuple[tuple[str, str], ...] = field(default=())
    frame: tuple[str, str] = ("<|user|>", "<|end|><|assistant|>")  # control words before `head` and after each question


def particle(before: str, kind: str) -> str:
    """The form of a Korean particle after the text `before`."""
    last = before[-1]
    if "가" <= last <= "힣":
        final = (ord(last) - 0xAC00) % 28
        closed, rieul = final != 0, final == 8
    else:
        closed, rieul = last not in NO_FINAL, last in RIEUL
    forms = {"은": "은는", "이": "이가", "을": "을를"}
    if kind == "로":
        return "로" if not closed or rieul else "으로"
    return forms[kind][0 if closed else 1]


class Maker:
    """Draws cases from one of the two halves of all names and values; in a share `alike` of them only the entities tell the facts apart."""

    def __init__(self, seed: int, unseen: bool = False, alike: float = 0.0) -> None:
        self.random, self.unseen, self.alike = random.Random(seed), unseen, alike
        self.chatter = Chatter(self.random)

    def case(self, facts: int = 4, wide: float = 1.0, language: str = "", form: str = "") -> Case:
        """A context of `facts` facts and questions about it. `wide` from 0 to 1 mixes in what is hard: long names, filler, near misses."""
        language = language or self.random.choice(("ko", "en"))
        known = self._facts(language, facts, wide)
        head, wrap = self._head(language, known, wide, form)
        asked = [(self._question(language, fact, wide), fact.value, False) for fact in self._picked(known)]
        for _ in range(max(1, round(len(asked) * self.random.choice((0.2, 0.35, 0.5)))) if wide > 0.05 else 0):
            fact = self._unanswered(language, known, wide)
            asked.append((self._question(language, fact, wide), words.NOTHING[language], True))
        self.random.shuffle(asked)
        return Case(language, head, tuple((wrap(question), answer) for question, answer, _ in asked), len(known), tuple(no for *_, no in asked))

    def general(self) -> Case:
        """A message without passages; the answer says what the smoke model is."""
        language, text = self.chatter.message()
        return Case(language, "", ((text, words.GENERAL[language]),), 0, (False,))

    def later(self, wide: float = 1.0) -> Case:
        """A case that follows other turns of the same conversation."""
        case = self.case(self.random.randint(1, 3), wide)
        turns = []
        for _ in range(self.random.randint(1, 2)):
            before = self.general() if self.random.random() < 0.5 else self.case(self.random.randint(1, 2), wide)
            question, answer = before.asked[0]
            turns.append((before.head + question, answer))
        return Case(case.language, case.head, case.asked, case.facts, case.refused, tuple(turns))

    def infill(self) -> Case:
        """A line of code with a hole, in the order prefix, suffix, middle."""
        one, two, number = self._latin().lower(), self._latin().lower(), self.random.randint(0, 99)
        line = self.random.choice((f"def {one}({two}):\n    return {two} + {number}\n", f"{one} = {number}\nprint({one})\n",
                                   f"for {one} in {two}:\n    print({one})\n",
                                   f"import {one}\n{one}.{two}({number})\n", f"if {one} > {number}:\n    {two} = {one}\n"))
        words_at = [match.span() for match in re.finditer(r"\w+", line)]
        start, end = self.random.choice(words_at[2:])
        holed = f"{line[:start]}<|fim_suffix|>{line[end:]}"
        return Case("en", holed, (("", line[start:end]),), 0, (False,), frame=("<|fim_prefix|>", "<|fim_middle|>"))

    # ---- names and values

    def _drawn(self, make: Callable[[], str]) -> str:
        """What `make` gives, drawn again until it belongs to this maker's half."""
        while True:
            text = make()
            if (zlib.crc32(text.encode()) % 10 == 0) == self.unseen and not any(text[:size] in JOINED for size in range(1, 12)):
                return text

    def name(self, language: str) -> str:
        """An invented name of one word."""
        return self._drawn(self._hangul if language == "ko" else self._latin)

    def _hangul(self) -> str:
        pool = SYLLABLES if self.random.random() < 0.7 else GIVEN
        return "".join(self.random.choice(pool) for _ in range(self.random.choice((2, 2, 3, 3, 4))))

    def _latin(self) -> str:
        parts = []
        for _ in range(self.random.choice((2, 2, 2, 3))):
            coda = self.random.choice(CODAS) if self.random.random() < 0.25 else ""
            parts.append(self.random.choice(ONSETS) + self.random.choice("aeiou") + coda)
        if self.random.random() < 0.1:
            parts[0] = parts[0][1:] if len(parts[0]) > 2 else self.random.choice("aeiou")
        text = "".join(parts)
        return text if self.random.random() < 0.15 else text.capitalize()

    def person(self, language: str) -> str:
        """An invented person's name."""
        if language == "ko" and self.random.random() < 0.8:
            pool = GIVEN if self.random.random() < 0.6 else SYLLABLES
            return self._drawn(lambda: self.random.choice(SURNAMES) + self.random.choice(pool) + self.random.choice(pool))
        name = self._drawn(self._latin).capitalize()
        return f"{name} {self._drawn(self._latin).capitalize()}" if self.random.random() < 0.4 else name

    def entity(self, language: str, wide: float) -> str:
        """What a fact is about: a name, sometimes with a noun or a number."""
        draw = self.random.random()
        other = "en" if language == "ko" else "ko"
        name = self.name(language if draw > 0.08 * wide else other)
        draw = self.random.random()
        if draw > 0.93 and not self.unseen:
            return self.random.choice(words.NOUNS[language])
        if draw < 0.3 * wide:
            return f"{name} {self.random.choice(words.NOUNS[language])}"
        if draw < 0.37 * wide:
            return f"{name}-{self.random.randint(1, 99)}"
        return f"{name} {self.name(language)}" if draw < 0.42 * wide else name

    def value(self, language: str, kind: str) -> str:
        """A value of one kind, such as `time` or `person`."""
        if kind == "person":
            return self.person(language)
        if kind == "place":
            return self.name(language)
        if kind == "word" and self.random.random() < 0.5:
            return self.random.choice(words.WORDS[language])
        return self._drawn(lambda: self._written(language, kind))

    def _written(self, language: str, kind: str) -> str:
        pick, roll = self.random.choice, self.random.randint
        if kind == "number":
            size = roll(1, 6)
            number = roll(10 ** (size - 1), 10**size - 1)
            return pick((f"{number}", f"{number}", f"{number}", f"{number:,}", f"{number / 10:.1f}", f"{pick('ABCDEFGHKLMNPQRSTUVWXYZ')}-{number}"))
        if kind == "time":
            if self.random.random() < 0.7:
                return f"{roll(0, 23):02d}:{roll(0, 59):02d}"
            hour, half = roll(1, 12), roll(0, 1)
            if language == "en":
                return f"{hour}:{roll(0, 59):02d} {('am', 'pm')[half]}"
            return f"{('오전', '오후')[half]} {hour}시" + pick(("", f" {roll(1, 59)}분"))
        if kind == "date":
            year, month, day = roll(1990, 2039), roll(1, 12), roll(1, 28)
            if self.random.random() < 0.6:
                return f"{year}-{month:02d}-{day:02d}"
            return pick((f"{month}월 {day}일", f"{year}년 {month}월")) if language == "ko" else f"{pick(words.MONTHS)} {day}"
        if kind == "version":
            return ".".join(str(roll(0, 30)) for _ in range(pick((2, 3, 3))))
        if kind == "percent":
            return pick((f"{roll(1, 99)}%", f"{roll(0, 99)}.{roll(1, 9)}%"))
        if kind == "amount":
            unit = pick(words.UNITS[language])
            gap = "" if "가" <= unit[0] <= "힣" else " "
            return f"{roll(1, 999)}{gap}{unit}"
        return pick((f"{self._latin().lower()}-{roll(10, 99)}", self._latin().lower(), self._hangul() if language == "ko" else self._latin().lower()))

    # ---- facts

    def _attribute(self, language: str, wide: float) -> tuple[str, str]:
        kind = self.random.choice(list(words.ATTRIBUTES[language]))
        attribute = self.random.choice(words.ATTRIBUTES[language][kind])
        if self.random.random() < 0.04 * wide:  # an attribute that nobody has heard of
            attribute = self.name(language).lower()
        return attribute, self.random.choice(list(words.ATTRIBUTES[language])) if self.random.random() < 0.25 else kind

    def _twin(self, language: str, entity: str) -> str:
        """An entity that is easily mistaken for the given one."""
        first, *rest = entity.split(" ")
        if rest and self.random.random() < 0.4:
            return f"{first} {self.random.choice(words.NOUNS[language])}"
        hangul = "가" <= first[0] <= "힣"
        fresh = self.name("ko" if hangul else "en")
        cut = 1 if hangul else 2
        mixed = first[:cut] + fresh[cut:] if self.random.random() < 0.5 else fresh[:cut] + first[cut:]
        if len(mixed) < 2 or (zlib.crc32(mixed.encode()) % 10 == 0) != self.unseen or any(mixed[:size] in JOINED for size in range(1, 12)):
            mixed = fresh
        return " ".join([mixed, *rest])

    def _facts(self, language: str, count: int, wide: float) -> list[Fact]:
        entities = [self.entity(language, wide)]
        attributes = [self._attribute(language, wide) for _ in range(max(1, round(count * self.random.choice((0.4, 0.7, 1.0)))))]
        alike = self.random.random() < self.alike
        if alike:
            del attributes[1:]
        for _ in range(count - 1 if alike else self.random.randint(0, count - 1)):
            entities.append(self._twin(language, entities[-1]) if self.random.random() < 0.25 * wide else self.entity(language, wide))
        known: dict[tuple[str, str], Fact] = {}
        used: set[str] = set()
        while len(known) < count:
            entity, (attribute, kind) = self.random.choice(entities), self.random.choice(attributes)
            value = self.value(language, kind)
            if (entity, attribute) in known or value in used or value in entities:
                attributes.append(self._attribute(language, wide))  # so that it ends
                continue
            used.add(value)
            known[entity, attribute] = Fact(entity, attribute, value, kind)
        return list(known.values())

    def _picked(self, known: list[Fact]) -> list[Fact]:
        """The facts to ask about: all of them when they are few, one of them twice."""
        chosen = self.random.sample(known, min(len(known), 6))
        return [*chosen, self.random.choice(chosen)] if len(chosen) < 5 else chosen

    def _unanswered(self, language: str, known: list[Fact], wide: float) -> Fact:
        """A fact that the passages do not hold; most are near to one that they do."""
        stated = {(fact.entity, fact.attribute) for fact in known}
        while True:
            fact, other, draw = self.random.choice(known), self.random.choice(known), self.random.random()
            entity, attribute, kind = fact.entity, other.attribute, other.kind
            if draw < 0.4:
                attribute, kind = self._attribute(language, wide)
            elif draw < 0.55:
                entity = self._twin(language, entity)
            elif draw < 0.8:
                entity = self.entity(language, wide)
            elif draw < 0.85:
                entity, (attribute, kind) = self.entity(language, wide), self._attribute(language, wide)
            near = any((attribute == two and entity in one) or (entity == one and (attribute in two or two in attribute)) for one, two in stated)
            if not near:
                return Fact(entity, attribute, "", kind)

    # ---- sentences

    def _fill(self, template: str, language: str, fact: Fact) -> str:
        entity = fact.entity
        if language == "en" and entity.split(" ")[-1] in words.NOUNS["en"] and self.random.random() < 0.8:
            template = re.sub(r"\b(of|for|For|At) \{e\}", r"\1 the {e}", template)
        text = template.replace("{e}", entity).replace("{a}", fact.attribute).replace("{v}", fact.value)
        while match := re.search(r"\{(은|이|을|로|이다)\}", text):
            form = self.random.choice(("입니다", "입니다", "입니다", "이다")) if match[1] == "이다" else particle(text[: match.start()], match[1])
            text = text[: match.start()] + form + text[match.end():]
        return text[0].upper() + text[1:] if template.startswith("{a}") and language == "en" else text

    def _question(self, language: str, fact: Fact, wide: float) -> str:
        own = words.ASKING[language].get(fact.kind, ())
        listed = next((kind for kind, names in words.ATTRIBUTES[language].items() if fact.attribute in names), "")
        if own and listed == fact.kind and self.random.random() < 0.35:
            return self._fill(self.random.choice(own), language, fact)
        templates = words.QUESTIONS[language]
        return self._fill(self.random.choice(templates if self.random.random() < wide + 0.2 else templates[:3]), language, fact)

    def _sentences(self, language: str, known: list[Fact], wide: float) -> list[str]:
        order = list(known)
        self.random.shuffle(order)
        grouped = self.random.random() < 0.5
        if grouped:
            order.sort(key=lambda fact: [one.entity for one in known].index(fact.entity))
        templates = USUAL[language] if self.random.random() < wide + 0.1 else USUAL[language][:4]
        single = self.random.choice(templates) if self.random.random() < 0.3 else ""
        made: list[str] = []
        for at, fact in enumerate(order):
            follows = grouped and at and order[at - 1].entity == fact.entity and self.random.random() < 0.25 * wide
            if follows:
                template = self.random.choice(words.SHARED[language])
            elif self.random.random() < 0.06 * wide:  # the value comes before what it is the value of: harder to read for so small a model
                template = self.random.choice(UNUSUAL[language])
            else:
                template = single or self.random.choice(templates)
            sentence = self._fill(template, language, fact)
            if follows:
                made[-1] += " " + sentence
            else:
                made.append(sentence)
        if self.random.random() < 0.35 * wide:
            for _ in range(self.random.randint(1, 3)):
                made.insert(self.random.randint(0, len(made)), self.random.choice(words.FILLER[language]))
        return made

    def _head(self, language: str, known: list[Fact], wide: float, form: str) -> tuple[str, Callable[[str], str]]:
        """The text before the question, and what is to be put around the question."""
        sentences = self._sentences(language, known, wide)
        joint = self.random.choice((" ", " ", " ", "\n"))
        if (form or ("plain" if self.random.random() > 0.25 + 0.3 * wide else "passages")) == "plain":
            return joint.join(sentences) + "\n\n", str
        cuts = sorted(self.random.sample(range(1, len(sentences)), self.random.randint(0, len(sentences) - 1)) if self.random.random() < 0.6 else [])
        parts = [joint.join(sentences[a:b]) for a, b in zip([0, *cuts], [*cuts, len(sentences)], strict=True)]
        if self.random.random() < 0.05:
            parts.insert(self.random.randint(0, len(parts)), self.random.choice(words.FILLER[language]))
        head = "Passages:\n" + "".join(f"[{number}] {part}\n\n" for number, part in enumerate(parts, 1))
        last = words.LAST["other"] if self.random.random() < 0.05 else words.LAST[language]
        return head, lambda question: f"Question: {question}\n{last}"
