"""From llama.cpp's grammar language (GBNF) to the one that llguidance reads; llama.cpp itself, which an invalid grammar would kill, never sees it.

The words of a text are read by regular expressions wherever the grammar allows it, since that is a hundred times faster than rules: a rule that
never comes back to itself becomes a terminal, and so does each run of such parts within the other rules. A terminal takes the longest word there
is, so a recursive grammar which leaves open where a word ends gives a part of its texts only; every text is one of the grammar's all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

DEEPEST, MOST_RULES = 100, 2000  # parentheses within parentheses; rules of a grammar
LARGEST = 50_000  # parts of a regular rule with all that it mentions written out, as llguidance does
_TOKEN = re.compile(r'(?P<blank>(?:[ \t]|#[^\r\n]*)+)|(?P<newline>\r?\n|\r)|(?P<literal>"(?:[^"\\]|\\.)*")'
                    r"|(?P<set>\[(?:[^\]\\]|\\.)*\])|(?P<name>[A-Za-z0-9_-]+)|(?P<is>::=)"
                    r"|(?P<times>[*+?]|\{\s*[0-9]{1,7}\s*(?:,\s*(?:[0-9]{1,7}\s*)?)?\})|(?P<mark>[|().])", re.DOTALL)
_CHARACTER = re.compile(r'\\x(?P<x>[0-9A-Fa-f]{2})|\\u(?P<u>[0-9A-Fa-f]{4})|\\U(?P<U>[0-9A-Fa-f]{8})'
                        r'|\\(?P<one>[trn\\"\[\]])|(?P<plain>[^\\])', re.DOTALL)
_SHORT = {"t": "\t", "r": "\r", "n": "\n"}


class GbnfError(ValueError):
    """A grammar that cannot be read; the text says where and why."""


@dataclass
class _Part:
    """A node: kind word (`text` is ready for llguidance), rule (`text` is its name), row, choice or times (`text` is the sign)."""

    kind: str
    text: str = ""
    parts: tuple[_Part, ...] = ()

    def rules(self) -> Iterator[str]:
        """The names of the rules it mentions."""
        if self.kind == "rule":
            yield self.text
        for part in self.parts:
            yield from part.rules()


def to_lark(source: str) -> str:
    """The grammar in llguidance's words, without its header; begins at the rule `root`. Raises GbnfError."""
    return _Writer(_Reader(source).rules()).lark()


class _Reader:
    """Reads the text of a grammar into rules."""

    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        self._at, at = 0, 0
        while at < len(source):
            match = _TOKEN.match(source, at)
            line = source.count("\n", 0, at) + 1 if match is None else 0
            if match is None:
                raise GbnfError(f"line {line}: {source[at:at + 20]!r} is no part of a grammar")
            if match.lastgroup != "blank":
                self._tokens.append((match.lastgroup or "", match.group(), at))
            at = match.end()
        self._source = source
        self._tokens.append(("end", "the end", len(source)))

    def rules(self) -> dict[str, _Part]:
        """Every rule by its name."""
        found: dict[str, _Part] = {}
        self._newlines()
        while self._kind() != "end":
            name = self._take("name", "the name of a rule")
            self._take("is", "'::='")
            self._newlines()
            if name in found:
                raise GbnfError(f"the rule {name} is there twice")
            found[name] = self._choice(0)
            if self._kind() not in ("newline", "end"):
                self._wrong("the end of the line")
            self._newlines()
        return found

    def _choice(self, depth: int) -> _Part:
        if depth > DEEPEST:
            self._wrong(f"at most {DEEPEST} parentheses within each other")
        rows = [self._row(depth)]
        while self._bar(depth):
            rows.append(self._row(depth))
        return rows[0] if len(rows) == 1 else _Part("choice", parts=tuple(rows))

    def _bar(self, depth: int) -> bool:
        here = self._at
        self._newlines()
        if self._tokens[self._at][1] == "|":
            self._at += 1
            self._newlines()
            return True
        if not depth:
            self._at = here  # the end of the line ends the rule
        return False

    def _row(self, depth: int) -> _Part:
        parts: list[_Part] = []
        while True:
            if depth:
                self._newlines()
            kind, text, _ = self._tokens[self._at]
            if kind == "times":
                if not parts:
                    self._wrong("something to repeat")
                least, _, most = (number.strip() for number in text.strip("{}").partition(","))
                if most and int(most) < int(least):
                    self._wrong("a range that does not end before it begins")
                parts[-1] = _Part("times", re.sub(r"\s", "", text), (parts[-1],))
            elif kind == "literal":
                parts += _literal(text)
            elif kind == "set":
                parts.append(_Part("word", _set(text)))
            elif kind == "name":
                parts.append(_Part("rule", text))
            elif text == ".":
                parts.append(_Part("word", "/(?s:.)/"))
            elif text == "(":
                self._at += 1
                parts.append(self._choice(depth + 1))
                if self._tokens[self._at][1] != ")":
                    self._wrong("')'")
            else:
                return _Part("row", parts=tuple(parts))
            self._at += 1

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _newlines(self) -> None:
        while self._kind() == "newline":
            self._at += 1

    def _take(self, kind: str, wanted: str) -> str:
        if self._kind() != kind:
            self._wrong(wanted)
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _wrong(self, wanted: str) -> None:
        _, text, at = self._tokens[self._at]
        raise GbnfError(f"line {self._source.count(chr(10), 0, at) + 1}: {wanted} should stand where {text[:20]!r} is")


class _Writer:
    """Writes rules for llguidance: `A…` are terminals (regular expressions), `a…` are rules."""

    def __init__(self, rules: dict[str, _Part]) -> None:
        if "root" not in rules:
            raise GbnfError("there is no rule named root")
        if len(rules) > MOST_RULES:
            raise GbnfError(f"there are {len(rules)} rules, and at most {MOST_RULES} can be used")
        self._rules, self._lines, self._made = rules, [], 0
        self._numbers = {name: number for number, name in enumerate(rules)}
        for name, part in rules.items():
            for other in part.rules():
                if other not in rules:
                    raise GbnfError(f"the rule {other}, which {name} uses, is not defined")
        ending = self._settled(lambda name, known: self._may(self._rules[name], known, all_of_choice=False))
        for name in rules:
            if name not in ending:
                raise GbnfError(f"the rule {name} can never end")
        self._sizes: dict[str, int] = {}
        self._plain = self._settled(self._regular)

    def lark(self) -> str:
        """All lines."""
        self._lines.append(f"start: {self._name('root')}")
        for name, part in self._rules.items():
            self._lines.append(f"{self._name(name)}: {self._text(part, inside=name in self._plain)}")
        return "\n".join(self._lines) + "\n"

    def _settled(self, test: Callable[[str, set[str]], bool]) -> set[str]:
        """The rules for which `test(name, rules known to pass)` holds, found by going round until nothing changes."""
        users: dict[str, set[str]] = {name: set() for name in self._rules}
        for name, part in self._rules.items():
            for other in part.rules():
                users[other].add(name)
        known: set[str] = set()
        waiting = list(self._rules)
        while waiting:
            name = waiting.pop()
            if name not in known and test(name, known):
                known.add(name)
                waiting += users[name]
        return known

    def _regular(self, name: str, known: set[str]) -> bool:
        """Whether a rule needs no rules but regular ones, whose size is noted then."""
        if not self._may(self._rules[name], known, all_of_choice=True):
            return False
        self._sizes[name] = self._size(self._rules[name])
        if self._sizes[name] > LARGEST:
            raise GbnfError(f"the rule {name} has more than {LARGEST:,} parts with what it mentions written out")
        return True

    def _size(self, part: _Part) -> int:
        return self._sizes[part.text] if part.kind == "rule" else 1 + sum(map(self._size, part.parts))

    def _may(self, part: _Part, known: set[str], all_of_choice: bool) -> bool:
        if part.kind == "rule":
            return part.text in known
        if part.kind == "times" and not all_of_choice and re.match(r"[*?]|\{0", part.text):
            return True
        passed = (self._may(each, known, all_of_choice) for each in part.parts)
        return any(passed) if part.kind == "choice" and not all_of_choice else all(passed)

    def _name(self, name: str) -> str:
        return f"{'A' if name in self._plain else 'a'}{self._numbers[name]}"

    def _text(self, part: _Part, inside: bool) -> str:
        """The part as text; `inside` a terminal everything is written out, elsewhere what is regular moves to a terminal of its own."""
        if not inside and part.kind != "rule" and self._may(part, self._plain, all_of_choice=True):
            return self._terminal(part)
        if part.kind == "rule":
            return self._name(part.text)
        if part.kind == "times":
            return f"({self._text(part.parts[0], inside)}){part.text}"
        if part.kind == "choice":
            return "(" + " | ".join(self._text(each, inside) for each in part.parts) + ")"
        if part.kind == "word":
            return part.text
        return " ".join(self._runs(part.parts) if not inside else (self._text(each, inside) for each in part.parts)) or '""'

    def _runs(self, parts: tuple[_Part, ...]) -> Iterator[str]:
        run: list[_Part] = []
        for part in parts:
            if self._may(part, self._plain, all_of_choice=True):
                run.append(part)
                continue
            if run:
                yield self._terminal(_Part("row", parts=tuple(run)))
                run = []
            yield self._text(part, inside=False)
        if run:
            yield self._terminal(_Part("row", parts=tuple(run)))

    def _terminal(self, part: _Part) -> str:
        self._made += 1
        self._lines.append(f"B{self._made}: {self._text(part, inside=True)}")
        return f"B{self._made}"


def _characters(text: str, where: str) -> list[tuple[str, bool]]:
    """Each character and whether it was written with a backslash."""
    found, at = [], 0
    while at < len(text):
        match = _CHARACTER.match(text, at)
        if match is None:
            raise GbnfError(f"{where[:40]} has an unknown escape {text[at:at + 2]!r}")
        kind, value = match.lastgroup or "", match.group(match.lastgroup or 0)
        if kind in "xuU":
            code = int(value, 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise GbnfError(f"{where[:40]} has {match.group()}, which is no character")
            value = chr(code)
        elif 0xD800 <= ord(value[-1]) <= 0xDFFF:
            raise GbnfError(f"{where[:40]!r} has half a character")
        found.append((_SHORT.get(value, value) if kind == "one" else value, kind != "plain"))
        at = match.end()
    return found


def _literal(text: str) -> list[_Part]:
    said = "".join(character for character, _ in _characters(text[1:-1], text))
    return [_Part("word", "/" + "".join(f"\\x{{{ord(character):X}}}" for character in said) + "/")] if said else [_Part("row")]


def _set(text: str) -> str:
    inner = text[1:-1]
    negated = inner.startswith("^")
    characters, ranges, at = _characters(inner[negated:], text), "", 0
    while at < len(characters):
        low = high = ord(characters[at][0])
        if at + 2 < len(characters) and characters[at + 1] == ("-", False):
            high, at = ord(characters[at + 2][0]), at + 2
        if high < low:
            raise GbnfError(f"{text[:40]} has a range that ends before it begins")
        ranges += f"\\x{{{low:X}}}-\\x{{{high:X}}}"
        at += 1
    if not ranges:
        raise GbnfError(f"{text} holds no character")
    return f"/[{'^' * negated}{ranges}]/"
