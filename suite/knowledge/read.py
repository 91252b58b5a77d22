"""Read a document: from below the folders that may be read, within limits of size, memory and time."""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from suite.errors import BadRequest
from suite.knowledge import find as finding
from suite.knowledge.formats.extract import Extract, extracted
from suite.knowledge.formats.parse import Parsers
from suite.knowledge.roots import Roots, resolved

READING = 1  # raised when a reader gives other text for the same bytes than before: what was indexed from its text is to be read anew
PROSE = (".md", ".markdown", ".txt", ".rst", ".adoc")
TABLES = (".csv", ".tsv")
_CODE_SUFFIXES = (".py .js .ts .jsx .tsx .java .kt .c .h .cpp .hpp .cc .cs .go .rs .rb .php .swift .scala .r .sh .sql .toml .yaml .yml .json .ini "
                  ".cfg .xml")
CODE = tuple(_CODE_SUFFIXES.split())
PACKED = {".pdf": "pdf", ".docx": "docx", ".hwpx": "hwpx"}
READERS = {**dict.fromkeys((*PROSE, *TABLES, *CODE), "plain"), ".html": "html", ".htm": "html", ".ipynb": "notebook", **PACKED}
KINDS = {**dict.fromkeys(READERS, "prose"), **dict.fromkeys(CODE, "code"), **dict.fromkeys(TABLES, "table")}
APART = frozenset({"pdf", "docx", "hwpx", "html"})  # read in a process of their own: their parsers can be made to loop, to eat memory or to crash
_INSTEAD = {".doc": "DOCX", ".hwp": "HWPX", ".rtf": "DOCX", ".odt": "DOCX"}
_AT_ONCE = 1 << 20  # bytes


@dataclass(frozen=True)
class Source:
    """A document as read: its resolved path, its text, the digest and number of its bytes, the characters at which its pages begin, if it has any.

    `kind` is "prose", "code" or "table"; prose of formats with a structure is Markdown.
    """

    path: str
    text: str
    sha256: str
    bytes: int
    pages: tuple[int, ...] = ()
    kind: str = "prose"

    def page(self, at: int) -> int | None:
        """The page, counted from 1, of the character `at`; None where the format has no pages."""
        return bisect.bisect_right(self.pages, at) if self.pages else None


def absolute(patterns: Iterable[str] | str, cwd: Path) -> list[str]:
    """The patterns as absolute ones, relative to `cwd`; raises BadRequest when there is none or one is blank."""
    listed = [patterns] if isinstance(patterns, (str, os.PathLike)) else list(patterns)
    if not listed or not all(str(pattern).strip() for pattern in listed):
        raise BadRequest(f"No documents are named by {listed!r}; pass paths or patterns, such as 'docs/**/*.md'.", param="paths")
    return [os.path.normpath(cwd.expanduser() / os.path.expanduser(str(pattern))) for pattern in listed]


class Reader:
    """Finds and reads documents by the settings in force. Safe to use from several threads.

    Documents go by their resolved paths, so that one that is reached in two ways is one document.
    """

    def __init__(self, settings: Any, data_dir: Path, started_in: Path) -> None:
        self.roots = Roots(settings.rag_roots, data_dir, started_in)
        self._most = {"RAG_MAX_FILE_MB": settings.rag_max_file_mb, "RAG_MAX_PACKED_MB": settings.rag_max_packed_mb}
        self._parsers = Parsers(settings.rag_parse_seconds, settings.rag_parse_mb)

    def close(self) -> None:
        """End the processes that parse; whoever is read to at the moment is told that its document could not be read."""
        self._parsers.close()

    def find(self, patterns: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """The files that absolute patterns name, by their resolved paths, sorted, each once; and what was skipped, with the reason.

        A folder stands for everything below it; `**` crosses folders; hidden names are left out unless they are written out. Links are followed
        to what may be read.
        """
        return finding.find(patterns, self.roots)

    def read(self, path: str) -> Source:
        """The document at an absolute path, by the reader for its suffix.

        Raises BadRequest, with a reason short enough for a list, for anything that is no readable document of a known kind within the limits.
        """
        with self._opened(path) as (real, suffix, size, file):
            data = file.read(size + 1)
        if len(data) > size:
            raise BadRequest("grew while it was read; add it again")
        reader = READERS[suffix]
        found = Extract("") if not data else self._parsers.parse(reader, data) if reader in APART else extracted(reader, data)
        return Source(real, found.text, hashlib.sha256(data).hexdigest(), len(data), found.pages, KINDS[suffix])

    def digest(self, path: str) -> tuple[str, str]:
        """The resolved path of a document and the digest of its bytes as 64 hex digits: what `read` would say, without the work of reading it.

        The same digest means the same text, as long as READING is the same. Raises BadRequest as `read` does for what is not opened at all.
        """
        digest = hashlib.sha256()
        with self._opened(path) as (real, _, size, file):
            left = size + 1
            while left and (piece := file.read(min(left, _AT_ONCE))):
                digest.update(piece)
                left -= len(piece)
        if not left:
            raise BadRequest("grew while it was read; add it again")
        return real, digest.hexdigest()

    def resolved(self, path: str) -> str:
        """The path under which a document goes here, whether it is still there or not. Raises BadRequest when it can be no path."""
        return resolved(path)

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[str, str, int, BinaryIO]]:
        """The resolved path, its suffix, the size and the open file. What is too large is refused before a byte of it is read."""
        real = self.roots.settle(path)
        suffix = os.path.splitext(real)[1].lower()
        if suffix not in READERS:
            raise BadRequest(f"{suffix or 'no suffix'}: no reader for it{f'; save it as {_INSTEAD[suffix]}' if suffix in _INSTEAD else ''}")
        name = "RAG_MAX_PACKED_MB" if suffix in PACKED else "RAG_MAX_FILE_MB"
        try:
            with os.fdopen(self.roots.open(real), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > self._most[name] << 20:
                    raise BadRequest(f"{size / (1 << 20):,.1f} MB, larger than the {self._most[name]} MB of {name}; split it, or raise that")
                yield real, suffix, size, file
        except OSError as error:
            raise BadRequest(f"cannot be read: {error.strerror}") from error
