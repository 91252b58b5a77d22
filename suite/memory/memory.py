"""The part memory-api: remembered turns in SQL, found by words and by vector."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa

from suite.errors import BadRequest, NotFound, SuiteError
from suite.memory import expire as expiring
from suite.memory.recall import by_vector, by_words, fuse
from suite.memory.record import Recalled, Remembered, TextEmbedder, checked_text, flatten, store_name
from suite.memory.remember import alive, fetch, insert, prepare, renew_terms
from suite.memory.sync import VectorSync
from suite.memory.table import memories
from suite.monitoring.probe import State, bad, good, guarded
from suite.text.language import language

How = Literal["hybrid", "words", "vector"]
MAX_LIMIT = 100
DEPTH = 50  # turns that each arm proposes to the fusion
MAX_QUERY = 4000
_PROBE_QUESTION = "Where does the lighthouse keeper store the brass lamp?"
_PROBE_REPLY = "The lighthouse keeper stores the brass lamp in the cellar below the tower."
_log = logging.getLogger("suite.memory")


class Memory:
    """Remembered turns, by project. Safe to use from several threads."""

    name = "memory-api"

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, settings: Any) -> None:
        self._storage, self._store, self._embedder, self._settings = storage, store, embedder, settings
        self._sync = VectorSync(storage, store, embedder, settings)

    def start(self) -> None:
        """Nothing to load: storage, store and embedder are started by their owners."""

    def close(self) -> None:
        """Nothing to release."""

    def remember(self, question: str, reply: Any, *, project: str = "", tags: Iterable[str] = (), session: str = "", importance: int | None = None,
                 model: str = "") -> Remembered:
        """Store a turn verbatim; `reply` is text or a Reply, `importance` 1 to 10 or None for the rule in importance.py.

        The turn is safe once this returns. Its vector is tried at once; when that fails the record says so (`sync`, `why`) and the next sync
        writes it. Raises BadRequest for a value that cannot be stored, StorageError when the database refuses.
        """
        text, model, tags = flatten(reply, model, tags)
        memory = prepare(question, text, self._project(project), model=model, tags=tags, session=session, level=importance)
        insert(self._storage, memory)
        why = self._attempt(lambda: self._sync.put(memory))
        return self._with_why(memory, why)

    def recall(self, query: str, *, how: How = "hybrid", limit: int = 5, project: str = "") -> list[Recalled]:
        """The remembered turns of a project that match, best first.

        `words` ranks by BM25, `vector` by meaning, `hybrid` by reciprocal rank fusion of both. A query that the embedding model cannot read is
        searched by words alone under `hybrid`, which each record's `note` says; under `vector` it raises BadRequest. Of one that is longer than
        the model reads the beginning counts for the meaning, which the `note` says too.
        """
        checked_text(query, "query", MAX_QUERY)
        if how not in ("hybrid", "words", "vector"):
            raise BadRequest(f"There is no way to recall named {how!r}; use 'hybrid', 'words' or 'vector'.", param="how")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise BadRequest(f"The limit is {limit!r}; it must be a whole number from 1 to {MAX_LIMIT}.", param="limit")
        project, note = self._project(project), ""
        words = by_words(self._storage, project, query, max(limit, DEPTH)) if how != "vector" else []
        vectors: list[tuple[str, float]] = []
        if how != "words":
            if self._embedder.reads(query):
                asked = self._embedder.head(query, kind="query")
                vectors = self._nearest(project, asked, max(limit, DEPTH))
                note = "" if asked == query else f"{self._embedder.model.name} reads no more than the query's beginning, so that counted."
            elif how == "vector":
                raise BadRequest(f"{self._unread(query)}; recall it with how='words' or how='hybrid'.", param="how")
            else:
                note = f"{self._unread(query)}, so only words counted."
        ranked = {"words": words, "vector": vectors}.get(how) if how != "hybrid" else fuse(words, vectors)
        return self._recalled(ranked or [], {row[0] for row in words}, {row[0] for row in vectors}, note, limit)

    def get(self, id: str) -> Remembered:
        """One remembered turn; raises NotFound."""
        found = fetch(self._storage, [str(id)])
        if str(id) not in found:
            raise NotFound(f"There is no memory {id!r}; it was never saved, was forgotten, or has expired.", param="id")
        return found[str(id)]

    def forget(self, id: str) -> bool:
        """Delete one turn and its vector; false when there is none with this id."""
        done = expiring.forget(self._storage, str(id))
        if done:
            self._attempt(self._sync.drain)
        return done

    def expire(self, now: float | None = None) -> int:
        """Delete the turns that expired at or before `now` (UTC seconds since 1970; None: now) and return how many."""
        count = expiring.expire(self._storage, now)
        if count:
            self._attempt(self._sync.drain)
        return count

    def sync(self) -> dict[str, int]:
        """Write the vectors that are pending and make the removals that are queued; raises what the store or the embedder raises.

        Search terms that an earlier version stored are renewed first.
        """
        renew_terms(self._storage)
        return self._sync.run()

    def stats(self, project: str = "") -> dict[str, Any]:
        """Numbers about a project's living turns: how many, by importance, model and state of the vector; oldest and newest in UTC seconds."""
        project = self._project(project)
        mine = sa.and_(memories.c.project == project, alive(time.time()))
        with self._storage.read() as connection:
            total, mean, oldest, newest = connection.execute(sa.select(
                sa.func.count(), sa.func.avg(memories.c.importance), sa.func.min(memories.c.created), sa.func.max(memories.c.created))
                .where(mine)).one()
            by = {name: {str(value): count for value, count in connection.execute(
                sa.select(memories.c[name], sa.func.count()).where(mine).group_by(memories.c[name]).order_by(memories.c[name]))}
                for name in ("importance", "model", "sync")}
        return {"project": project, "memories": total, "importance_mean": None if mean is None else float(mean), "oldest": oldest, "newest": newest,
                "importance": by["importance"], "models": by["model"], "sync": by["sync"]}

    def projects(self) -> list[dict[str, Any]]:
        """Name, number of living turns and the newest one's time of every project that has any."""
        query = (sa.select(memories.c.project, sa.func.count(), sa.func.max(memories.c.created)).where(alive(time.time()))
                 .group_by(memories.c.project))
        with self._storage.read() as connection:
            found = [{"project": name, "memories": count, "newest": newest} for name, count, newest in connection.execute(query)]
        return sorted(found, key=lambda row: row["project"])  # here, because databases have orders of their own

    def live(self) -> State:
        """There as long as the kernel is."""
        return good()

    def ready(self) -> State:
        """Storage and the vector arm both serve; facts: storage, vectors (flags) and pending."""
        reasons: list[str] = []
        pending = None
        try:
            pending = self._sync.pending()
        except SuiteError as error:
            reasons.append(error.message)
        below = [state for state in (self._store.ready(), self._embedder.ready()) if not state.ok]
        reasons.extend(reason for state in below for reason in state.reasons)
        facts = {"storage": pending is not None, "vectors": not below, "pending": pending}
        if pending is not None and not below:
            return good(**facts)
        return bad(*reasons, retry_after=max([state.retry_after or 5 for state in below], default=5), **facts)

    def deep(self) -> State:
        """A turn is saved in a project of its own, found by words and by vector, and deleted; nothing of it stays."""
        return guarded(self._deep)

    def _deep(self) -> State:
        project = f"probe-{uuid.uuid4()}"
        started = time.monotonic()
        try:
            memory = self.remember(_PROBE_QUESTION, _PROBE_REPLY, project=project, importance=1)
            facts = {"saved": memory.sync == "synced",
                     "words": [row.id for row in self.recall("brass lamp", how="words", project=project)] == [memory.id],
                     "vector": [row.id for row in self.recall(_PROBE_QUESTION, how="vector", project=project)] == [memory.id],
                     "deleted": self.forget(memory.id) and not self.recall("brass lamp", how="words", project=project)
                     and not self._points(project)}
        finally:
            self._sweep(project)
        failed = [name for name, done in facts.items() if not done]
        facts["seconds"] = round(time.monotonic() - started, 3)
        if failed:
            return bad(f"The probe memory failed at: {', '.join(failed)}. {memory.why}".strip(), **facts)
        return good(**facts)

    def _points(self, project: str) -> int:
        """How many vectors of a project the store holds."""
        return sum(row.points for row in self._store.collections() if row.name == store_name(project))

    def _sweep(self, project: str) -> None:
        """Remove whatever a probe left, even a broken one."""
        for row in self._ids(project):
            expiring.forget(self._storage, row)
        self._attempt(self._sync.drain)
        if any(row.name == store_name(project) for row in self._store.collections()):
            self._store.drop(store_name(project))

    def _ids(self, project: str) -> list[str]:
        with self._storage.read() as connection:
            return list(connection.execute(sa.select(memories.c.id).where(memories.c.project == project)).scalars())

    def _nearest(self, project: str, query: str, limit: int) -> list[tuple[str, float]]:
        return by_vector(self._store, project, self._embedder.embed([query], kind="query")[0].tolist(), limit)

    def _recalled(self, ranked: list[tuple[str, float]], words: set[str], vectors: set[str], note: str, limit: int) -> list[Recalled]:
        living = fetch(self._storage, [identity for identity, _ in ranked], time.time())  # a vector may outlive its turn for a moment
        return [Recalled(living[identity], score, "both" if identity in words and identity in vectors else "words" if identity in words else "vector",
                         note) for identity, score in ranked if identity in living][:limit]

    def _unread(self, query: str) -> str:
        return f"The embedding model {self._embedder.model.name} does not read this query (language: {language(query)})"

    def _project(self, project: str) -> str:
        return checked_text(project or self._settings.default_project_id, "project", 120)

    def _attempt(self, work: Any) -> str:
        """Do what a later sync would do anyway, and return why it failed, if it did."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the edge: the turn is safe in SQL, and failing vectors must not look like a lost turn
            _log.warning("vectors of memories wait for the next sync: %s: %s", type(error).__name__, error)
            return f"Its vector is not written yet ({error}); the next sync tries again."
        return ""

    def _with_why(self, memory: Remembered, why: str) -> Remembered:
        values = memory.to_dict()
        return Remembered.from_dict({**values, "sync": "pending" if why else "synced", "why": why})
