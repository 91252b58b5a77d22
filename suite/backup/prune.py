"""Which snapshots stay: the newest of each of the last days, weeks and months that have any, and always the last verified one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite import render
from suite.backup.folder import held, sync
from suite.backup.listing import listing, newest_verified
from suite.backup.snapshot import PARTIAL
from suite.backup.verification import forget
from suite.errors import StorageError

DAILY, WEEKLY, MONTHLY = 7, 4, 12
SCHEDULE: tuple[tuple[str, int, str], ...] = (("day", DAILY, "%Y-%m-%d"), ("week", WEEKLY, "%G-%V"), ("month", MONTHLY, "%Y-%m"))


@dataclass(frozen=True)
class Pruned:
    """What stays and why, by name; what goes; whether it is gone; `bytes` is what going frees; `damaged` have no readable manifest and are left."""

    kept: Mapping[str, str]
    gone: tuple[str, ...]
    done: bool
    bytes: int = 0
    damaged: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "kept": dict(self.kept), "gone": list(self.gone), "damaged": list(self.damaged)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Pruned:
        """The record that `to_dict` gave."""
        return cls(dict(body["kept"]), tuple(body["gone"]), body["done"], body["bytes"], tuple(body["damaged"]))

    def rows(self) -> list[dict[str, str]]:
        """One row per snapshot: name, what becomes of it, and why."""
        verb = "deleted" if self.done else "would be deleted"
        rows = [{"name": name, "fate": "kept", "why": why} for name, why in self.kept.items()]
        rows += [{"name": name, "fate": verb, "why": "newer ones stand for its day, week and month"} for name in self.gone]
        return sorted([*rows, *({"name": name, "fate": "left", "why": "its manifest cannot be read"} for name in self.damaged)],
                      key=lambda row: row["name"])

    def __repr__(self) -> str:
        return f"Pruned({len(self.kept)} kept, {len(self.gone)} {'deleted' if self.done else 'to delete'}, {self.bytes} bytes)"

    def _repr_html_(self) -> str:
        return render.table(("name", "fate", "why"), [list(row.values()) for row in self.rows()], title=repr(self))


def staying(created: Mapping[str, float], verified: Set[str]) -> dict[str, str]:
    """Which of the snapshots stay, and why; `created` is in UTC seconds since 1970 by name, days and weeks are those of UTC.

    Never empty unless `created` is. The newest verified snapshot stays whatever its age.
    """
    newest = sorted(created, key=lambda name: (created[name], name), reverse=True)
    why: dict[str, list[str]] = {}
    for word, number, form in SCHEDULE:
        seen: set[str] = set()
        for name in newest:
            period = datetime.fromtimestamp(created[name], UTC).strftime(form)
            if period not in seen and len(seen) < number:
                seen.add(period)
                why.setdefault(name, []).append(f"newest of the {word} {period}")
    last = next((name for name in newest if name in verified), None)
    if last is not None:
        why.setdefault(last, []).append("last verified")
    return {name: ", ".join(reasons) for name, reasons in why.items()}


def prune(folder: Path, dry_run: bool = True) -> Pruned:
    """Delete the snapshots of a folder that `staying` does not name; by default only say which those are.

    A snapshot that goes loses its name first, so that whoever is killed leaves no half of one. One that nobody can read is left for a person.
    """
    if not folder.is_dir():
        return Pruned({}, (), not dry_run)
    with held(folder):
        found = listing(folder)
        whole = {row.name: row for row in found if not row.error}
        kept = staying({name: row.created for name, row in whole.items()}, {name for name, row in whole.items() if row.verified_at is not None})
        gone = tuple(sorted(whole.keys() - kept.keys()))
        if not dry_run:
            last = newest_verified(found)
            _delete(folder, gone, last.name if last else "")
        return Pruned(kept, gone, not dry_run, sum(whole[name].bytes for name in gone), tuple(row.name for row in found if row.error))


def _delete(folder: Path, names: tuple[str, ...], last: str) -> None:
    if last in names:  # whatever the schedule says
        raise StorageError(f"{last} is the last verified backup and is not deleted; verify a newer one first.")
    try:
        for name in names:
            aside = (folder / name).rename(folder / f"{name}{PARTIAL}")
            forget(folder / name)
            sync(folder)
            shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(f"Old backups in {folder} could not be deleted ({error.strerror}: {error.filename}); mend its mode and try again."
                           ) from error
