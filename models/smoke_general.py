"""General messages for the smoke model: small talk, loose words, noise, code, numbers and other languages, none of which has passages."""

from __future__ import annotations

import random

import smoke_words as words

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = [bytes((high, low)).decode("euc_kr") for high in range(0xB0, 0xC9) for low in range(0xA1, 0xFF)]


class Chatter:
    """Draws messages from a given source of randomness."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def message(self) -> tuple[str, str]:
        """The language that the reply has to be in, and the text."""
        kinds = (self._known, self._prose, self._prose, self._asking, self._noise, self._code, self._numbers, self._foreign)
        made = [self.random.choice(kinds)() for _ in range(self.random.choice((1, 1, 1, 1, 2, 2, 4)))]
        text = self.random.choice((" ", " ", "\n")).join(made).strip() or "hello"
        return ("ko" if any("가" <= character <= "힣" for character in text) else "en"), text

    def _language(self) -> str:
        return self.random.choice(("ko", "en"))

    def _words(self, language: str, most: int) -> list[str]:
        pool = words.PROSE[language]
        return [self.random.choice(pool) if self.random.random() < 0.8 else self._word(language) for _ in range(self.random.randint(1, most))]

    def _word(self, language: str) -> str:
        if language == "ko":
            return "".join(self.random.choice(SYLLABLES) for _ in range(self.random.randint(1, 4)))
        return "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(1, 10)))

    def _known(self) -> str:
        return self.random.choice(words.CHAT[self._language()])

    def _prose(self) -> str:
        language = self._language()
        made = self._words(language, self.random.choice((4, 10, 10, 40)))
        if self.random.random() < 0.5 and language == "en":
            made[0] = made[0].capitalize()
        for at in range(len(made) - 1):
            if self.random.random() < 0.08:
                made[at] += self.random.choice((".", ",", ":", "!", "?"))
        return " ".join(made) + self.random.choice(("", ".", "?", "!", "..."))

    def _asking(self) -> str:
        """A question like those about passages, but without any."""
        language = self._language()
        attribute = self.random.choice(self.random.choice(list(words.ATTRIBUTES[language].values())))
        template = self.random.choice(words.QUESTIONS[language])
        for form in ("{은}", "{이}", "{을}"):
            template = template.replace(form, {"{은}": "는", "{이}": "가", "{을}": "를"}[form])
        return template.replace("{e}", " ".join(self._words(language, 2))).replace("{a}", attribute)

    def _noise(self) -> str:
        marks = LETTERS + LETTERS.upper() + "0123456789 .,;:!?-_/\\()[]{}<>|@#$%^&*+=~`'\"" + "  "
        return "".join(self.random.choice(marks) for _ in range(self.random.choice((3, 10, 40, 80))))

    def _code(self) -> str:
        name, other, number = self._word("en"), self._word("en"), self.random.randint(0, 999)
        line = (f"def {name}({other}):\n    return {other} + {number}", f"for {name} in range({number}):\n    print({name})",
                f"import {name}\n\n{name}.{other}()",
                f'{{"{name}": {number}, "{other}": [1, 2]}}', f"SELECT {name} FROM {other} WHERE id = {number};", f"$ {name} --{other} {number}",
                f"https://{name}.com/{other}?q={number}", f"if {name} == {number}: {other} = None",
                f"class {name.capitalize()}:\n    pass",
                f"const {name} = ({other}) => {number};", f"<{name}>{other}</{name}>", f"{name}@{other}.org",
                f"#include <{name}.h>\nint main() {{ return {number}; }}")
        return self.random.choice(line)

    def _numbers(self) -> str:
        one, two = self.random.randint(0, 9999), self.random.randint(0, 99)
        return self.random.choice((f"{one} {self.random.choice('+-*/')} {two} = ?", f"{one}",
                                   f"{one}, {two}, {one + two}", f"{one} + {two}", f"{one}*{two}?",
                                   f"{one}-{two:02d}-{two}", f"{two}:{one}", f"{one / 100}%", f"1. {two}\n2. {one}\n3. {two}"))

    def _foreign(self) -> str:
        made = [self.random.choice(words.FOREIGN) for _ in range(self.random.randint(1, 8))]
        if self.random.random() < 0.4:
            made += [chr(self.random.choice((self.random.randint(0xC0, 0x24F), self.random.randint(0x400, 0x4FF), self.random.randint(0x3041, 0x30FF),
                                             self.random.randint(0x4E00, 0x9FFF)))) for _ in range(self.random.randint(1, 6))]
        return " ".join(made) + self.random.choice(("", "?", "!", "."))
