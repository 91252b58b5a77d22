"""How important a remembered turn is, from 1 to 10, why, and how long it is kept for that.

The rules, on the words of the question and the reply (those of the original, with words counted as whole words):

    5                    to begin with
    +1, at most +3       for each lasting matter that is named: a setting, a design, a defect, a solution, an algorithm, a decision …
    −1, at most −2       for each small one: a greeting, thanks, a test, a check
    +2 / +1 / −1         for a reply of more than 2000 / more than 1000 / fewer than 100 characters
    +1                   for code in the reply
    +1                   for a reply of the code model
    +1                   for a question of more than 200 characters
    1                    whatever else holds, for a question of at most three words that only greets, thanks or tests

and then no less than 1 and no more than 9: ten, kept for ever, is only what a person says is a ten (`saved`); `important` makes it 8 at least.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HOUR, DAY = 3_600.0, 86_400.0
KEPT_DAYS: dict[int, int | None] = {1: 0, 2: 3, 3: 7, 4: 14, 5: 30, 6: 30, 7: 90, 8: 180, 9: 365, 10: None}
START, MARKED, SAVED = 5, 8, 10

_LASTING = re.compile(r"""\b(?:(config|environment|issue|problem|solution|design\ pattern|algorithm|error|bug|decision|plan|direction|architecture)s?
                              |(configuration|implementation|optimi[sz]ation)s?|(fix)(?:es|ed|ing)?|(trouble)s?|(policy|policies)|(strategy|strategies)
                              |(performance)|(security))\b""", re.I | re.X)
_SMALL = re.compile(r"\b(?:(hello|hi|okay|ok)|(test)(?:s|ed|ing)?|(check)(?:s|ed|ing)?|(thank)s?)\b", re.I)
# Korean particles are glued to the word, so a part of a word is the right test there.
_LASTING_KO = re.compile("설정|환경변수|아키텍처|설계|버그|에러|오류|문제|해결|구현|알고리즘|최적화|성능|보안|결정|정책|방향|전략|계획")
_SMALL_KO = re.compile("안녕|테스트|확인|감사|좋아|좋다|괜찮")
_CODE = re.compile(r"```|`[^`\n]+`|^\s*(?:def|class|function|import)\s+\w|^\s*from\s+\w+\s+import\b|\bSELECT\b[^;]{1,200}?\bFROM\b", re.M)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Importance:
    """A level from 1 to 10, and one phrase for each rule that made it."""

    level: int
    rules: tuple[str, ...]


def importance(question: str, reply: str, *, coder: bool = False, saved: bool = False, important: bool = False) -> Importance:
    """The importance of a turn by the rules above; `coder`: the code model wrote the reply."""
    if saved:
        return Importance(SAVED, ("saved by a person: 10",))
    both = f"{question}\n{reply}"
    lasting, small = _named(both, _LASTING, _LASTING_KO), _named(both, _SMALL, _SMALL_KO)
    length = len(reply)
    steps = [(min(3, len(lasting)), f"names {', '.join(lasting[:3])}"), (-min(2, len(small)), f"names {', '.join(small[:2])}"),
             (2 if length > 2000 else 1 if length > 1000 else -1 if length < 100 else 0, f"reply of {length} characters"),
             (int(bool(_CODE.search(reply))), "code in the reply"), (int(coder), "the code model replied"),
             (int(len(question) > 200), f"question of {len(question)} characters")]
    rules = [f"start: {START}", *(f"{phrase}: {step:+d}" for step, phrase in steps if step)]
    level = max(1, min(9, START + sum(step for step, _ in steps)))
    if _only_small(question):
        level, rules = 1, [*rules, "only a greeting, thanks or a test: 1"]
    if important and level < MARKED:
        level, rules = MARKED, [*rules, f"marked as important: {MARKED} at least"]
    return Importance(level, tuple(rules))


def expiry(importance: int, created: float) -> float | None:
    """When a turn of that importance expires, in UTC seconds since 1970; None is never.

    One of level 1 is kept for zero days: an hour, so that a greeting lasts as long as the conversation that it begins.
    """
    days = KEPT_DAYS[importance]
    return None if days is None else created + max(days * DAY, HOUR)


def _named(text: str, *patterns: re.Pattern[str]) -> list[str]:
    """The matters that patterns find in a text, each once, in small letters."""
    found = (match[match.lastindex or 0].lower() for pattern in patterns for match in pattern.finditer(text))
    return list(dict.fromkeys(found))


def _only_small(question: str) -> bool:
    words = _WORD.findall(question)
    if not 0 < len(words) <= 3 or _named(question, _LASTING, _LASTING_KO):
        return False
    return all(_SMALL.fullmatch(word) or _SMALL_KO.match(word) for word in words)
