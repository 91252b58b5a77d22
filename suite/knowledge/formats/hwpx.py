"""HWPX, the Korean word processor's open format (KS X 6101): a zip archive with one XML file per section."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

from suite.errors import BadRequest
from suite.knowledge.formats.archive import LOCKED, member, opened
from suite.knowledge.formats.extract import Extract, rows

KIND = "HWPX"
HEADER, MANIFEST = "Contents/header.xml", "META-INF/manifest.xml"
_INSIDE = {"tab": "\t", "lineBreak": "\n", "nbSpace": " ", "fwSpace": " "}
_SECTION = re.compile(r"Contents/section(\d+)\.xml")
_OUTLINE = re.compile(r"(?:개요|outline) ?([1-9])", re.IGNORECASE)  # the styles of headings


def read(data: bytes) -> Extract:
    """The paragraphs of all sections, one per line, headings and tables as in Markdown. Raises BadRequest when it is no HWPX file."""
    with opened(data, KIND) as archive:
        names = archive.namelist()
        sections = sorted((int(found[1]), name) for name in names if (found := _SECTION.fullmatch(name)))
        if not sections:
            raise BadRequest(f"is no {KIND} file (it has no Contents/section0.xml)")
        if MANIFEST in names and b"encryption-data" in member(archive, MANIFEST, KIND):
            raise BadRequest(LOCKED)
        levels = _levels(_tree(archive, HEADER)) if HEADER in names else {}
        try:
            text = "\n".join("".join(_said(_tree(archive, name), levels)) for _, name in sections)
        except RecursionError as error:
            raise BadRequest(f"is a damaged {KIND} file (nested without end)") from error
    return Extract(re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip() + "\n")


def _tree(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(member(archive, name, KIND))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # ValueError, LookupError: an encoding that XML does not have
        raise BadRequest(f"is a damaged {KIND} file ({name}: {error})") from error


def _levels(header: ElementTree.Element) -> dict[str, int]:
    """The level of headings by the number of their style."""
    found = {}
    for element in header.iter():
        if _name(element) == "style":
            outline = _OUTLINE.fullmatch(element.get("name", "")) or _OUTLINE.fullmatch(element.get("engName", ""))
            if outline:
                found[element.get("id", "")] = int(outline[1])
    return found


def _said(element: ElementTree.Element, levels: dict[str, int]) -> Iterator[str]:
    """The text below an element, in order; a paragraph ends a line, a table has its rows."""
    for child in element:
        name = _name(child)
        if name == "t":
            yield _text(child)
        elif name == "lineBreak":
            yield "\n"
        elif name == "tbl":
            yield "\n\n"
            yield from (part for caption in child if _name(caption) == "caption" for part in _said(caption, {}))
            yield "\n" + rows([["".join(_said(cell, {})) for cell in row if _name(cell) == "tc"] for row in child if _name(row) == "tr"]) + "\n\n"
        elif name == "p" and child.get("styleIDRef", "") in levels and "".join(child.itertext()).strip():
            yield "\n\n" + "#" * min(levels[child.get("styleIDRef", "")], 6) + " " + " ".join("".join(_said(child, {})).split()) + "\n\n"
        else:
            yield from _said(child, levels)
            if name == "p":
                yield "\n"


def _text(element: ElementTree.Element) -> str:
    """What a run says; tabs and breaks stand inside it as elements."""
    said = element.text or ""
    for child in element:
        said += _INSIDE.get(_name(child), child.text or "") + (child.tail or "")
    return said


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
