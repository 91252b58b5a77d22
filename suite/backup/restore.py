"""Put a snapshot in the place of what a data directory holds, keep what it replaces, and undo that.

The caller holds the data directory's lock (suite.host.claim), so that no stack runs on it and none begins to.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.backup import journal as journals
from suite.backup import postgres, question
from suite.backup.cipher import Key
from suite.backup.folder import held, require_space, sync_all
from suite.backup.journal import BEFORE, RECORD, STAGED, Item, Journal
from suite.backup.listing import REPLACED
from suite.backup.replica import LINES
from suite.backup.snapshot import Snapshot, read_snapshot
from suite.backup.verification import keep
from suite.backup.verify import restored
from suite.errors import NotFound, StorageError
from suite.knowledge import table as _knowledge  # noqa: F401 - these two, so that `metadata` names every table of ours
from suite.storage.tables import metadata
from suite.usage import table as _usage  # noqa: F401

LIVE = {"database": "sqlite", "vectors": "vectors"}  # a source's folder in a snapshot, and in a data directory


@dataclass(frozen=True)
class Restored:
    """What was put in place: `what` names it, `replaced` is the folder of what was there before, for `undo`."""

    what: str
    replaced: str
    rows: int = 0
    points: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def restore(path: str | Path, data: Path, *, key: Key | None = None, server: Callable[[], Any] | None = None) -> Restored:
    """Verify a snapshot, then let it take the place of the database and the vectors in `data`; what was there is kept in `backups/replaced-…`.

    `server` opens the PostgreSQL database of the settings, None when they ask for SQLite. Settings, policy and records in the snapshot are left
    there to be read. Raises StorageError for a snapshot with any problem, a full disk, or one of another kind of database, and leaves everything as
    it was.
    """
    folder, backups = Path(path).absolute(), data / "backups"
    snapshot = read_snapshot(folder)
    _refuse_other_kinds(snapshot, server is not None)
    with held(backups):
        _finish(data, server)
        staged = backups / f"{STAGED}{secrets.token_hex(4)}"
        try:
            staged.mkdir(mode=0o700)
            found = _verified(folder, staged, key, server)
            plan = _plan(data, staged, str(folder), [name for name in LIVE if name in snapshot.sources])
            if server is not None and "database" in snapshot.sources:
                plan = _with_database(data, staged, plan, server, set(snapshot.manifest["tables"]))
            _settle(staged)
            plan.write(data)
        except BaseException as error:
            shutil.rmtree(staged, ignore_errors=True)
            if isinstance(error, OSError):
                raise StorageError(f"The restore of {folder} failed ({error.strerror or error}); everything is as it was.") from error
            raise
        _carry_out(data, plan, server)
    return Restored(str(folder), str(data / plan.aside), found.rows, found.points, found.seconds)


def undo(data: Path, *, server: Callable[[], Any] | None = None) -> Restored:
    """Put back what the last restore replaced, and keep what it had put in place, so that this can be undone as well.

    Raises NotFound when nothing was replaced, or was thrown away since.
    """
    backups = data / "backups"
    with held(backups):
        _finish(data, server)
        former = max((path.parent for path in backups.glob(f"{REPLACED}*/{RECORD}")), key=lambda place: place.name, default=None)
        if former is None:
            raise NotFound(f"Nothing was replaced in {data}: {backups} holds no folder {REPLACED}*; there is nothing to undo.")
        record = json.loads((former / RECORD).read_text(encoding="utf-8"))
        if record["dump"] and server is None:
            raise StorageError(f"{former} holds a PostgreSQL database, and the settings name none; set DATABASE_URL as it was.")
        staged = backups / f"{STAGED}{secrets.token_hex(4)}"
        try:
            staged.mkdir(mode=0o700)
            aside = _aside(data)
            items = tuple(Item(name, f"{aside}/{name}", f"backups/{former.name}/{name}") for name in record["items"])
            plan = Journal(f"what {former.name} holds", aside, items, (f"backups/{former.name}", f"backups/{staged.name}"))
            if record["dump"] and server is not None:
                os.link(former / BEFORE, staged / postgres.FILE)  # there twice, so that whoever is killed here loses nothing
                plan = _with_database(data, staged, plan, server, set(record["tables"]), postgres.FILE)
            plan.write(data)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        _carry_out(data, plan, server)
    return Restored(plan.what, str(data / plan.aside))


def finish(data: Path, server: Callable[[], Any] | None = None) -> str:
    """End a restore that was killed in the middle, if there is one; gives what it put in place, else an empty text."""
    backups = data / "backups"
    if not (backups / journals.JOURNAL).exists() and not any(backups.glob(f"{STAGED}*")):
        return ""
    with held(backups):
        return _finish(data, server)


def _finish(data: Path, server: Callable[[], Any] | None) -> str:
    """End what was begun, and clear away what had not come so far; for whoever holds the folder."""
    begun = journals.read(data)
    if begun is not None:
        _carry_out(data, begun, server)
    emptied = [place for place in (data / "backups").glob(f"{REPLACED}*") if not any(path.is_file() for path in place.rglob("*"))]
    for left in [*(data / "backups").glob(f"{STAGED}*"), *emptied]:
        shutil.rmtree(left, ignore_errors=True)
    return begun.what if begun is not None else ""


def _carry_out(data: Path, plan: Journal, server: Callable[[], Any] | None) -> None:
    def missing() -> Any:
        raise StorageError("A restore of a PostgreSQL database was interrupted, and the settings name none; set DATABASE_URL as it was.")

    journals.carry_out(data, plan, server or missing)


def _verified(folder: Path, staged: Path, key: Key | None, server: Callable[[], Any] | None) -> Any:
    """The snapshot restored into `staged` without a problem: what was compared is what will be put in place."""
    storage = server() if server is not None else None
    try:
        found = restored(folder, staged, key, storage)
    finally:
        if storage is not None:
            storage.close()
    found.check()
    if os.access(folder.parent, os.W_OK):
        keep(found)
    return found


def _refuse_other_kinds(snapshot: Snapshot, server: bool) -> None:
    kind = (snapshot.sources.get("database") or {}).get("kind")
    if kind is not None and server != (kind == "postgresql"):
        there = "PostgreSQL" if server else "SQLite"
        raise StorageError(f"The backup {snapshot.path} holds a {kind} database and the settings ask for {there}; set DATABASE_URL as it was then.")
    if any(entry.path.startswith("vectors/") and entry.path.removesuffix(".sealed").endswith(LINES) for entry in snapshot.files):
        raise StorageError(f"The vectors of the backup {snapshot.path} are those of a Qdrant server, which is restored by its own snapshots; "
                           "`suite backup verify` shows that these can be read.")


def _plan(data: Path, staged: Path, what: str, names: list[str]) -> Journal:
    """What is exchanged: the folders of the snapshot's parts."""
    aside, own = _aside(data), f"backups/{staged.name}"
    moved = [name for name in names if name != "database" or (staged / name / "suite.db").exists()]
    return Journal(what, aside, tuple(Item(LIVE[name], f"{aside}/{LIVE[name]}", f"{own}/{name}") for name in moved), (own,))


def _with_database(data: Path, staged: Path, plan: Journal, server: Callable[[], Any], tables: set[str], dump: str = "") -> Journal:
    """The plan with a PostgreSQL database in it, whose present contents are dumped first."""
    storage = server()
    try:
        with storage.read() as connection:
            present = set(question.server_rows(connection))
            size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar()
        require_space(staged, int(size), "keeping the present database")
        place = staged / "present"
        place.mkdir(mode=0o700)
        postgres.dump(storage.engine.url, place)
    finally:
        storage.close()
    own = f"backups/{staged.name}"
    return Journal(plan.what, plan.aside, plan.items, plan.clean, f"{own}/{dump or 'database/' + postgres.FILE}", f"{own}/present/{postgres.FILE}",
                   tuple(sorted((present - tables) & metadata.tables.keys())), tuple(sorted(present)))


def _aside(data: Path) -> str:
    """The name of a new folder for what is replaced, which sorts by time."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"backups/{REPLACED}{stamp}"


def _settle(staged: Path) -> None:
    """Everything that will be put in place is on the disk first."""
    sync_all(path for path in [*staged.rglob("*"), staged] if not path.is_symlink())
