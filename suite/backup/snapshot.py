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
SEAL = "manifest.sha256"  # the manifest's own digest, so that no byte of it can change unseen
FORMAT = 2
PARTIAL = ".partial"
_OWN = ("path", "name", "bytes", "files")


@dataclass(frozen=True)
class Source:
    """Something to back up: `write` puts it into an empty folder and returns facts about its copy, or raises.

    `tables` (rows by table), `collections` (points by collection), `searches` and `decisions` among the facts are what the copy answered; a
    verification asks for them again.
    """

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
    """A finished backup at `path`; `manifest` is all that its manifest says besides the files."""

    path: str
    files: tuple[Entry, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(self.path).name

    @property
    def bytes(self) -> int:
        """Of all files, holes counted."""
        return sum(entry.bytes for entry in self.files)

    @property
    def created(self) -> float:
        """UTC seconds since 1970."""
        return float(self.manifest["created"])

    @property
    def sources(self) -> Mapping[str, Any]:
        """The facts that each source gave, by its name."""
        return self.manifest["sources"]

    @property
    def encrypted(self) -> bool:
        """Whether its files can only be read with a key."""
        return self.manifest.get("encryption") is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the manifest, with `path`, `name` and `bytes`."""
        return {"path": self.path, "name": self.name, "bytes": self.bytes, **self.manifest, "files": [asdict(entry) for entry in self.files]}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Snapshot:
        """The record that `to_dict` gave."""
        return cls(body["path"], tuple(Entry(**entry) for entry in body["files"]), {key: body[key] for key in body if key not in _OWN})

    def __repr__(self) -> str:
        return f"Snapshot({self.path}, {len(self.files)} files, {self.bytes} bytes)"

    def _repr_html_(self) -> str:
        return card("Snapshot", [("path", self.path), ("files", len(self.files)), ("bytes", self.bytes), ("holds", ", ".join(self.sources)),
                                 ("rows", sum((self.manifest.get("tables") or {}).values())),
                                 ("points", sum((self.manifest.get("collections") or {}).values()))])


def write_manifest(folder: Path, files: tuple[Entry, ...], facts: Mapping[str, Any]) -> None:
    """Write the manifest of the files in `folder`, and its digest beside it."""
    body = {"format": FORMAT, **facts, "files": [asdict(entry) for entry in files]}
    text = (json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / SEAL).write_text(sha256(text).hexdigest() + "\n", encoding="ascii")


def read_snapshot(folder: Path) -> Snapshot:
    """The snapshot that a folder's manifest describes; raises StorageError when there is none or it is not one of ours."""
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise StorageError(f"The backup {folder} has format {body['format']!r}, this version reads {FORMAT}; use the version that wrote it.")
        files = tuple(Entry(str(entry["path"]), int(entry["bytes"]), str(entry["sha256"])) for entry in body.pop("files"))
        snapshot = Snapshot(str(folder), files, body)
        float(body["created"])
        dict(body["sources"])
        return snapshot
    except OSError as error:
        raise StorageError(f"{folder} is no backup: its {MANIFEST} cannot be read ({error.strerror}); choose another.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"The manifest of the backup {folder} is damaged ({type(error).__name__}: {error}); choose another backup.") from error


def manifest_digest(folder: Path) -> str:
    """The digest of a snapshot's manifest, which says which snapshot it is; empty when there is none."""
    try:
        return sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def seal_problems(folder: Path) -> list[str]:
    """What speaks against the manifest itself: its digest is missing or another."""
    try:
        kept = (folder / SEAL).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        return [f"{SEAL} cannot be read ({type(error).__name__})."]
    return [] if kept == manifest_digest(folder) else [f"{MANIFEST} or {SEAL} was altered."]
