"""DOCX, by python-docx: paragraphs with their headings, and tables."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from suite.errors import BadRequest
from suite.knowledge.formats.archive import member, opened
from suite.knowledge.formats.extract import Extract

KIND = "DOCX"
MAIN = "word/document.xml"
_HEADING = re.compile(r"[Hh]eading ([1-9])")


def read(data: bytes) -> Extract:
    """The text of the document's body. Raises BadRequest when it is no DOCX file."""
    with opened(data, KIND) as archive:
        if MAIN not in archive.namelist():
            raise BadRequest(f"is no {KIND} file (it has no {MAIN})")
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                member(archive, name, KIND)
    import docx  # here: lxml is large, and most documents are something else

    try:
        return Extract("\n\n".join(_blocks(docx.Document(io.BytesIO(data)))) + "\n")
    except Exception as error:
        raise BadRequest(f"is a damaged {KIND} file ({type(error).__name__}: {str(error)[:120]})") from error


def _blocks(document: Any) -> Iterator[str]:
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            yield "\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows)
        elif block.text.strip():
            heading = _HEADING.fullmatch(block.style.name if block.style is not None and block.style.name else "")
            yield "#" * min(int(heading[1]), 6) + " " + block.text.strip() if heading else block.text.strip()
