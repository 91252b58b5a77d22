"""DOCX, by python-docx: paragraphs with their headings, and tables."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from suite.errors import BadRequest
from suite.knowledge.formats.archive import member, opened
from suite.knowledge.formats.extract import Extract, rows

KIND = "DOCX"
MAIN = "word/document.xml"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HEADING = re.compile(r"(?:heading|제목) ?([1-9])", re.IGNORECASE)
_INSIDE = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
# how something looks; what stands there again for programs that cannot draw it; text that was taken out
_UNSAID = frozenset({"pPr", "rPr", "tblPr", "trPr", "tcPr", "sectPr", "Fallback", "del", "moveFrom"})
_ABOVE = 10  # styles that a style is based on


def read(data: bytes) -> Extract:
    """The text of the document's body as Markdown. Raises BadRequest when it is no DOCX file."""
    with opened(data, KIND) as archive:
        if MAIN not in archive.namelist():
            raise BadRequest(f"is no {KIND} file (it has no {MAIN})")
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                member(archive, name, KIND)
    import docx  # here: lxml is large, and most documents are something else

    try:
        document = docx.Document(io.BytesIO(data))
        return Extract("\n\n".join(_blocks(document.element.body, _levels(document))) + "\n")
    except MemoryError:
        raise
    except Exception as error:
        raise BadRequest(f"is a damaged {KIND} file ({type(error).__name__}: {' '.join(str(error).split())[:120]})") from error


def _levels(document: Any) -> dict[str, int]:
    """The level of headings by the id of their style."""
    found = {}
    for style in document.styles:
        level, above = 0, style
        for _ in range(_ABOVE):
            name = _HEADING.fullmatch(getattr(above, "name", None) or "")
            level = int(name[1]) if name else _outline(above.element.find(f".//{_W}outlineLvl"))
            above = getattr(above, "base_style", None)
            if level or above is None:
                break
        if level or style.name == "Title":
            found[style.style_id] = level or 1
    return found


def _outline(element: Any) -> int:
    """1 to 9; 0 is what body text has."""
    value = element.get(f"{_W}val", "9") if element is not None else "9"
    return int(value) + 1 if value in tuple("012345678") else 0


def _blocks(parent: Any, levels: dict[str, int]) -> Iterator[str]:
    """The paragraphs and tables of a body, also those in frames that forms and tables of contents put around them."""
    for element in parent:
        name = _name(element)
        if name == "tbl":
            text = rows(list(_cells(element)))
            if text:
                yield text
        elif name == "p":
            text = _text(element).strip()
            level = _level(element, levels) if text else 0
            if text:
                yield "#" * min(level, 6) + " " + " ".join(text.split()) if level else text
        elif name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"):
            yield from _blocks(element, levels)


def _level(paragraph: Any, levels: dict[str, int]) -> int:
    style = paragraph.find(f"./{_W}pPr/{_W}pStyle")
    return _outline(paragraph.find(f"./{_W}pPr/{_W}outlineLvl")) or (levels.get(style.get(f"{_W}val"), 0) if style is not None else 0)


def _cells(table: Any) -> Iterator[list[str]]:
    """The texts of each row's cells; a table inside a cell is part of its text, row by row."""
    for element in _inside(table, "tr"):
        yield [" ".join(_text(cell).split()) for cell in _inside(element, "tc")]


def _inside(parent: Any, wanted: str) -> Iterator[Any]:
    for element in parent:
        if _name(element) == wanted:
            yield element
        elif _name(element) in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _inside(element, wanted)


def _text(top: Any) -> str:
    """What is written below an element, in order. A list of what is still to do instead of recursion: documents may be nested deep."""
    said: list[str] = []
    waiting = [top]
    while waiting:
        element = waiting.pop()
        if isinstance(element, str):
            said.append(element)
            continue
        name = _name(element)
        if name == "t":
            said.append(element.text or "")
        elif name in _INSIDE:
            said.append(_INSIDE[name])
        elif name not in _UNSAID:
            if name in ("p", "tr", "tc") and element is not top:
                said.append("\n")
            waiting.extend(reversed(element))
    return "".join(said)


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""  # comments have no name
