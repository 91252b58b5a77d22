"""Which snapshots there are, which of them were restored once, and what follows: how much would be lost now, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite import render
from suite.backup.folder import left_over
from suite.backup.snapshot import MANIFEST, PARTIAL, read_snapshot
from suite.backup.verification import kept
from suite.errors import StorageError

REPLACED = "replaced-"  # what a restore put aside, which is no snapshot
FORMER = "schema-"  # a copy of a database before its schema was changed, which is none either
COLUMNS = ("name", "age", "size", "rows", "points", "encrypted", "verified", "restore s")


@dataclass(frozen=True)
class Listed:
    """A snapshot in a list. Times are UTC seconds since 1970; `bytes` is what it takes on the disk; `restore_s` the seconds of its last verification.

    `verified_at` is None for one that was never restored, and `error` says why one cannot be used.
    """

    name: str
    path: str
    created: float
    age_s: float
    bytes: int = 0
    files: int = 0
    rows: int = 0
    points: int = 0
    encrypted: bool = False
    verified_at: float | None = None
    restore_s: float | None = None
    suite: str = ""
    schema: str | None = None
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Listed:
        """The record that `to_dict` gave."""
        return cls(**body)


@dataclass(frozen=True)
class Standing:
    """How well the data is backed up: `rpo_s` is the age of the newest verified snapshot, `rto_s` the seconds that restoring it took.

    Both are None where no snapshot was ever restored. `left_over` names what killed processes left half-made.
    """

    snapshots: int
    verified: int
    bytes: int
    rpo_s: float | None
    rto_s: float | None
    newest_verified: str = ""
    left_over: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "left_over": list(self.left_over)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Standing:
        """The record that `to_dict` gave."""
        return cls(**{**body, "left_over": tuple(body["left_over"])})

    def __repr__(self) -> str:
        if self.rpo_s is None:
            return f"Standing({self.snapshots} snapshots, none verified: call verify())"
        return f"Standing({self.verified} of {self.snapshots} snapshots verified, RPO {self.rpo_s:.0f} s, RTO {self.rto_s:.1f} s)"

    def _repr_html_(self) -> str:
        none = "none was ever verified"
        return render.card("Backups", [("snapshots", self.snapshots), ("verified", self.verified), ("newest verified", self.newest_verified or none),
                                       ("RPO, s", none if self.rpo_s is None else f"{self.rpo_s:.0f}"),
                                       ("RTO, s", none if self.rto_s is None else f"{self.rto_s:.2f}"), ("bytes", self.bytes)])


def listing(folder: Path) -> list[Listed]:
    """The snapshots of a folder, the newest first; one whose manifest cannot be read is listed with the reason."""
    if not folder.is_dir():
        return []
    now = time.time()
    found = [_listed(path, now) for path in folder.iterdir()
             if path.is_dir() and not path.name.startswith((".", REPLACED, FORMER)) and not path.name.endswith(PARTIAL)]
    return sorted(found, key=lambda row: (row.created, row.name), reverse=True)


def standing(folder: Path) -> Standing:
    """How well the snapshots of a folder cover now."""
    rows = listing(folder)
    last = newest_verified(rows)
    left = left_over(folder) if folder.is_dir() else []
    return Standing(len(rows), sum(row.verified_at is not None for row in rows), sum(row.bytes for row in rows), last.age_s if last else None,
                    last.restore_s if last else None, last.name if last else "", tuple(sorted(left)))


def newest_verified(rows: list[Listed]) -> Listed | None:
    """The youngest snapshot that was restored once; None when there is none."""
    return max((row for row in rows if row.verified_at is not None), key=lambda row: row.created, default=None)


def _listed(path: Path, now: float) -> Listed:
    try:
        snapshot = read_snapshot(path)
        tables, points = snapshot.manifest.get("tables") or {}, snapshot.manifest.get("collections") or {}
        good, created, size = kept(path), snapshot.created, int(snapshot.manifest.get("disk_bytes", snapshot.bytes))
        made_by = str((snapshot.manifest.get("versions") or {}).get("suite", ""))
        return Listed(path.name, str(path), created, round(max(0.0, now - created), 3), size, len(snapshot.files), sum(tables.values()),
                      sum(points.values()), snapshot.encrypted, good.at if good else None, good.seconds if good else None, made_by,
                      snapshot.manifest.get("schema"))
    except (StorageError, TypeError, ValueError, AttributeError) as error:
        seen = (path / MANIFEST) if (path / MANIFEST).exists() else path
        created = seen.stat().st_mtime
        return Listed(path.name, str(path), created, round(max(0.0, now - created), 3), error=str(error))
