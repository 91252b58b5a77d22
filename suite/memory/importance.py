"""How important a remembered turn is, from 1 to 10, and how long it is kept for that.

The rule, on the words of the question and the reply:

    5                       to begin with
    +1, at most +2          for each lasting matter that is named: a decision, a setting, a defect, a plan, security, performance …
    +1                      for code in the reply
    +1                      for a reply of more than 1000 characters
    −1                      for a reply of fewer than 40 characters
    −3                      for a greeting or thanks: a question of at most three words, one of which is a pleasantry

and then no less than 1 and no more than 9. Ten, kept for ever, is only what a person says is a ten.
"""

from __future__ import annotations

import re

DAY = 86_400.0
KEPT_DAYS: dict[int, int | None] = {1: 1, 2: 3, 3: 7, 4: 14, 5: 30, 6: 60, 7: 90, 8: 180, 9: 365, 10: None}

_LASTING_EN = re.compile(r"""\b(decid\w*|decision\w*|polic(?:y|ies)|plan(?:s|ned|ning)?|strateg\w*|architect\w*|design\w*|config\w*|settings?
                              |environment|bugs?|errors?|fix(?:es|ed)?|fail(?:s|ed|ure|ures)?|security|password\w*|performance|optimi[sz]\w*
                              |deadlines?|backups?)\b""", re.I | re.X)
# Korean particles are glued to the word, so a part of a word is the right test there.
_LASTING_KO = re.compile("결정|정책|계획|전략|설계|아키텍처|설정|환경변수|버그|오류|에러|장애|해결|보안|비밀번호|성능|최적화|마감|백업")
_PLEASANT = re.compile(r"\b(hi|hello|hey|thanks|thank|bye|ok|okay)\b|안녕|고마|감사|반가", re.I)
_CODE = re.compile(r"```|`[^`\n]+`|^\s*(?:def|class|import|from|function|SELECT)\s+\w", re.M)


def importance(question: str, reply: str) -> int:
    """The importance of a turn by the rule above, 1 to 9."""
    both = f"{question}\n{reply}"
    named = {found.lower() for pattern in (_LASTING_EN, _LASTING_KO) for found in pattern.findall(both)}
    score = 5 + min(2, len(named)) + bool(_CODE.search(reply)) + (len(reply) > 1000) - (len(reply) < 40)
    if len(question.split()) <= 3 and _PLEASANT.search(question):
        score -= 3
    return max(1, min(9, score))


def expiry(importance: int, created: float) -> float | None:
    """When a turn of that importance expires, in UTC seconds since 1970; None is never."""
    days = KEPT_DAYS[importance]
    return None if days is None else created + days * DAY
