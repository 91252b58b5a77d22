"""Verify a snapshot by restoring it into a scratch folder: its bytes, its rows and points, and what it answers."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.access.policy import load_policy
from suite.backup import postgres, question, replica, stage
from suite.backup.cipher import Key, require_key
from suite.backup.folder import held, require_space, scratch
from suite.backup.snapshot import Snapshot, read_snapshot
from suite.backup.source import POLICY
from suite.backup.verification import Verification, keep
from suite.errors import StorageError, SuiteError
from suite.vectors.disk import ROOM_TO_OPEN

FLAWS = 5  # of a database that are told


@dataclass
class Seen:
    """What was found so far."""

    problems: list[str] = field(default_factory=list)
    rows: int = 0
    points: int = 0
    collections: int = 0
    searches: int = 0
    decisions: int = 0


def verify(path: str | Path, *, key: Key | None = None, storage: Any = None) -> Verification:
    """Restore the snapshot at `path` into a scratch folder, compare everything with its manifest, and record it beside the snapshot when all is well.

    `storage` is an open one on the PostgreSQL server that a dump may be restored on. Raises StorageError when there is no readable manifest, it
    is newer than this version, or the disk is full; BadRequest for a missing or wrong key.
    """
    folder = Path(path).absolute()
    read_snapshot(folder)  # before anything is locked: a path that is no backup is told from one that is in use
    with held(folder.parent), room_for(folder.parent) as place:
        found = restored(folder, place, key, storage)
        if found.ok and not os.access(folder.parent, os.W_OK):
            return found  # on a medium that nobody can write to: it is whole, and there is no place to say so
        keep(found)
    return found


def restored(folder: Path, place: Path, key: Key | None, storage: Any) -> Verification:
    """The same into a folder of the caller's, where what was restored stays; nothing is recorded."""
    snapshot = read_snapshot(folder)
    stage.refuse_newer(snapshot)
    require_key(snapshot.manifest.get("encryption"), key, str(folder))
    require_space(place, _needs(snapshot), "restoring the backup")
    began, seen = time.perf_counter(), Seen(stage.shape_problems(snapshot))
    if not seen.problems:
        seen.problems += stage.bring(snapshot, place, key if snapshot.encrypted else None)
    if not seen.problems:  # nothing that was altered is opened
        _ask(snapshot, place, storage, seen)
    return Verification(str(folder), len(snapshot.files), tuple(seen.problems), round(time.perf_counter() - began, 3), seen.rows, seen.points,
                        seen.collections, seen.searches, seen.decisions, time.time(), tuple(snapshot.sources))


@contextmanager
def room_for(folder: Path) -> Iterator[Path]:
    """A scratch folder beside the snapshots, or where the system keeps such when nobody may write there."""
    if os.access(folder, os.W_OK):
        with scratch(folder) as place:
            yield place
    else:
        with tempfile.TemporaryDirectory(prefix="suite-restore-") as elsewhere:
            yield Path(elsewhere)


def _needs(snapshot: Snapshot) -> int:
    """Bytes that its restored form takes, about."""
    taken = snapshot.manifest.get("disk_bytes")
    return (taken if isinstance(taken, int) else snapshot.bytes) + ROOM_TO_OPEN


def _ask(snapshot: Snapshot, place: Path, storage: Any, seen: Seen) -> None:
    """Open what was restored and compare it with what the manifest says; whatever cannot be opened or compared is a problem."""
    try:
        wanted = stage.expected(snapshot, place)
        kinds = {name: facts.get("kind") for name, facts in snapshot.sources.items()}
        if "sqlite" in kinds.values():
            _file(place / "database", place, wanted, seen)
        if "postgresql" in kinds.values():
            _server(place, wanted, storage, seen)
        if "vectors" in kinds.values():
            _vectors(place / "vectors", place / "loaded", wanted, seen)
        _nothing_lost(wanted, seen)
    except (SuiteError, sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        seen.problems.append(f"It cannot be restored: {str(error).rstrip('.')}.")


def _file(folder: Path, place: Path, wanted: Mapping[str, Any], seen: Seen) -> None:
    file = folder / replica.FILE
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        flaws = [row[0] for row in connection.execute(f"PRAGMA integrity_check({FLAWS})") if row[0] != "ok"]
        orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(FLAWS)
        flaws += [f"a row of {row[0]} refers to a row of {row[2]} that is not there" for row in orphans]
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    seen.problems += [f"The restored database is damaged: {flaw}." for flaw in flaws]
    if version != wanted["schema"]:
        seen.problems.append(f"The restored database has schema {version} instead of {wanted['schema']}.")
    _rows(question.sqlite_rows(file), wanted, seen)
    if not flaws:
        with replica.database(folder) as opened:
            _answers(opened, place, wanted, seen)


def _server(place: Path, wanted: Mapping[str, Any], storage: Any, seen: Seen) -> None:
    if storage is None or storage.file is not None:
        seen.problems.append("The database of this backup is PostgreSQL, and no server is set on which it could be restored; set DATABASE_URL.")
        return
    from suite.storage.engine import open_storage

    with postgres.scratch_database(storage.engine.url, place / "database" / postgres.FILE) as url:
        opened = open_storage(url.render_as_string(hide_password=False), place)
        try:
            with opened.read() as connection:
                tables = question.server_rows(connection)
            older = wanted["schema"] != stage.newest_schema()  # then it was brought up to date by opening it, and has tables more
            _rows({name: rows for name, rows in tables.items() if name in wanted["tables"] or not older}, wanted, seen)
            _answers(opened, place, wanted, seen)
        finally:
            opened.close()


def _rows(tables: Mapping[str, int], wanted: Mapping[str, Any], seen: Seen) -> None:
    seen.rows = sum(tables.values())
    for name in sorted({*tables, *wanted["tables"]}):
        if tables.get(name) != wanted["tables"].get(name):
            seen.problems.append(f"The restored table {name} has {tables.get(name, 'no')} rows instead of {wanted['tables'].get(name, 'none')}.")


def _answers(opened: Any, place: Path, wanted: Mapping[str, Any], seen: Seen) -> None:
    """The searches by words and the decisions, on the restored database and under the policy that was kept with it."""
    words = [saved for saved in wanted["searches"] if saved["kind"] == "words"]
    seen.problems += question.different_words(opened, words)
    policy = place / "files" / POLICY
    seen.problems += question.different_decisions(opened, load_policy(policy if policy.is_file() else None), wanted["decisions"])
    trail = (wanted["sources"].get("database") or {}).get("audit")
    if trail is not None:  # one of before 0.5.0 has none
        seen.problems += question.different_audit(opened, trail)
    seen.searches += len(words)
    seen.decisions += len(wanted["decisions"])


def _vectors(folder: Path, loaded: Path, wanted: Mapping[str, Any], seen: Seen) -> None:
    there = replica.names(folder) if folder.is_dir() else []
    seen.problems += [f"The collection {name} was not restored." for name in sorted(wanted["collections"].keys() - set(there))]
    seen.problems += [f"The collection {name} is in no manifest." for name in there if name not in wanted["collections"]]
    for name in there:
        near = [saved for saved in wanted["searches"] if saved["kind"] == "vector" and saved["collection"] == name]
        try:
            with replica.collection(folder, name, loaded) as shard:
                points = shard.count(None)
                if points != wanted["collections"].get(name):
                    seen.problems.append(f"The restored collection {name} has {points} points instead of {wanted['collections'].get(name, 'none')}.")
                seen.problems += question.different_vectors(shard, near)
        except StorageError as error:
            seen.problems.append(f"It cannot be restored: {error}")
            continue
        seen.points += points
        seen.collections += 1
        seen.searches += len(near)


def _nothing_lost(wanted: Mapping[str, Any], seen: Seen) -> None:
    """Every saved search and decision was asked again: one that nobody asked proves nothing."""
    if not seen.problems and (seen.searches, seen.decisions) != (len(wanted["searches"]), len(wanted["decisions"])):
        seen.problems.append(f"{seen.searches} of {len(wanted['searches'])} searches and {seen.decisions} of {len(wanted['decisions'])} decisions "
                             "could be asked again.")
