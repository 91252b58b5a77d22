"""Find the documents that patterns name, and read one."""

from __future__ import annotations

import bisect
import glob
import hashlib
import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from suite.errors import BadRequest
from suite.knowledge.formats.extract import Extract

MAX_BYTES = 10 << 20  # of plain text: a larger file is hardly prose, and its chunks would fill the collection
MAX_PACKED = 100 << 20  # of formats that hold pictures and fonts too
MAX_CHARS = 20_000_000  # of a document's text
PROSE = (".md", ".markdown", ".txt", ".rst", ".adoc", ".csv", ".tsv")
_CODE_SUFFIXES = (".py .js .ts .jsx .tsx .java .kt .c .h .cpp .hpp .cc .cs .go .rs .rb .php .swift .scala .r .sh .sql .toml .yaml .yml .json .ini "
                  ".cfg .xml")
CODE = tuple(_CODE_SUFFIXES.split())
PACKED = {".pdf": "pdf", ".docx": "docx", ".hwpx": "hwpx"}
READERS = {**dict.fromkeys((*PROSE, *CODE), "plain"), ".html": "html", ".htm": "html", ".ipynb": "notebook", **PACKED}


@dataclass(frozen=True)
class Source:
    """A document as read: its text, the digest and number of its bytes, and the characters at which its pages begin, if it has pages."""

    path: str
    text: str
    sha256: str
    bytes: int
    pages: tuple[int, ...] = ()

    def page(self, at: int) -> int | None:
        """The page, counted from 1, of the character `at`; None where the format has no pages."""
        return bisect.bisect_right(self.pages, at) if self.pages else None


def absolute(patterns: Iterable[str] | str, cwd: Path) -> list[str]:
    """The patterns as absolute ones, relative to `cwd`; raises BadRequest when there is none or one is blank."""
    listed = [patterns] if isinstance(patterns, (str, os.PathLike)) else list(patterns)
    if not listed or not all(str(pattern).strip() for pattern in listed):
        raise BadRequest(f"No documents are named by {listed!r}; pass paths or patterns, such as 'docs/**/*.md'.", param="paths")
    return [os.path.normpath(cwd.expanduser() / Path(str(pattern)).expanduser()) for pattern in listed]


def find(patterns: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The files that absolute patterns name, sorted, each once; and what was skipped, with the reason.

    A folder stands for everything below it; `**` crosses folders; hidden names are left out unless they are written out.
    """
    files: set[str] = set()
    skipped: list[tuple[str, str]] = []
    for pattern in patterns:
        if os.path.isdir(pattern):
            found = glob.glob(os.path.join(glob.escape(pattern), "**"), recursive=True)
        else:  # a name with brackets in it may be meant as it stands
            found = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
        found = [path for path in found if not os.path.isdir(path)]
        if not found:
            skipped.append((pattern, "no file matches"))
        files.update(os.path.normpath(path) for path in found)
    return sorted(files), skipped


def read(path: str) -> Source:
    """The document at `path`, by the reader for its suffix.

    Raises BadRequest, with a reason short enough for a list, for anything that is no readable document of a known kind within the limits.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in READERS:
        raise BadRequest(f"{suffix or 'no suffix'}: no reader for it")
    if not os.path.isfile(path):  # a pipe or a device would never end
        raise BadRequest("not a regular file" if os.path.exists(path) else "does not exist")
    limit = MAX_PACKED if suffix in PACKED else MAX_BYTES
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadRequest(f"cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise BadRequest(f"larger than {limit} bytes; split the file")
    reader = importlib.import_module(f"suite.knowledge.formats.{READERS[suffix]}")  # each with its library, when it is needed
    found = reader.read(data) if data else Extract("")
    if len(found.text) > MAX_CHARS:
        raise BadRequest(f"its text is longer than {MAX_CHARS:,} characters; split the file")
    return Source(path, found.text, hashlib.sha256(data).hexdigest(), len(data), found.pages)
