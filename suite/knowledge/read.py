"""Find the documents that patterns name, and read one."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from suite.errors import BadRequest

MAX_BYTES = 10 << 20  # a larger file is hardly prose, and its chunks would fill the collection
SUFFIXES = (".md", ".txt")


@dataclass(frozen=True)
class Source:
    """A document as read: its text without a byte-order mark, and the digest of its bytes."""

    path: str
    text: str
    sha256: str
    bytes: int


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


def read(path: str, limit: int = MAX_BYTES) -> Source:
    """The document at `path`.

    Raises BadRequest, with a reason short enough for a list, for anything that is not readable UTF-8 text in .md or .txt of at most `limit` bytes.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise BadRequest(f"{suffix or 'no suffix'}: only {' and '.join(SUFFIXES)} are read")
    if not os.path.isfile(path):  # a pipe or a device would never end
        raise BadRequest("not a regular file" if os.path.exists(path) else "does not exist")
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadRequest(f"cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise BadRequest(f"larger than {limit} bytes; split the file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8 (byte {error.start}); convert it, for instance with iconv -t UTF-8") from error
    if "\0" in text:
        raise BadRequest("holds NUL characters, so it is no text")
    return Source(path, text, hashlib.sha256(data).hexdigest(), len(data))
