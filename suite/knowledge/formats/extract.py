"""What a reader makes of a file."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass

from suite.errors import BadRequest

MAX_CHARS = 20_000_000  # of a document's text
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Extract:
    """A document's text; `pages` are the characters at which its pages begin, where its format has pages."""

    text: str
    pages: tuple[int, ...] = ()


def extracted(reader: str, data: bytes) -> Extract:
    """What the reader of that name, a module beside this one, makes of a file's bytes; what no database stores as text has become a blank.

    Raises BadRequest, with a reason short enough for a list, when it is no such file, or its text has more than MAX_CHARS characters.
    """
    found = importlib.import_module(f"suite.knowledge.formats.{reader}").read(data)  # each with its library, when it is needed
    if len(found.text) > MAX_CHARS:
        raise BadRequest(f"its text is longer than {MAX_CHARS:,} characters; split the file")
    return Extract(_NO_TEXT.sub(" ", found.text), found.pages) if _NO_TEXT.search(found.text) else found


def fence(text: str) -> str:
    """The marks to put around a text so that it stands as code: longer than any that it holds."""
    return "`" * max(3, 1 + max((len(found) for found in re.findall("`{3,}", text)), default=0))


def rows(cells: list[list[str]]) -> str:
    """A table as rows of Markdown, the first of which is its head; no text for one without words.

    A cell is one line, and its own bars are escaped.
    """
    lines = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in cells]
    lines = [row for row in lines if any(row)]
    shown = ["| " + " | ".join(row) + " |" for row in lines]
    return "\n".join([shown[0], "|" + " --- |" * len(lines[0]), *shown[1:]]) if shown else ""
