"""Make the search terms that are not there yet, or that are of an earlier recipe: what a row's `recipe` says is the queue.

A turn is committed without them, and whoever looks for words makes those of the last turns first, so that what was remembered is found.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from suite.memory import project as projecting
from suite.memory.postings import postings
from suite.memory.remember import project_numbers
from suite.memory.table import memories
from suite.memory.words import marked
from suite.text.terms import RECIPE, terms

AT_ONCE = 100  # turns whose terms are made in one transaction
MOST_WAITED_FOR = 1_000  # turns whose terms a search makes first; more are those of an import or of an earlier version

# Said in two halves, which the index answers: «not this one» would be looked for among all turns. So would one project's part of the queue, and
# what has an order: therefore the queue is taken as it comes, whosever it is.
_OTHER = sa.or_(memories.c.recipe < RECIPE, memories.c.recipe > RECIPE)


def renew_terms(storage: Any) -> int:
    """Make the terms of the turns that wait, and return how many those were; a few turns to a transaction."""
    done = 0
    columns = (memories.c.seq, memories.c.version, memories.c.project, memories.c.question, memories.c.reply)
    query = sa.select(*columns).where(_OTHER).limit(AT_ONCE)
    while True:
        with storage.read() as connection:
            waiting = sorted(connection.execute(query).all())
        if not waiting:
            return done
        _store(storage, waiting, {row.seq: terms(f"{row.question}\n{row.reply}") for row in waiting})  # made before: others may write meanwhile
        done += len(waiting)


def settle_terms(storage: Any) -> bool:
    """Make the terms of the last turns now, if they are at most MOST_WAITED_FOR; false when there are more."""
    some = sa.select(memories.c.seq).where(_OTHER).limit(MOST_WAITED_FOR + 1).subquery()
    with storage.read() as connection:
        waiting = connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
    if waiting > MOST_WAITED_FOR:
        return False
    if waiting:
        renew_terms(storage)
    return True


def _store(storage: Any, waiting: list[Any], made: dict[int, list[str]]) -> None:
    """Write terms of turns; one that was forgotten, edited or done by another meanwhile is left to whoever did that."""
    index = postings(storage.engine.dialect.name)
    with storage.begin() as connection:
        numbers = project_numbers(connection, {row.project for row in waiting})
        now = sa.select(memories.c.seq, memories.c.version, memories.c.length).where(memories.c.seq.in_(list(made)), _OTHER)
        still = {(row.seq, row.version): row.length for row in connection.execute(now)}
        same = [row for row in waiting if (row.seq, row.version) in still]
        index.remove(connection, [row.seq for row in same])
        index.add(connection, [(row.seq, [marked(numbers[row.project], term) for term in made[row.seq]]) for row in same])
        if same:
            connection.execute(_DONE, [{"which": row.seq, "terms": len(made[row.seq]), "ours": RECIPE} for row in same])
        for name in sorted({row.project for row in same}):
            more = sum(len(made[row.seq]) - still[row.seq, row.version] for row in same if row.project == name)
            projecting.grown(connection, name, 0, more)


_DONE = sa.update(memories).where(memories.c.seq == sa.bindparam("which")).values(length=sa.bindparam("terms"), recipe=sa.bindparam("ours"))
