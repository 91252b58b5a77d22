"""Delete remembered turns: those whose time is over, or one by id. Their vectors follow through the queue of removals."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from suite.errors import SuiteError
from suite.memory.record import Forgotten, is_text, store_name
from suite.memory.remember import erase
from suite.memory.table import memories, memory_removals


def expire(storage: Any, now: float | None = None, project: str = "") -> int:
    """Delete the turns that expired at or before `now` (UTC seconds since 1970), of one project or of all, and return how many."""
    over = memories.c.expires <= (time.time() if now is None else now)
    return len(erase(storage, sa.and_(over, memories.c.project == project) if project else over))


def forget(storage: Any, identity: str) -> list[tuple[int, str]]:
    """Delete one turn: its number and id, or nothing when there is none with this id."""
    return erase(storage, memories.c.id == identity) if is_text(identity) else []


def proof(storage: Any, store: Any, gone: list[tuple[int, str]], identity: str, project: str) -> Forgotten:
    """Count what is left of a turn that was just deleted: rows, search terms, vectors."""
    if not gone:
        return Forgotten(identity, False)
    seq = gone[0][0]
    with storage.read() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(memories).where(memories.c.id == identity)).scalar_one()
        column = "rowid" if storage.engine.dialect.name == "sqlite" else "seq"
        words = connection.execute(sa.text(f"SELECT COUNT(*) FROM memory_words WHERE {column} = :seq"), {"seq": seq}).scalar_one()
        queued = connection.execute(sa.select(sa.func.count()).select_from(memory_removals).where(memory_removals.c.memory == identity)).scalar_one()
    return Forgotten(identity, True, rows, words, _vectors(store, identity, project), queued)


def _vectors(store: Any, identity: str, project: str) -> int | None:
    name = store_name(project)
    try:
        return len(store.get(name, [identity])) if any(row.name == name for row in store.collections()) else 0
    except SuiteError:  # a store that is down: the removal is queued, and what is left cannot be counted
        return None
