"""Bring the vector store to what the database holds: every remembered turn has a point, and nothing else has one.

The database is the truth, and the queue: a turn whose vector is not written is `pending` there, a removal not made stays in `memory_removals`, and
both are committed with the words themselves. A point has the id of its turn, so that writing it twice leaves one. A store that lost points, or that
another embedding model wrote, is filled again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest, NotFound, SuiteError
from suite.memory.record import TextEmbedder, store_name
from suite.memory.remember import alive, fetch_known
from suite.memory.renew import renew_terms
from suite.memory.table import memories, memory_removals, projects
from suite.vectors.store import Point

BATCH = 64
PAGE = 1000  # points that are read at once
UNDONE = ("pending", "failed")
PAUSE = 0.05  # seconds without a save after which the work begins: it would slow down the next of several saves
GATHERED = 1.0  # seconds after which it begins though somebody still saves
WAIT = 10.0  # seconds that closing waits for the batch that is being written
_log = logging.getLogger("suite.memory")


class VectorSync:
    """Writes vectors of turns and removes them. One thread at a time does so, so that a removal never overtakes a write."""

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, settings: Any) -> None:
        self._storage, self._store, self._embedder = storage, store, embedder
        self._longest = settings.embedding_max_chars
        self._lock = threading.Lock()
        self.halt = threading.Event()  # end after the batch at work

    def run(self, project: str = "") -> dict[str, int]:
        """Write what is pending, remove what is queued, of one project or of all, and count both: synced, failed, removed, pending.

        Raises what the store or the embedder raised; what was not done by then is still pending.
        """
        with self._lock:
            removed = self._drain()
            for name in [project] if project else self._projects():
                self._reconcile(name)
            synced, failed = self._write_all(project)
        return {"synced": synced, "failed": failed, "removed": removed, "pending": self.pending(project)}

    def follow(self) -> None:
        """Write what was remembered and remove what was forgotten since, without comparing everything."""
        with self._lock:
            self._drain()
            self._write_all("", ("pending",))

    def settle(self, project: str) -> int:
        """Write the vectors of a project's last turns now, if they are few, so that they can be found; how many still wait, BATCH or more."""
        query = sa.select(sa.func.count()).select_from(
            sa.select(memories.c.seq).where(memories.c.sync == "pending", memories.c.project == project).limit(BATCH + 1).subquery())
        with self._storage.read() as connection:
            waiting = connection.execute(query).scalar_one()
        if not 0 < waiting <= BATCH:
            return waiting
        with self._lock:
            self._write_all(project, ("pending",))
        return 0

    def drain(self) -> int:
        """Remove the vectors that are queued for removal, and return how many."""
        with self._lock:
            return self._drain()

    def pending(self, project: str = "") -> int:
        """The number of turns whose vector is not in the store yet, plus the removals not made yet."""
        with self._storage.read() as connection:
            waiting = connection.execute(self._undone(sa.func.count(), project)).scalar_one()
            removals = sa.select(sa.func.count()).select_from(memory_removals)
            if project:
                removals = removals.where(memory_removals.c.project == project)
            return waiting + connection.execute(removals).scalar_one()

    def queue(self, project: str, limit: int = 100) -> list[dict[str, Any]]:
        """The first turns of a project whose vector is not written, and the first removals not made: id, what (pending, failed, removal), since."""
        columns = memories.c.id, memories.c.sync, memories.c.created
        removals = sa.select(memory_removals).where(memory_removals.c.project == project).order_by(memory_removals.c.at).limit(limit)
        with self._storage.read() as connection:
            turns = connection.execute(self._undone(columns, project).order_by(memories.c.seq).limit(limit)).all()
            gone = connection.execute(removals).all()
        rows = [{"id": row.id, "what": row.sync, "since": row.created} for row in turns]
        return (rows + [{"id": row.memory, "what": "removal", "since": row.at} for row in gone])[:limit]

    @staticmethod
    def _undone(columns: Any, project: str) -> Any:
        query = sa.select(*columns) if isinstance(columns, tuple) else sa.select(columns).select_from(memories)
        query = query.where(memories.c.sync.in_(UNDONE), alive(time.time()))
        return query.where(memories.c.project == project) if project else query

    def _write_all(self, project: str, states: Sequence[str] = UNDONE) -> tuple[int, int]:
        """Write every turn that waits, each once; a batch holds turns of one project."""
        synced = failed = last = 0
        while not self.halt.is_set():
            query = sa.select(memories.c.seq, memories.c.id, memories.c.project, memories.c.version, memories.c.question, memories.c.reply)
            query = query.where(memories.c.sync.in_(states), alive(time.time()), memories.c.seq > last).order_by(memories.c.seq).limit(BATCH)
            if project:
                query = query.where(memories.c.project == project)
            with self._storage.read() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return synced, failed
            for name, group in groupby(sorted(rows, key=lambda row: (row.project, row.seq)), key=lambda row: row.project):
                good, bad = self._put_batch(name, list(group))
                synced, failed = synced + good, failed + bad
            last = rows[-1].seq
        return synced, failed

    def _put_batch(self, project: str, batch: list[Any]) -> tuple[int, int]:
        """Write a batch; when a text in it cannot be used, write one by one, so that only that text fails."""
        try:
            self._put(project, batch)
        except BadRequest:
            return self._put_each(project, batch)
        return len(batch), 0

    def _put_each(self, project: str, batch: list[Any]) -> tuple[int, int]:
        failed = 0
        for row in batch:
            try:
                self._put(project, [row])
            except BadRequest as error:
                failed += 1
                _log.warning("the vector of memory %s cannot be written: %s", row.id, error)
                self._mark([row], "failed")
        return len(batch) - failed, failed

    def _put(self, project: str, batch: Sequence[Any]) -> None:
        """Every turn gets a point, so that points can be counted; only a text that the model can read gets a vector in it."""
        name, model = store_name(project), self._embedder.model
        texts = {row.id: f"{row.question}\n{row.reply}"[:self._longest] for row in batch}
        readable = [identity for identity, text in texts.items() if self._embedder.reads(text)]
        beginnings = [self._embedder.head(texts[identity]) for identity in readable]  # a turn that the model cannot read whole
        rows = self._embedder.embed(beginnings) if readable else []
        vectors = {identity: row.tolist() for identity, row in zip(readable, rows, strict=True)}
        points = [Point(row.id, vectors.get(row.id), None, {"project": project, "embedder": model.name}) for row in batch]
        try:
            self._store.upsert(name, points)
        except NotFound:  # asked only then: to find out whether it is there, a store counts a million points
            self._store.create(name, model.dim)
            self._store.upsert(name, points)
        gone = self._mark(batch, "synced")
        if gone:  # forgotten while we embedded: its removal may have been made before the point was
            self._store.delete(name, gone)

    def _mark(self, batch: Sequence[Any], state: str) -> list[str]:
        """Note how far these turns are, but for one that was edited meanwhile, whose new words still wait; gives the ids that are gone."""
        with self._storage.begin() as connection:
            versions = {row.id: row.version for row in connection.execute(
                sa.select(memories.c.id, memories.c.version).where(memories.c.id.in_([row.id for row in batch])))}
            done = [row.id for row in batch if versions.get(row.id) == row.version]
            connection.execute(sa.update(memories).where(memories.c.id.in_(done)).values(sync=state))
        return [row.id for row in batch if row.id not in versions]

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
            self._remove_strangers(project)
            return
        if size != model.dim:
            self._store.drop(name)
        with self._storage.begin() as connection:
            connection.execute(sa.update(memories).where(mine).values(sync="pending"))

    def _remove_strangers(self, project: str) -> None:
        """Remove the points of turns that there are not; a store that was restored from a later moment than the database has some."""
        name, last = store_name(project), None
        with self._storage.read() as connection:
            turns = connection.execute(sa.select(sa.func.count()).select_from(memories).where(memories.c.project == project)).scalar_one()
        try:
            if self._store.count(name) <= turns:
                return
        except NotFound:
            return
        while page := self._store.scroll(name, limit=PAGE, offset=last):
            strangers = set(ids := [point.id for point in page]) - fetch_known(self._storage, ids)
            if strangers:
                self._store.delete(name, sorted(strangers))
            last = ids[-1]

    def _projects(self) -> list[str]:
        with self._storage.read() as connection:
            return list(connection.execute(sa.select(projects.c.id).where(projects.c.turns > 0)).scalars())


class Follower:
    """A thread that makes search terms and vectors of what was remembered, so that saving waits neither for Kiwi nor for the embedder."""

    def __init__(self, sync: VectorSync, storage: Any) -> None:
        self._sync, self._storage = sync, storage
        self._asked, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, with what an earlier process left; safe to call twice."""
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._sync.halt.clear()
            self._asked.set()
            self._thread = threading.Thread(target=self._loop, name="suite-memory-vectors", daemon=True)
            self._thread.start()

    def nudge(self) -> None:
        """There is something to write."""
        self._asked.set()

    def close(self) -> None:
        """End after the batch that is being written, WAIT seconds at most."""
        self._stop.set()
        self._sync.halt.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(WAIT)

    def _gather(self) -> None:
        """Wait until nobody has saved for PAUSE seconds, but no longer than GATHERED."""
        begin = time.monotonic() + GATHERED
        self._asked.clear()
        while self._asked.wait(PAUSE) and time.monotonic() < begin and not self._stop.is_set():
            self._asked.clear()

    def _loop(self) -> None:
        while True:
            self._asked.wait()
            self._gather()
            if self._stop.is_set():
                return
            try:
                renew_terms(self._storage)
                self._sync.follow()
            except SuiteError as error:  # everything is still queued in the database; the maintainer's next sync, or the next turn, tries again
                _log.warning("search terms and vectors of memories wait for the next sync: %s", error.message)
            except Exception:  # noqa: BLE001 - the edge of the thread: whatever the store raises, the next turn finds a thread that writes
                _log.exception("search terms and vectors of memories wait for the next sync")
