"""What is kept of a database before its schema is changed: a copy as it was, beside the snapshots."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.backup.listing import FORMER
from suite.backup.postgres import dump
from suite.errors import StorageError


def before_migration(folder: Path, engine: Any, present: str) -> None:
    """Copy the database behind `engine`, which has the schema `present`, into a new folder below `folder`.

    Raises StorageError, and leaves nothing behind, when that is not possible; the schema must not be changed then.
    """
    kept = folder / f"{FORMER}{present}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        kept.mkdir(parents=True, mode=0o700)
        if engine.dialect.name != "sqlite":
            dump(engine.url, kept)
            return
        target = kept / "suite.db"
        target.touch(mode=0o600)
        with closing(sqlite3.connect(f"file:{engine.url.database}?mode=ro", uri=True)) as before, closing(sqlite3.connect(target)) as copy:
            before.backup(copy)
    except (OSError, sqlite3.Error, StorageError) as error:
        shutil.rmtree(kept, ignore_errors=True)
        raise StorageError(f"The database has the older schema {present}, and its copy in {kept} failed ({error}), so it was not changed; mend that "
                           "and start again.") from error
