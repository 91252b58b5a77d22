"""Give back the space of old releases: their notebooks and evidence go, the ledger, the attestations and the results stay."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite import render
from suite.errors import BadRequest
from suite.runbooks import archive, disk, ledger
from suite.runbooks.archive import KEPT, ReleaseRow
from suite.runbooks.sign import SigningKey

NEWEST = 30  # releases that stay whole
GOOD = "READY"


@dataclass(frozen=True)
class Pruned:
    """Which releases stay whole and why, which are pruned (by folder), whether it was done, and the bytes that it gives back."""

    kept: Mapping[str, str]
    gone: tuple[str, ...]
    done: bool
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form: one row per release that was not pruned before."""
        verb = "pruned" if self.done else "would be pruned"
        rows = [{"release": name, "fate": "kept", "why": why} for name, why in self.kept.items()]
        rows += [{"release": name, "fate": verb, "why": "newer ones stand for it"} for name in self.gone]
        return {"rows": sorted(rows, key=lambda row: row["release"]), "done": self.done, "bytes": self.bytes}

    def __repr__(self) -> str:
        rows = [list(row.values()) for row in self.to_dict()["rows"]]
        verb = "given back" if self.done else "to give back"
        return f"{render.text_table(('release', 'fate', 'why'), rows)}\n{self.bytes >> 10} KiB {verb}; ledger, attestations and results stay"


def staying(rows: list[ReleaseRow], newest: int) -> dict[str, str]:
    """Which of the releases stay whole, and why: the newest, and whatever their age the last of each stage and the last READY of each stage."""
    whole = [row for row in rows if not row.pruned]
    why: dict[str, list[str]] = {}
    for row in whole[len(whole) - min(newest, len(whole)):]:
        why.setdefault(row.path.name, []).append(f"one of the newest {newest}")
    for stage in dict.fromkeys(row.stage for row in whole):
        own = [row for row in whole if row.stage == stage]
        for words, found in ((f"the last of stage {stage}", own), (f"the last {GOOD} of stage {stage}", [row for row in own if row.verdict == GOOD])):
            if found:
                why.setdefault(found[-1].path.name, []).append(words)
    return {name: ", ".join(words) for name, words in why.items()}


def prune(reports: Path, key: SigningKey | None = None, newest: int = NEWEST, *, dry_run: bool = True) -> Pruned:
    """Prune all releases that `staying` does not name; by default only say which those are. The ledger says so first, so that nothing is missing.

    `key` signs that line. Raises BadRequest without it, StorageError when the archive cannot be written or its ledger is not whole.
    """
    if newest < 1:
        raise BadRequest(f"{newest} releases cannot be kept; keep at least 1.")
    if dry_run:
        return _prune(reports, None, newest)
    if key is None:
        raise BadRequest("Pruning is written into the ledger, which is signed; give the signing key.")
    with disk.held(reports):
        try:
            archive.recover(reports)
            return _prune(reports, key, newest)
        except OSError as error:
            raise disk.unwritable(reports, error) from error


def _prune(reports: Path, key: SigningKey | None, newest: int) -> Pruned:
    rows = archive.releases(reports)
    kept = staying(rows, newest)
    going = [row for row in rows if not row.pruned and row.path.name not in kept]
    size = sum(_clear(row.path, dry_run=True) for row in going)
    if key is not None:
        for row in going:
            ledger.append(reports, {"kind": ledger.PRUNED, "at": disk.now(), "release": row.release, "stage": row.stage, "verdict": row.verdict,
                                    "path": row.path.name, "attestation_sha256": row.attestation_sha256, "results_sha256": row.results_sha256,
                                    "audit_head": ""}, key)
        for row in rows:  # those pruned before too: whoever was killed in the middle left a part
            if row.pruned or row in going:
                _clear(row.path, dry_run=False)
    return Pruned(kept, tuple(row.path.name for row in going), key is not None, size)


def _clear(folder: Path, *, dry_run: bool) -> int:
    """Remove what pruning does not keep of a release, and give its bytes; a link is removed, never followed."""
    if folder.is_symlink() or not folder.is_dir():
        return 0
    size = 0
    for path in sorted(folder.iterdir()):
        if path.name in KEPT:
            continue
        whole = path.is_dir() and not path.is_symlink()
        size += sum(inner.lstat().st_size for inner in path.rglob("*")) if whole else path.lstat().st_size
        if not dry_run and whole:
            shutil.rmtree(path)
        elif not dry_run:
            path.unlink()
    return size
