"""HWPX, the Korean word processor's open format (KS X 6101): a zip archive with one XML file per section."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from suite.errors import BadRequest
from suite.knowledge.formats.archive import member, opened
from suite.knowledge.formats.extract import Extract

KIND = "HWPX"
_INSIDE = {"tab": "\t", "lineBreak": "\n", "nbSpace": " ", "fwSpace": " "}
_SECTION = re.compile(r"Contents/section(\d+)\.xml")


def read(data: bytes) -> Extract:
    """The paragraphs of all sections, one per line, and the cells of tables. Raises BadRequest when it is no HWPX file."""
    with opened(data, KIND) as archive:
        sections = sorted((int(found[1]), name) for name in archive.namelist() if (found := _SECTION.fullmatch(name)))
        if not sections:
            raise BadRequest(f"is no {KIND} file (it has no Contents/section0.xml)")
        lines: list[str] = []
        for _, name in sections:
            try:
                root = ElementTree.fromstring(member(archive, name, KIND))
            except ElementTree.ParseError as error:
                raise BadRequest(f"is a damaged {KIND} file ({name}: {error})") from error
            lines += "".join(_said(root)).split("\n")
    text = "\n".join(line.strip() for line in lines)
    return Extract(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def _said(element: ElementTree.Element) -> Iterator[str]:
    """The text below an element, in order; paragraphs, rows and line breaks end a line, cells are divided by a bar."""
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name == "t":
            yield _text(child)
        elif name == "lineBreak":
            yield "\n"
        else:
            yield from _said(child)
            if name in ("p", "tr"):
                yield "\n"
            elif name == "tc":
                yield " | "


def _text(element: ElementTree.Element) -> str:
    """What a run says; tabs and breaks stand inside it as elements."""
    said = element.text or ""
    for child in element:
        said += _INSIDE.get(child.tag.rpartition("}")[2], child.text or "") + (child.tail or "")
    return said
