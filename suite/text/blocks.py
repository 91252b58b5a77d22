"""The blocks of a text: headings, fenced code, tables, and the prose between them, as Markdown writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "code", "table", "prose"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_ROW = re.compile(r"\s*\|.*\|\s*|\s*[^|\s][^|]*(?:\|[^|]+)+\s*")
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")  # the line below a table's head
LONGEST_TITLE = 200  # characters: a longer line above a line of dashes is no heading


@dataclass(frozen=True)
class Block:
    """Characters `start` to `end` of a text, whole lines. A heading has its `level`, 1 being the highest, and its `title`."""

    kind: Kind
    start: int
    end: int
    level: int = 0
    title: str = ""


def blocks(text: str) -> list[Block]:
    """The blocks of a text in order; together they are the text, each begins where the one before ends.

    An open fence reaches to the end of the text. A line of dashes or equals signs makes the line above it a heading when that stands alone.
    """
    return list(_joined(_marked(text)))


def _lines(text: str) -> Iterator[tuple[int, int, str]]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield start, end, text[start:end].rstrip("\r\n")
        start = end


def _marked(text: str) -> Iterator[Block]:
    """A block per line, except for code, which is whole, and headings that are underlined."""
    lines = list(_lines(text))
    at = 0
    while at < len(lines):
        start, end, line = lines[at]
        after = at + 1
        fence, heading = _FENCE.fullmatch(line), _HEADING.fullmatch(line)
        if fence and not (fence[1][0] == "`" and "`" in fence[2]):
            closing = re.compile(rf" {{0,3}}{re.escape(fence[1][0])}{{{len(fence[1])},}}[ \t]*")
            while after < len(lines) and not closing.fullmatch(lines[after][2]):
                after += 1
            after = min(after + 1, len(lines))
            yield Block("code", start, lines[after - 1][1])
        elif heading:
            yield Block("heading", start, end, len(heading[1]), (heading[2] or "").strip())
        elif _underlined(lines, at):
            after = at + 2
            yield Block("heading", start, lines[at + 1][1], 1 if "=" in lines[at + 1][2] else 2, line.strip())
        elif _begins_table(lines, at):
            while after < len(lines) and _ROW.fullmatch(lines[after][2]):
                after += 1
            yield Block("table", start, lines[after - 1][1])
        else:
            yield Block("prose", start, end)
        at = after


def _underlined(lines: list[tuple[int, int, str]], at: int) -> bool:
    line = lines[at][2].strip()
    if not line or len(line) > LONGEST_TITLE or at + 1 == len(lines) or not _UNDERLINE.fullmatch(lines[at + 1][2]):
        return False
    return (at == 0 or not lines[at - 1][2].strip()) and "|" not in line and line[0] not in "-*+>"


def _begins_table(lines: list[tuple[int, int, str]], at: int) -> bool:
    """Two rows with bars, the first of which is framed or has a rule below it."""
    if not _ROW.fullmatch(lines[at][2]) or at + 1 == len(lines):
        return False
    following = lines[at + 1][2]
    return bool("|" in following and (_RULE.fullmatch(following) or (lines[at][2].strip().startswith("|") and _ROW.fullmatch(following))))


def _joined(found: Iterator[Block]) -> Iterator[Block]:
    """Neighbouring lines of prose made one block."""
    open_block: Block | None = None
    for block in found:
        if open_block and block.kind == "prose":
            open_block = Block("prose", open_block.start, block.end)
            continue
        if open_block:
            yield open_block
        open_block = block if block.kind == "prose" else None
        if block.kind != "prose":
            yield block
    if open_block:
        yield open_block
