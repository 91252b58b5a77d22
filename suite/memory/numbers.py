"""Numbers about memory: of one project, of all of them, and for metrics."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from suite.memory.record import Project
from suite.memory.remember import alive
from suite.memory.table import memories, memory_removals, projects


def stats_of(storage: Any, project: str) -> dict[str, Any]:
    """Numbers about a project's living turns: how many, by kind, importance, model and state of the vector; oldest and newest in UTC seconds."""
    mine = sa.and_(memories.c.project == project, alive(time.time()))
    with storage.read() as connection:
        total, mean, oldest, newest = connection.execute(sa.select(
            sa.func.count(), sa.func.avg(memories.c.importance), sa.func.min(memories.c.created), sa.func.max(memories.c.created))
            .where(mine)).one()
        by = {name: {str(value): count for value, count in connection.execute(
            sa.select(memories.c[name], sa.func.count()).where(mine).group_by(memories.c[name]).order_by(memories.c[name]))}
            for name in ("importance", "model", "sync", "kind")}
    return {"project": project, "memories": total, "importance_mean": None if mean is None else float(mean), "oldest": oldest, "newest": newest,
            "importance": by["importance"], "models": by["model"], "sync": by["sync"], "kinds": by["kind"]}


def all_projects(storage: Any) -> list[Project]:
    """Every project with the numbers of its living turns, in the order of their ids."""
    query = (sa.select(memories.c.project, sa.func.count(), sa.func.avg(memories.c.importance), sa.func.max(memories.c.created))
             .where(alive(time.time())).group_by(memories.c.project))
    with storage.read() as connection:
        numbers = {name: (count, float(mean), newest) for name, count, mean, newest in connection.execute(query)}
        rows = connection.execute(sa.select(projects.c.id, projects.c.name, projects.c.path, projects.c.created)).all()
    found = [Project(row.id, row.name, row.path, row.created, *numbers.get(row.id, (0, None, None))) for row in rows]
    return sorted(found, key=lambda row: row.id)  # here, because databases have orders of their own


def series(storage: Any) -> dict[str, float]:
    """memories, projects, pending (vectors and removals not made) and lag (seconds since the oldest of them; 0 when there is none)."""
    with storage.read() as connection:
        turns, count = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(projects.c.turns), 0), sa.func.count())).one()
        waiting, oldest = connection.execute(sa.select(sa.func.count(), sa.func.min(memories.c.created))
                                             .where(memories.c.sync.in_(("pending", "failed")), alive(time.time()))).one()
        removals, first = connection.execute(sa.select(sa.func.count(), sa.func.min(memory_removals.c.at))).one()
    since = min((moment for moment in (oldest, first) if moment is not None), default=None)
    return {"memories": float(turns), "projects": float(count), "pending": float(waiting + removals),
            "lag": 0.0 if since is None else max(0.0, time.time() - since)}
