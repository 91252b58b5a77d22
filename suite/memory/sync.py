"""Bring the vector store to what the database holds: every remembered turn has a point, and nothing else has one.

The database is the truth. A vector that could not be written stays `pending`; a removal that could not be made stays in `memory_removals`;
the next `run` does both. A store that lost points, or that another embedding model wrote, is filled again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest, NotFound
from suite.memory.record import Remembered, TextEmbedder, from_row, store_name
from suite.memory.table import memories, memory_removals
from suite.vectors.store import Point

BATCH = 64


class VectorSync:
    """Writes vectors of turns and removes them. One thread at a time does so, so that a removal never overtakes a write."""

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, settings: Any) -> None:
        self._storage, self._store, self._embedder = storage, store, embedder
        self._longest = settings.embedding_max_chars
        self._lock = threading.Lock()

    def run(self) -> dict[str, int]:
        """Write what is pending, remove what is queued, and count both: synced, failed, removed, pending.

        Raises what the store or the embedder raised; what was not done by then is still pending.
        """
        with self._lock:
            removed = self._drain()
            for project in self._projects():
                self._reconcile(project)
            synced = failed = 0
            waiting = self._waiting()
            for project, group in groupby(waiting, key=lambda memory: memory.project):
                batch = list(group)
                for start in range(0, len(batch), BATCH):
                    good, bad = self._put_batch(project, batch[start:start + BATCH])
                    synced, failed = synced + good, failed + bad
        return {"synced": synced, "failed": failed, "removed": removed, "pending": self.pending()}

    def put(self, memory: Remembered) -> None:
        """Write the vector of one turn now."""
        with self._lock:
            self._put(memory.project, [memory])

    def drain(self) -> int:
        """Remove the vectors that are queued for removal, and return how many."""
        with self._lock:
            return self._drain()

    def pending(self) -> int:
        """The number of turns whose vector is not in the store yet, plus the removals not made yet."""
        with self._storage.read() as connection:
            waiting = connection.execute(sa.select(sa.func.count()).select_from(memories).where(memories.c.sync != "synced")).scalar_one()
            return waiting + connection.execute(sa.select(sa.func.count()).select_from(memory_removals)).scalar_one()

    def _put_batch(self, project: str, batch: list[Remembered]) -> tuple[int, int]:
        """Write a batch; when a text in it cannot be used, write one by one, so that only that text fails."""
        try:
            self._put(project, batch)
        except BadRequest:
            return self._put_each(project, batch)
        return len(batch), 0

    def _put_each(self, project: str, batch: list[Remembered]) -> tuple[int, int]:
        failed = 0
        for memory in batch:
            try:
                self._put(project, [memory])
            except BadRequest:
                failed += 1
                with self._storage.begin() as connection:
                    connection.execute(sa.update(memories).where(memories.c.id == memory.id).values(sync="failed"))
        return len(batch) - failed, failed

    def _put(self, project: str, batch: Sequence[Remembered]) -> None:
        """Every turn gets a point, so that points can be counted; only a text that the model can read gets a vector in it."""
        name, model = store_name(project), self._embedder.model
        texts = {memory.id: f"{memory.question}\n{memory.reply}"[:self._longest] for memory in batch}
        readable = [identity for identity, text in texts.items() if self._embedder.reads(text)]
        beginnings = [self._embedder.head(texts[identity]) for identity in readable]  # a turn that the model cannot read whole
        rows = self._embedder.embed(beginnings) if readable else []
        vectors = {identity: row.tolist() for identity, row in zip(readable, rows, strict=True)}
        self._store.create(name, model.dim)
        self._store.upsert(name, [Point(memory.id, vectors.get(memory.id), None, {"project": project, "embedder": model.name}) for memory in batch])
        ids = list(texts)
        with self._storage.begin() as connection:
            connection.execute(sa.update(memories).where(memories.c.id.in_(ids)).values(sync="synced"))
            kept = set(connection.execute(sa.select(memories.c.id).where(memories.c.id.in_(ids))).scalars())
        gone = [identity for identity in ids if identity not in kept]  # forgotten while we embedded
        if gone:
            self._store.delete(name, gone)

    def _drain(self) -> int:
        with self._storage.read() as connection:
            queued = connection.execute(sa.select(memory_removals).order_by(memory_removals.c.project)).all()
        for project, group in groupby(queued, key=lambda row: row.project):
            ids = [row.memory for row in group]
            for start in range(0, len(ids), 500):  # databases bound the number of values in one statement
                part = ids[start:start + 500]
                with suppress(NotFound):  # no vector of this project was ever written
                    self._store.delete(store_name(project), part)
                with self._storage.begin() as connection:
                    connection.execute(sa.delete(memory_removals).where(memory_removals.c.memory.in_(part)))
        return len(queued)

    def _reconcile(self, project: str) -> None:
        """Where the store has not one point of our model for each synced turn, begin again with that project."""
        name, model = store_name(project), self._embedder.model
        mine = sa.and_(memories.c.project == project, memories.c.sync == "synced")
        with self._storage.read() as connection:
            expected = connection.execute(sa.select(sa.func.count()).select_from(memories).where(mine)).scalar_one()
        try:
            size = self._store.info(name).size
            present = self._store.count(name, {"embedder": model.name})
        except NotFound:
            size, present = model.dim, 0
        if size == model.dim and present >= expected:  # more: written, and the database not told yet
            return
        if size != model.dim:
            self._store.drop(name)
        with self._storage.begin() as connection:
            connection.execute(sa.update(memories).where(mine).values(sync="pending"))

    def _projects(self) -> list[str]:
        with self._storage.read() as connection:
            return list(connection.execute(sa.select(memories.c.project).distinct()).scalars())

    def _waiting(self) -> list[Remembered]:
        query = sa.select(memories).where(memories.c.sync != "synced", sa.or_(memories.c.expires.is_(None), memories.c.expires > time.time()))
        with self._storage.read() as connection:
            return [from_row(row) for row in connection.execute(query.order_by(memories.c.project, memories.c.sync.desc(), memories.c.created))]
