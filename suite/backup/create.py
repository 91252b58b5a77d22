"""Make a snapshot: all sources into a folder under a temporary name, a manifest, then the final name.

A folder without `.partial` at its end is therefore complete. Each source's copy is opened and asked before it is hashed, so that writes that go on
meanwhile disturb nothing. Where the database and the vectors were copied at slightly different moments, the next sync and the next `add` bring them
together.
"""

from __future__ import annotations

import json
import platform
import secrets
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from suite import __version__, checkout
from suite.backup import cipher
from suite.backup.cipher import Key
from suite.backup.copy import hashed
from suite.backup.folder import held, sync, sync_all
from suite.backup.question import chosen
from suite.backup.snapshot import PARTIAL, Entry, Snapshot, Source, read_snapshot, write_manifest
from suite.errors import StorageError, SuiteError

PRIVATE = "private.json"  # in an encrypted snapshot: what the copies were asked, which is what people wrote
THREADS = 2
PACKAGES = ("qdrant-edge-py", "sqlalchemy", "alembic")
_LIFTED = ("tables", "collections", "searches", "decisions", "left_out")


def create(folder: Path, sources: Sequence[Source], key: Key | None = None) -> Snapshot:
    """Back the sources up into a new folder `<UTC time>-<short id>` below `folder`; files are 0600, folders 0700.

    With a key every file is encrypted. Raises StorageError (or what a source raised, if it is a SuiteError) and leaves nothing behind when any
    source fails.
    """
    if not sources:
        raise StorageError("There is nothing to back up; name at least one source.")
    with held(folder):
        return _create(folder, sources, key)


def _create(folder: Path, sources: Sequence[Source], key: Key | None) -> Snapshot:
    began, identity = time.time(), secrets.token_hex(8)
    final = folder / f"{_stamp(began)}-{identity[:8]}"
    partial = final.with_name(final.name + PARTIAL)
    try:
        partial.mkdir(mode=0o700)
        facts = {source.name: _write(source, partial / source.name) for source in sources}
        manifest = {"id": identity, "created": began, "started_at": _iso(began), **_lifted(facts), **_about()}
        if key is not None:
            _hide(partial, manifest, key)
        entries = _entries(partial, key, identity)
        ended = time.time()
        manifest |= {"ended_at": _iso(ended), "seconds": round(ended - began, 3), "disk_bytes": _taken(partial)}
        write_manifest(partial, entries, manifest)
        paths = [path for path in (*partial.rglob("*"), partial) if not path.is_symlink()]
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)
        sync_all(paths)
        partial.rename(final)
        sync(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, (OSError, sqlite3.Error)):
            raise StorageError(f"The backup in {folder} failed: {error}. Nothing of it was kept; free space or mend the cause "
                               "and try again.") from error
        raise
    return read_snapshot(final)


def _write(source: Source, folder: Path) -> dict[str, Any]:
    folder.mkdir(mode=0o700)
    try:
        return dict(source.write(folder))
    except (SuiteError, OSError, sqlite3.Error):
        raise
    except Exception as error:  # the edge: a source is anybody's code, and a backup without it must not look whole
        raise StorageError(f"The source {source.name!r} could not be backed up ({type(error).__name__}: {error}); nothing was kept.") from error


def _lifted(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest's own entries out of what the sources told of their copies."""
    every = [source.get("searches", []) for source in facts.values()]
    words, near = ([row for rows in every for row in rows if row["kind"] == kind] for kind in ("words", "vector"))
    found = {
        "schema": next((source["schema"] for source in facts.values() if "schema" in source), None),
        "tables": {name: rows for source in facts.values() for name, rows in source.get("tables", {}).items()},
        "collections": {name: points for source in facts.values() for name, points in source.get("collections", {}).items()},
        "searches": chosen(words, near), "decisions": [row for source in facts.values() for row in source.get("decisions", [])],
        "left_out": [row for source in facts.values() for row in source.get("left_out", [])],
    }
    rest = {name: {key: value for key, value in source.items() if key not in _LIFTED} for name, source in facts.items()}
    return {"sources": rest, **found, "asked": {"searches": len(found["searches"]), "decisions": len(found["decisions"])}, "encryption": None}


def _about() -> dict[str, Any]:
    """The software and the machine that made it."""
    versions = {"suite": __version__, "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    return {"versions": versions, "host": {"name": socket.gethostname(), "platform": platform.platform()}, "commit": checkout.commit()}


def _hide(partial: Path, manifest: dict[str, Any], key: Key) -> None:
    """Move what people wrote out of the manifest into a file that will be encrypted like all others."""
    private = {name: manifest[name] for name in ("id", "tables", "collections", "searches", "decisions")}
    (partial / PRIVATE).write_text(json.dumps(private, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    manifest |= {"searches": [], "decisions": [], "encryption": {"cipher": cipher.NAME, "key_id": key.id}}


def _entries(partial: Path, key: Key | None, identity: str) -> tuple[Entry, ...]:
    """Every file of the sources hashed, several at once; with a key each is replaced by its sealed form."""
    def one(path: Path) -> Entry:
        name = path.relative_to(partial).as_posix()
        if key is None:
            size, digest = hashed(path)
        else:
            sealed = path.with_name(path.name + cipher.SUFFIX)
            size, digest = cipher.seal(path, sealed, key, f"{identity}/{name}")
            path.unlink()
            path, name = sealed, name + cipher.SUFFIX
        return Entry(name, size, digest)

    paths = sorted(path for path in partial.rglob("*") if path.is_file() and not path.is_symlink())
    with ThreadPoolExecutor(THREADS, "suite-backup-hash") as pool:
        return tuple(pool.map(one, paths))


def _taken(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
