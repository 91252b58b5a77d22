"""How the checks of backups are proven red: what is made is damaged, is not all, or is waved through."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from suite.backup.snapshot import Snapshot
from suite.checks.fault import Fault, Stack
from suite.vectors.store import MAX_LIMIT


def alter(stack: Stack, part: str) -> None:
    """Turn one bit over in a file of every snapshot that is made from now on: the largest one of a part."""
    honest = stack.backups.create

    def create(key_file: str = "") -> Snapshot:
        snapshot = honest(key_file)
        name = max((entry for entry in snapshot.files if entry.path.startswith(f"{part}/")), key=lambda entry: entry.bytes).path
        with Path(snapshot.path, name).open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)[0]
            file.seek(-1, 2)
            file.write(bytes([last ^ 1]))
        return snapshot

    stack.backups.create = create


def alter_database(stack: Stack) -> None:
    """Damage the database in each snapshot."""
    alter(stack, "database")


def alter_vectors(stack: Stack) -> None:
    """Damage a file of the vectors in each snapshot."""
    alter(stack, "vectors")


def keep_old_database(stack: Stack) -> None:
    """Let every snapshot hold the database as it is now, whatever is written later."""
    from suite.backup import source  # here and below: whoever only lists the checks needs no database and no engine

    old = Path(stack.settings.data_dir) / "cache" / "old.db"
    with closing(sqlite3.connect(stack.storage.file)) as now, closing(sqlite3.connect(old)) as copy:
        now.backup(copy)  # a copy of the file alone would lack what is in its log
    honest = stack.backups.sources
    stale = source.database(SimpleNamespace(file=old))
    stack.backups.sources = lambda: [stale if part.name == stale.name else part for part in honest()]


def wave_through(stack: Stack) -> None:
    """Let the verification compare the files and restore nothing."""
    honest = stack.backups.verify
    stack.backups.verify = lambda path="", key_file="": replace(honest(path, key_file), rows=0, points=0, collections=0, searches=0, decisions=0)


def bend_copies(stack: Stack, change: Callable[[Path], None]) -> None:
    """Change each folder into which the store copies its collections."""
    store: Any = stack.parts["qdrant"]
    honest = store.copy_to

    def copy_to(folder: Path) -> None:
        honest(folder)
        change(folder)

    store.copy_to = copy_to


def leave_collection_out(stack: Stack) -> None:
    """Let the store copy all collections but the first."""
    bend_copies(stack, lambda folder: shutil.rmtree(min(folder.iterdir())))


def leave_points_out(stack: Stack) -> None:
    """Let the store copy its collections without the points in them."""
    from suite.vectors.shard import Shard

    def empty(folder: Path) -> None:
        for place in folder.iterdir():
            shard = Shard.load(place)
            shard.delete([point.id for point in shard.scroll(None, MAX_LIMIT, None)], None)
            shard.close()

    bend_copies(stack, empty)


ALTERED_DATABASE = Fault("one bit of the database in the snapshot was turned over", alter_database)
STALE_DATABASE = Fault("the snapshot held the database as it was some time ago", keep_old_database)
IDLE_VERIFICATION = Fault("the verification restored nothing and said yes", wave_through)
ALTERED_VECTORS = Fault("one bit of the vectors in the snapshot was turned over", alter_vectors)
MISSING_COLLECTION = Fault("the snapshot lacked a collection", leave_collection_out)
MISSING_POINTS = Fault("the snapshot held the collections without their points", leave_points_out)
