"""The part's own proof: a turn is saved in a project of its own, found by words and by vector, and deleted; nothing of it stays."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from suite.memory import project as projecting
from suite.memory.record import store_name
from suite.memory.remember import erase
from suite.memory.table import memories, memory_removals, projects
from suite.monitoring.probe import State, bad, good

QUESTION = "Where does the lighthouse keeper store the brass lamp?"
REPLY = "The lighthouse keeper stores the brass lamp in the cellar below the tower."


class Probe:
    """One proof, in the project `project`, which is made for it and removed."""

    def __init__(self, memory: Any, storage: Any, store: Any, project: str) -> None:
        self._memory, self._storage, self._store, self._project = memory, storage, store, project

    def run(self) -> State:
        """Good when everything happened and nothing is left; facts: saved, words, vector, deleted, seconds."""
        memory, project = self._memory, self._project
        started = time.monotonic()
        try:
            projecting.register(self._storage, project)
            saved = memory.remember(QUESTION, REPLY, project=project, importance=1)
            facts = {"saved": memory.get(saved.id).reply == REPLY,
                     "words": [row.id for row in memory.recall("brass lamp", how="words", project=project)] == [saved.id],
                     "vector": [row.id for row in memory.recall(QUESTION, how="vector", project=project)] == [saved.id],
                     "deleted": bool(memory.forget(saved.id)) and not self._points()
                     and not memory.recall("brass lamp", how="words", project=project)}
        finally:
            self._sweep()
        failed = [name for name, done in facts.items() if not done]
        facts["seconds"] = round(time.monotonic() - started, 3)
        return bad(f"The probe memory failed at: {', '.join(failed)}.", **facts) if failed else good(**facts)

    def _points(self) -> int:
        """How many vectors of the project the store holds."""
        return sum(row.points for row in self._store.collections() if row.name == store_name(self._project))

    def _sweep(self) -> None:
        """Remove whatever the probe left, even a broken one."""
        erase(self._storage, memories.c.project == self._project)
        with self._storage.begin() as connection:
            connection.execute(sa.delete(projects).where(projects.c.id == self._project))
        if any(row.name == store_name(self._project) for row in self._store.collections()):
            self._store.drop(store_name(self._project))
        with self._storage.begin() as connection:  # their points are gone with the collection
            connection.execute(sa.delete(memory_removals).where(memory_removals.c.project == self._project))
