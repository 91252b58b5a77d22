"""PDF, by pypdf: the text of its pages."""

from __future__ import annotations

import io
import logging

from suite.errors import BadRequest
from suite.knowledge.formats.archive import LOCKED
from suite.knowledge.formats.extract import Extract

BETWEEN = "\n\n"  # pages
MOST_PAGES = 5000


def read(data: bytes) -> Extract:
    """The text and where its pages begin. Raises BadRequest when it is encrypted, damaged, or holds pictures only."""
    import pypdf  # here: a tenth of a second that only who reads PDF has to wait

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every oddity of a file that it reads well enough
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not _decrypted(reader):
            raise BadRequest(LOCKED)
        if len(reader.pages) > MOST_PAGES:
            raise BadRequest(f"has more than {MOST_PAGES} pages; split the file")
        texts = [page.extract_text() for page in reader.pages]
    except (BadRequest, MemoryError):
        raise
    except Exception as error:
        raise BadRequest(f"cannot be read as PDF ({type(error).__name__}: {' '.join(str(error).split())[:120]})") from error
    if not any(text.strip() for text in texts):
        raise BadRequest("holds no text, perhaps scanned pages only; recognise the text first (OCR)")
    pages, at = [], 0
    for text in texts:
        pages.append(at)
        at += len(text) + len(BETWEEN)
    return Extract(BETWEEN.join(texts), tuple(pages))


def _decrypted(reader: object) -> bool:
    """Whether it opens without a password, as files do that are only locked against changes."""
    from pypdf.errors import DependencyError

    try:
        return bool(reader.decrypt(""))  # type: ignore[attr-defined]
    except DependencyError:  # a cipher of a library that is not installed
        return False
