"""Store a turn verbatim, with its search terms, in one transaction; and read or delete what is stored."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest
from suite.memory.importance import KEPT_DAYS, expiry, importance
from suite.memory.record import MAX_NAME, Remembered, checked_text, from_row
from suite.memory.table import memories, memory_removals, memory_terms
from suite.text.terms import RECIPE, terms

MAX_TAGS = 32
AT_ONCE = 100  # turns whose terms are renewed in one transaction


def prepare(question: Any, reply: Any, project: Any, *, model: str, tags: tuple[str, ...], session: str, level: int | None) -> Remembered:
    """The record of a new turn, checked; raises BadRequest for a value that cannot be stored."""
    if level is not None and (isinstance(level, bool) or level not in KEPT_DAYS):
        raise BadRequest(f"The importance is {level!r}; it must be a whole number from 1 to 10.", param="importance")
    if len(tags) > MAX_TAGS:
        raise BadRequest(f"There are {len(tags)} tags; at most {MAX_TAGS} are allowed.", param="tags")
    question, reply = checked_text(question, "question"), checked_text(reply, "reply")
    level = importance(question, reply) if level is None else level
    created = time.time()
    return Remembered(str(uuid.uuid4()), checked_text(project, "project", MAX_NAME), question, reply,
                      checked_text(model, "model", MAX_NAME, blank=True), checked_text(session, "session", MAX_NAME, blank=True),
                      tuple(checked_text(tag, "tag", MAX_NAME) for tag in tags), level, created, expiry(level, created), "pending")


def insert(storage: Any, memory: Remembered) -> None:
    """Write a turn and its terms, both or neither."""
    counts = Counter(terms(f"{memory.question}\n{memory.reply}"))
    values = {**memory.to_dict(), "tags": json.dumps(memory.tags, ensure_ascii=False), "length": sum(counts.values()), "recipe": RECIPE}
    columns = {name: value for name, value in values.items() if name in memories.c}
    with storage.begin() as connection:
        connection.execute(sa.insert(memories).values(**columns))
        if counts:
            connection.execute(sa.insert(memory_terms), [{"memory": memory.id, "term": term, "count": count} for term, count in counts.items()])


def renew_terms(storage: Any) -> int:
    """Store the search terms of turns that were kept under another recipe anew, and return how many those were; a few turns to a transaction."""
    done = 0
    while True:
        with storage.read() as connection:
            columns = (memories.c.id, memories.c.question, memories.c.reply)
            old = connection.execute(sa.select(*columns).where(memories.c.recipe != RECIPE).limit(AT_ONCE)).all()
        if not old:
            return done
        counts = {row.id: Counter(terms(f"{row.question}\n{row.reply}")) for row in old}
        with storage.begin() as connection:
            kept = set(connection.execute(sa.select(memories.c.id).where(memories.c.id.in_(list(counts)))).scalars())  # not forgotten meanwhile
            connection.execute(sa.delete(memory_terms).where(memory_terms.c.memory.in_(list(kept))))
            rows = [{"memory": id, "term": term, "count": count} for id in kept for term, count in counts[id].items()]
            if rows:
                connection.execute(sa.insert(memory_terms), rows)
            for id in kept:
                connection.execute(sa.update(memories).where(memories.c.id == id).values(length=sum(counts[id].values()), recipe=RECIPE))
        done += len(kept)


def fetch(storage: Any, ids: list[str], now: float | None = None) -> dict[str, Remembered]:
    """The turns with these ids that have not expired at `now` (None: expired ones too), by id."""
    ids = [identity for identity in ids if "\0" not in identity]  # PostgreSQL refuses even to look for such a text
    if not ids:
        return {}
    query = sa.select(memories).where(memories.c.id.in_(ids))
    if now is not None:
        query = query.where(alive(now))
    with storage.read() as connection:
        return {row.id: from_row(row) for row in connection.execute(query)}


def alive(now: float) -> Any:
    """The condition that a turn has not expired."""
    return sa.or_(memories.c.expires.is_(None), memories.c.expires > now)


def erase(storage: Any, which: Any) -> list[str]:
    """Delete the turns that meet a condition on `memories`, queue the removal of their vectors, and return their ids: all of it or nothing."""
    with storage.begin() as connection:
        doomed = connection.execute(sa.select(memories.c.id, memories.c.project).where(which)).all()
        for start in range(0, len(doomed), 500):  # databases bound the number of values in one statement
            part = doomed[start:start + 500]
            ids = [row.id for row in part]
            connection.execute(sa.insert(memory_removals), [{"memory": row.id, "project": row.project, "at": time.time()} for row in part])
            connection.execute(sa.delete(memory_terms).where(memory_terms.c.memory.in_(ids)))
            connection.execute(sa.delete(memories).where(memories.c.id.in_(ids)))
    return [row.id for row in doomed]
