"""The records of a backup: its sources, the manifest inside it, and the snapshot as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from suite.errors import StorageError
from suite.render import card

MANIFEST = "manifest.json"
FORMAT = 1
PARTIAL = ".partial"


@dataclass(frozen=True)
class Source:
    """Something to back up: `write` puts it into an empty folder and returns facts about it, or raises."""

    name: str
    write: Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One file of a snapshot: `path` relative to it with `/`, its size, and 64 hex digits."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A finished backup at `path`; `created` is UTC seconds since 1970, `sources` the facts each source gave."""

    path: str
    files: tuple[Entry, ...]
    bytes: int
    created: float
    sources: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"path": self.path, "files": [asdict(entry) for entry in self.files], "bytes": self.bytes, "created": self.created,
                "sources": dict(self.sources)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Snapshot:
        """The record that `to_dict` gave."""
        return cls(body["path"], tuple(Entry(**entry) for entry in body["files"]), body["bytes"], body["created"], body["sources"])

    def __repr__(self) -> str:
        return f"Snapshot({self.path}, {len(self.files)} files, {self.bytes} bytes)"

    def _repr_html_(self) -> str:
        return card("Snapshot", [("path", self.path), ("files", len(self.files)), ("bytes", self.bytes), ("holds", ", ".join(self.sources))])


def write_manifest(folder: Path, files: tuple[Entry, ...], created: float, sources: Mapping[str, Any]) -> None:
    """Write the manifest of the files in `folder`."""
    body = {"format": FORMAT, "created": created, "sources": dict(sources), "files": [asdict(entry) for entry in files]}
    (folder / MANIFEST).write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_snapshot(folder: Path) -> Snapshot:
    """The snapshot that a folder's manifest describes; raises StorageError when there is none or it is not one of ours."""
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise StorageError(f"The backup {folder} has format {body['format']!r}, this version reads {FORMAT}; use the version that wrote it.")
        files = tuple(Entry(str(entry["path"]), int(entry["bytes"]), str(entry["sha256"])) for entry in body["files"])
        return Snapshot(str(folder), files, sum(entry.bytes for entry in files), float(body["created"]), dict(body["sources"]))
    except OSError as error:
        raise StorageError(f"{folder} is no backup: its {MANIFEST} cannot be read ({error.strerror}); choose another.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"The manifest of the backup {folder} is damaged ({type(error).__name__}: {error}); choose another backup.") from error


def digest(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
