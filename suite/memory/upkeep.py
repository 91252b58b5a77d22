"""Upkeep of what memory keeps: the index merged and space given back, the word index made anew, a project written into a file."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from suite.errors import StorageError
from suite.memory.record import store_name
from suite.memory.renew import renew_terms
from suite.memory.table import memories, memory_tags, projects

_STALE = -1  # a recipe that no version has: the terms of such a turn are made anew
_TABLES = (memories.name, memory_tags.name, projects.name)


def optimize(storage: Any) -> dict[str, Any]:
    """Merge the segments of the word index, give the space of deleted rows back, and count anew what queries are planned by.

    Gives `bytes`, what the database takes now, and `freed`. Raises StorageError, also when somebody writes all the while.
    """
    sqlite = storage.engine.dialect.name == "sqlite"
    before = _bytes(storage)
    if sqlite:
        with storage.begin() as connection:
            connection.execute(sa.text("INSERT INTO memory_words (memory_words) VALUES ('optimize')"))
    storage.compact()  # on PostgreSQL this merges what waits beside the word index too
    with storage.begin() as connection:
        for table in _TABLES if sqlite else (*_TABLES, "memory_words"):
            connection.execute(sa.text(f"ANALYZE {table}"))
    after = _bytes(storage)
    return {"bytes": after, "freed": max(0, before - after)}


def _bytes(storage: Any) -> int:
    if storage.engine.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        query = "SELECT pg_database_size(current_database())"
    with storage.read() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def rebuild_words(storage: Any, project: str) -> int:
    """Make the word index of a known project anew from its turns, and return how many those are; what belongs to no turn is removed from it.

    A few turns to a transaction; one that is broken off is ended by the next start.
    """
    mine = memories.c.project == project
    with storage.begin() as connection:
        count = connection.execute(sa.update(memories).where(mine).values(recipe=_STALE)).rowcount
        if storage.engine.dialect.name == "sqlite":  # on PostgreSQL a foreign key sees to it
            connection.execute(sa.text("DELETE FROM memory_words WHERE rowid NOT IN (SELECT seq FROM memories)"))
    renew_terms(storage)
    with storage.begin() as connection:  # the numbers that ranking goes by
        turns, length = connection.execute(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(memories.c.length), 0)).where(mine)).one()
        connection.execute(sa.update(projects).where(projects.c.id == project).values(turns=turns, length=length))
    return int(count)


def keep(lines: Iterable[str], folder: Path, project: str) -> dict[str, Any]:
    """Write an export into a file of its own below `folder` (0600, under its name only once it is whole): project, path, turns.

    Raises StorageError when it cannot be written; nothing of it is kept then.
    """
    file = folder / f"{store_name(project)}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}.jsonl"
    partial, count = file.with_name(file.name + ".partial"), 0
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="\n") as out:
            for line in lines:
                out.write(line + "\n")
                count += 1
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise StorageError(f"The backup of {project!r} in {folder} failed ({error.strerror}); nothing of it was kept: free space or make the "
                               "folder writable, then try again.") from error
        raise
    return {"project": project, "path": str(file), "turns": max(0, count - 1)}
