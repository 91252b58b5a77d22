"""Which alias should answer when nobody named one: a short list of words, looked for in the user's last message only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# English words count as whole words, whatever their case; "information" does not contain "for", "classic" is not "class"
ENGLISH = (
    "code", "coding", "python", "javascript", "typescript", "java", "rust", "golang", "sql", "html", "css", "regex", "regexp", "bash",
    "dockerfile", "function", "functions", "algorithm", "compile", "compiler", "refactor", "refactoring", "debug", "debugging",
    "traceback", "stacktrace", "segfault", "unittest", "pytest", "numpy", "pandas", "json", "yaml", "api", "script", "programming",
)
# Korean words count where a word begins with them, since particles follow without a space (함수를, 코드가)
KOREAN = (
    "코드", "코딩", "함수", "변수", "클래스", "메서드", "알고리즘", "디버깅", "디버그", "리팩토링", "리팩터링",
    "프로그래밍", "스크립트", "컴파일", "정규식", "파이썬", "자바스크립트", "타입스크립트", "자바", "쿼리문", "단위테스트",
)
MARKS = (  # every repetition has an end, so that no text makes the search long
    (r"```", "a code fence"),
    (r"(?m)^[ \t]*(?:(?:async +)?def +\w+ *\(|class +[A-Z_]\w* *(?:\([^)\n]{0,200}\))?:)", "a Python definition"),  # not "class trip: …"
    (r"(?m)^[ \t]*(?:import +\w[\w., ]{0,200}$|from +\w[\w.]* +import )", "an import line"),
    (r"#include\s*[<\"]", "an #include line"),
    (r"(?a:\b[A-Za-z_]\w*)\((?!s\))[^()\n]{0,200}\) ?[;{]", "a C-like call"),  # not "예산(안); …", not "the member(s); …"
    (r"(?i)\bselect\b[^\n]{1,300}\bfrom\b\s+\w+\s*(?:;|\bwhere\b|\bjoin\b|\bgroup by\b|\border by\b)", "an SQL query"),
    (r"\b(?:print|console\.log)\(", "a print call"),
    (r"(?a:[\w-]\.(?:py|ipynb|js|jsx|ts|tsx|java|cpp|hpp|rs|rb|php|kt|sql|css|sh))(?![A-Za-z0-9_/]|\.\w)", "the name of a source file"),
)
MOST = 16_000  # characters that are looked at, at the beginning and at the end: long texts bring their words early or late
# what stands in the name of a document or in an address says nothing: python.pdf, notes/api.md, https://code.example.org
NAMES = re.compile(
    r"(?i)https?://[^\s<>\"']+|(?a:(?<![\w~./\\-])[\w~./\\-]*\.(?:md|txt|pdf|docx?|xlsx?|pptx?|hwpx?|csv|tsv|json|ya?ml|xml|html?|log|png|jpe?g|gif|zip|ini|toml))"
    r"(?![A-Za-z0-9_])")
_ENGLISH = re.compile(r"(?<![\w])(" + "|".join(ENGLISH) + r")(?![A-Za-z0-9_])", re.IGNORECASE)
_KOREAN = re.compile(r"(?<![가-힣])(" + "|".join(sorted(KOREAN, key=len, reverse=True)) + ")")
_MARKS = tuple((re.compile(pattern), name) for pattern, name in MARKS)


@dataclass(frozen=True)
class Route:
    """The choice: `code` or chat, and the words that say why."""

    code: bool
    why: str


def route(messages: Iterable[dict[str, Any]]) -> Route:
    """Decide by the last message of the user; everything before it, and what models or systems said, does not count."""
    return route_text(next((str(message["content"]) for message in reversed(list(messages)) if message.get("role") == "user"), ""))


def route_text(text: str) -> Route:
    """Decide by these words."""
    text = text if len(text) <= 2 * MOST else f"{text[:MOST]}\n{text[-MOST:]}"
    text = NAMES.sub(" ", text)
    for pattern, name in _MARKS:
        if pattern.search(text):
            return Route(True, f"auto: {name} means code")
    found = _ENGLISH.search(text) or _KOREAN.search(text)
    if found:
        return Route(True, f"auto: the word {found.group(1)!r} means code")
    return Route(False, "auto: nothing in the last message speaks of code")
