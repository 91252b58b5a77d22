"""Make a snapshot: all sources into a folder under a temporary name, a manifest, then the final name.

A folder without `.partial` at its end is therefore complete. The database is copied by SQLite's online backup, so a snapshot can be taken while
the suite works; where the database and the vectors were copied at slightly different moments, the next sync and the next `add` bring them together.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.backup.postgres import dump
from suite.backup.snapshot import MANIFEST, PARTIAL, Entry, Snapshot, Source, digest, write_manifest
from suite.errors import StorageError, SuiteError


def create(folder: Path, sources: Sequence[Source]) -> Snapshot:
    """Back the sources up into a new folder `<UTC time>-<short id>` below `folder`; files are 0600, folders 0700.

    Raises StorageError (or what a source raised, if it is a SuiteError) and leaves nothing behind when any source fails.
    """
    if not sources:
        raise StorageError("There is nothing to back up; name at least one source.")
    created = time.time()
    stamp = datetime.fromtimestamp(created, UTC).strftime("%Y%m%dT%H%M%SZ")
    final = folder / f"{stamp}-{secrets.token_hex(4)}"
    partial = final.with_name(final.name + PARTIAL)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)
        facts = {source.name: _write(source, partial / source.name) for source in sources}
        files = tuple(_entry(path, partial) for path in sorted(partial.rglob("*")) if path.is_file())
        write_manifest(partial, files, created, facts)
        _settle(partial)
        partial.rename(final)
        _sync_folder(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, (OSError, sqlite3.Error)):
            raise StorageError(f"The backup in {folder} failed: {error}. Nothing of it was kept; free space or mend the cause "
                               "and try again.") from error
        raise
    return Snapshot(str(final), files, sum(entry.bytes for entry in files), created, facts)


def database(storage: Any) -> Source:
    """The source for the suite's database: SQLite by its online backup, PostgreSQL by pg_dump."""

    def write(folder: Path) -> Mapping[str, Any]:
        if storage.file is None:
            return dump(storage.engine.url, folder)
        target = folder / "suite.db"
        with closing(sqlite3.connect(f"file:{storage.file}?mode=ro", uri=True)) as present, closing(sqlite3.connect(target)) as copy:
            present.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, with no log beside it
            state = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        if state != "ok":
            raise StorageError(f"The database {storage.file} is damaged ({state}), so its copy was not kept; restore the newest good backup.")
        return {"kind": "sqlite", "schema": version}

    return Source("database", write)


def vectors(store: Any) -> Source:
    """The source for the vector store: its collections as the store itself copies them."""

    def write(folder: Path) -> Mapping[str, Any]:
        store.flush()
        found = {info.name: info.points for info in store.collections()}
        store.copy_to(folder)
        return {"kind": "vectors", "collections": found}

    return Source("vectors", write)


def tree(name: str, path: Path) -> Source:
    """The source for a folder of ordinary files, copied as they are; links, sockets and pipes are left out."""

    def odd(parent: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(parent, name).is_symlink() or not (Path(parent, name).is_dir() or Path(parent, name).is_file())]

    def write(folder: Path) -> Mapping[str, Any]:
        if not path.is_dir():
            raise StorageError(f"The folder {path} does not exist, so it cannot be backed up; make it or leave it out.")
        shutil.copytree(path, folder, dirs_exist_ok=True, ignore=odd)
        return {"kind": "tree", "path": str(path)}

    return Source(name, write)


def _write(source: Source, folder: Path) -> dict[str, Any]:
    folder.mkdir(mode=0o700)
    try:
        return dict(source.write(folder))
    except (SuiteError, OSError, sqlite3.Error):
        raise
    except Exception as error:  # the edge: a source is anybody's code, and a backup without it must not look whole
        raise StorageError(f"The source {source.name!r} could not be backed up ({type(error).__name__}: {error}); nothing was kept.") from error


def _entry(path: Path, root: Path) -> Entry:
    return Entry(path.relative_to(root).as_posix(), path.stat().st_size, digest(path))


def _settle(partial: Path) -> None:
    """Private modes, and everything on the disk before the name says that it is whole."""
    for path in [*partial.rglob("*"), partial]:
        if path.is_symlink():
            continue
        path.chmod(0o700 if path.is_dir() else 0o600)
        _sync_folder(path)
    if not (partial / MANIFEST).is_file():
        raise StorageError(f"The manifest of {partial} vanished while the backup was written; try again.")


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
