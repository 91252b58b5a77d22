"""The part memory-api: remembered turns in SQL, found by words and by vector."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

from suite.errors import BadRequest, SuiteError
from suite.memory import expire as expiring
from suite.memory import folder as folders
from suite.memory import project as projecting
from suite.memory import transfer, upkeep
from suite.memory.importance import expiry
from suite.memory.numbers import all_projects, series, stats_of
from suite.memory.probe import Probe
from suite.memory.recall import Wanted, by_vector, by_words, fuse, listed, living
from suite.memory.record import (
    Forgotten,
    Imported,
    Project,
    Recall,
    Recalled,
    Remembered,
    TextEmbedder,
    absent,
    as_tags,
    checked_number,
    checked_text,
    checked_time,
    flatten,
    size_of,
)
from suite.memory.remember import Draft, alive, change, checked_level, checked_tags, fetch, prepare, save
from suite.memory.renew import renew_terms, settle_terms
from suite.memory.sync import Follower, VectorSync
from suite.memory.words import Spreads
from suite.monitoring.probe import State, bad, good, guarded
from suite.text.language import language

How = Literal["hybrid", "words", "vector"]
MAX_LIMIT = 100
MAX_OFFSET = 1_000
MAX_LISTED = 1_000
DEPTH = 50  # turns that each arm proposes to the fusion
MAX_QUERY = 4000
_log = logging.getLogger("suite.memory")


class Memory:
    """Remembered turns, by project. Safe to use from several threads.

    A project that is not named is the one that the current directory belongs to (`.ai-memory/project.json` in it or above), else
    DEFAULT_PROJECT_ID. One that is named must be there: NotFound otherwise, with those that are.
    """

    name = "memory-api"

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, settings: Any) -> None:
        self._storage, self._store, self._embedder, self._settings = storage, store, embedder, settings
        self._sync = VectorSync(storage, store, embedder, settings)
        self._follower = Follower(self._sync, storage)
        self._spreads = Spreads()

    def start(self) -> None:
        """Begin to write vectors beside the saving. Storage, store and embedder are started by their owners."""
        projecting.register(self._storage, self.default)
        self._follower.start()

    def close(self) -> None:
        """End the writing of vectors after the batch at work; what is not written is still queued."""
        self._follower.close()

    @property
    def default(self) -> str:
        """The project that is meant by callers who name none and are in no project's folder."""
        return checked_text(self._settings.default_project_id, "project", 120)

    def remember(self, question: str, reply: Any, *, project: str = "", tags: Iterable[str] = (), session: str = "", importance: int | None = None,
                 model: str = "", tokens: int | None = None, seconds: float | None = None, context: dict[str, Any] | None = None,
                 saved: bool = False, important: bool = False, supersedes: str = "", valid_from: Any = None) -> Remembered:
        """Store a turn verbatim; `reply` is text or a Reply, `importance` 1 to 10 or None for the rules in importance.py.

        `saved` makes it a ten, `important` an eight at least. `supersedes` is the id of a turn that holds no longer from now, or `valid_from`, on.
        The turn is safe once this returns, and recall finds it from then on: what search terms and vectors (`sync`) are not made by then, it makes
        first. Raises BadRequest for a value that cannot be stored, NotFound for an unknown project or turn, StorageError when the database refuses.
        """
        text, model, tags = flatten(reply, model, tags)
        tokens, seconds = size_of(reply, tokens, seconds)
        coder = self._settings.api_gateway_code_model in (model, getattr(reply, "alias", ""))
        return self._store_draft(Draft(question, text, self.project(project), "turn", model, tags, session, importance, tokens, seconds, context,
                                       checked_time(valid_from, "valid_from"), coder, saved, important), supersedes)

    def note(self, text: str, kind: str = "fact", *, project: str = "", tags: Iterable[str] = (), about: str = "", source: str = "",
             importance: int | None = None, supersedes: str = "", valid_from: Any = None) -> Remembered:
        """Store a `fact` or a `summary` as somebody wrote it; none is ever made up here. Recalled like a turn, and kept for ever unless told.

        `about` is a line that it is found by too, `source` the id of the turn that it came from.
        """
        if kind not in ("fact", "summary"):
            raise BadRequest(f"A note is a 'fact' or a 'summary', not {kind!r}.", param="kind")
        context = {"source": checked_text(source, "source", 36)} if source else None
        draft = Draft(about, text, self.project(project), kind, "", as_tags(tags), "", importance, context=context,
                      valid_from=checked_time(valid_from, "valid_from"))
        return self._store_draft(draft, supersedes)

    def recall(self, query: str, *, how: How = "hybrid", limit: int = 5, offset: int = 0, project: str = "", tags: Iterable[str] = (),
               importance_min: int = 1, since: Any = None, until: Any = None, at: Any = None, kind: str = "", session: str = "",
               favourite: bool | None = None) -> Recall:
        """The remembered turns of a project that match, best first.

        `words` ranks by BM25, `vector` by meaning, `hybrid` by reciprocal rank fusion of both. Only turns count that have all `tags`, an importance
        of `importance_min` at least, were created `since` (inclusive) and before `until`, and hold `at` that moment (default: now). When the vectors
        are down, or the embedding model cannot read the query, words answer alone under `hybrid`, which `note` says; under `vector` that is an error.
        """
        checked_text(query, "query", MAX_QUERY)
        if how not in ("hybrid", "words", "vector"):
            raise BadRequest(f"There is no way to recall named {how!r}; use 'hybrid', 'words' or 'vector'.", param="how")
        checked_number(limit, "limit", 1, MAX_LIMIT)
        checked_number(offset, "offset", 0, MAX_OFFSET)
        wanted = self._wanted(tags, importance_min, since, until, at, kind, session, favourite)
        project, deep, note = self.project(project), max(limit + offset, DEPTH), ""
        vector, vectors = None, list[tuple[str, float]]()
        try:  # embedded before the words are searched: ONNX's threads go on spinning for a while, and would slow the vector search down
            vector, note = (None, "") if how == "words" else self._vector_of(project, query)
        except SuiteError as error:
            note = self._without(error, how)
        note = f"{note} {'' if how == 'vector' else self._settled()}".strip()
        words = by_words(self._storage, project, query, deep, wanted, self._spreads) if how != "vector" else []
        try:
            vectors = [] if vector is None else by_vector(self._storage, self._store, project, vector, deep, wanted)
        except SuiteError as error:
            note = f"{note} {self._without(error, how)}".lstrip()
        ranked = {"words": words, "vector": vectors}.get(how) if how != "hybrid" else fuse(words, vectors)
        ids = [identity for identity, _ in (ranked or [])[offset:offset + limit]]
        found, worth = living(self._storage, ids, wanted), dict(ranked or [])
        by = ({row[0] for row in words}, {row[0] for row in vectors})
        return Recall((Recalled(found[identity], worth[identity], _arm(identity, *by), note) for identity in ids if identity in found), note)

    def turns(self, project: str = "", *, tags: Iterable[str] = (), importance_min: int = 1, since: Any = None, until: Any = None, at: Any = None,
              kind: str = "", session: str = "", favourite: bool | None = None, limit: int = 50, offset: int = 0,
              order: str = "newest") -> list[Remembered]:
        """The turns of a project that count (see recall), without a query: the `newest` or the most `important` first."""
        if order not in ("newest", "important"):
            raise BadRequest(f"There is no order {order!r}; use 'newest' or 'important'.", param="order")
        checked_number(limit, "limit", 1, MAX_LISTED)
        checked_number(offset, "offset", 0, 10**9)
        wanted = self._wanted(tags, importance_min, since, until, at, kind, session, favourite)
        return listed(self._storage, self.project(project), wanted, limit, offset, order)

    def get(self, id: str) -> Remembered:
        """One remembered turn; raises NotFound."""
        found = fetch(self._storage, [str(id)], alive(time.time()))
        if str(id) not in found:
            raise absent(str(id))
        return found[str(id)]

    def edit(self, id: str, *, question: str | None = None, reply: str | None = None, tags: Iterable[str] | None = None,
             importance: int | None = None, favourite: bool | None = None, valid_until: Any = None) -> Remembered:
        """Change what is given of a turn; it keeps its id and the time that it was made, and says when it was `edited`.

        A favourite is kept for ever while it is one. Raises NotFound, and BadRequest for a value that cannot be stored.
        """
        ends = checked_time(valid_until, "valid_until")

        def changed(turn: Remembered) -> Remembered:
            level = turn.importance if importance is None else checked_level(importance)
            liked = turn.favourite if favourite is None else bool(favourite)
            return replace(
                turn, question=turn.question if question is None else checked_text(question, "question", blank=turn.kind != "turn"),
                reply=turn.reply if reply is None else checked_text(reply, "reply"),
                tags=turn.tags if tags is None else checked_tags(as_tags(tags)),
                importance=level, rules=turn.rules if importance is None else (f"said to be {level}",), favourite=liked, edited=time.time(),
                expires=None if liked else expiry(level, turn.created), valid_until=turn.valid_until if ends is None else ends)

        after = change(self._storage, str(id), changed)
        self._follower.nudge()
        return after

    def forget(self, id: str) -> Forgotten:
        """Delete one turn: its words, its search terms, its vector; what the answer says was counted afterwards. False when there is none."""
        known = fetch(self._storage, [str(id)])
        gone = expiring.forget(self._storage, str(id))
        if gone:
            self._try_drain()
        return expiring.proof(self._storage, self._store, gone, str(id), known[str(id)].project if str(id) in known else "")

    def expire(self, now: float | None = None, project: str = "") -> int:
        """Delete the turns that expired at or before `now` (UTC seconds since 1970; None: now), of one project or of all, and return how many."""
        count = expiring.expire(self._storage, now, self.project(project) if project else "")
        if count:
            self._try_drain()
        return count

    def sync(self, project: str = "") -> dict[str, int]:
        """Write the vectors that are pending and make the removals that are queued; raises what the store or the embedder raises.

        Search terms that are not there yet, or that an earlier version stored, are made first.
        """
        renew_terms(self._storage)
        return self._sync.run(self.project(project) if project else "")

    def queue(self, project: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """What of a project still waits for the vector store: id, what (pending, failed, removal), since (UTC seconds since 1970)."""
        checked_number(limit, "limit", 1, MAX_LISTED)
        return self._sync.queue(self.project(project), limit)

    def stats(self, project: str = "") -> dict[str, Any]:
        """Numbers about a project's living turns: how many, by importance, model and state of the vector; oldest and newest in UTC seconds."""
        return stats_of(self._storage, self.project(project))

    def projects(self) -> list[Project]:
        """Every project, with the number of its living turns, in the order of their ids."""
        return all_projects(self._storage)

    def create_project(self, name: str, path: str = "") -> Project:
        """Make a project; with `path` that folder becomes its own (`.ai-memory/project.json` is written there).

        Raises BadRequest when it is there already.
        """
        folder = folders.named(path) if path else None
        identity = name if folder is None else projecting.new_id()
        checked_text(name, "project name", 120)
        if folder is not None:
            folders.write(folder, identity, name)
        projecting.create(self._storage, name, identity, str(folder or ""))
        return next(row for row in self.projects() if row.id == identity)

    def join_project(self, id: str, name: str = "", path: str = "") -> str:
        """Note a project that a folder's file names, if it is not known yet, and return its id."""
        projecting.register(self._storage, checked_text(id, "project", 120), checked_text(name, "project name", 120, blank=True),
                            checked_text(path, "path", 4096, blank=True))
        return id

    def export(self, project: str = "") -> Iterator[str]:
        """A project as JSON lines: what it is, then its turns in their order. Vectors are left out: an import computes them."""
        return transfer.export(self._storage, self.project(project))

    def bring(self, lines: Iterable[str], project: str = "") -> Imported:
        """Import what `export` gave, into the project that it came from (made where it is missing) or another; known ids are left as they are.

        Nothing is imported when a line cannot be used: BadRequest with its number.
        """
        head, turns = transfer.read(lines)
        target = self.project(project) if project else self.join_project(head, head)
        found = transfer.bring(self._storage, target, turns)
        self._follower.nudge()
        return found

    def backup(self, project: str = "") -> dict[str, Any]:
        """Write what `export` gives into a file of its own in the data directory's `backups`: `project`, `path`, `turns` (how many it has)."""
        return upkeep.keep(self.export(project), self._settings.data_dir / "backups", self.project(project))

    def optimize(self) -> dict[str, Any]:
        """Merge the word index, give the space of deleted rows back, count anew what queries are planned by: `bytes` now, `freed`."""
        return upkeep.optimize(self._storage)

    def rebuild_words(self, project: str = "") -> int:
        """Make the word index of a project anew from its turns, and return how many those are; it goes on being searched meanwhile."""
        return upkeep.rebuild_words(self._storage, self.project(project))

    def project(self, project: str = "") -> str:
        """The id of the project that is meant (see Memory); raises NotFound for one that is not there."""
        if project:
            return projecting.known(self._storage, project)
        here = folders.here()
        if here is not None:
            return self.join_project(**here)
        projecting.register(self._storage, self.default)
        return self.default

    def series(self) -> dict[str, float]:
        """Numbers for metrics: memories, projects, and what waits for the vector store with the age in seconds of the oldest."""
        return series(self._storage)

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
        return guarded(Probe(self, self._storage, self._store, f"probe-{uuid.uuid4()}").run)

    def _store_draft(self, draft: Draft, supersedes: str) -> Remembered:
        memory = prepare(draft)
        save(self._storage, memory, supersedes)
        self._follower.nudge()
        return memory

    def _wanted(self, tags: Iterable[str], importance_min: int, since: Any, until: Any, at: Any, kind: str, session: str,
                favourite: bool | None) -> Wanted:
        return Wanted(checked_tags(as_tags(tags)), checked_level(importance_min), checked_time(since, "since"), checked_time(until, "until"),
                      checked_time(at, "at"), checked_text(kind, "kind", 10, blank=True), checked_text(session, "session", 120, blank=True),
                      favourite)

    def _vector_of(self, project: str, query: str) -> tuple[list[float], str]:
        """The query as a vector, and what there is to say of it. Raises BadRequest for one that the model cannot read, and what the store raises."""
        model = self._embedder.model.name
        if not self._embedder.reads(query):
            raise BadRequest(f"The embedding model {model} does not read this query (language: {language(query)})", param="how")
        waiting = self._sync.settle(project)
        asked = self._embedder.head(query, kind="query")
        notes = [] if asked == query else [f"{model} reads no more than the query's beginning, so that counted."]
        notes += ["The newest turns have no vector yet, so only their words counted."] if waiting else []
        return self._embedder.embed([asked], kind="query")[0].tolist(), " ".join(notes)

    def _settled(self) -> str:
        """Make the search terms that still wait; what there is to say when some are left. Reading must go on where nothing can be written."""
        try:
            whole = settle_terms(self._storage)
        except SuiteError as error:
            return f"{error.message.rstrip('.')}, so the words of the newest turns may be missed."
        return "" if whole else "Search terms of many turns are still being made, so words may miss some."

    @staticmethod
    def _without(error: SuiteError, how: str) -> str:
        """What is said when words answer alone; where meaning was asked for by name, the error is raised."""
        reason = error.message.rstrip(".")
        if how != "vector":
            return f"{reason}, so only words counted."
        raise error if not isinstance(error, BadRequest) else BadRequest(f"{reason}; recall it with how='words' or how='hybrid'.", param="how")

    def _try_drain(self) -> None:
        """Remove vectors now; where the store refuses, they stay queued for the next sync."""
        try:
            self._sync.drain()
        except Exception as error:  # noqa: BLE001 - the edge: the turn is gone from SQL, and a failing store must not look like one that is not
            _log.warning("vectors of forgotten memories wait for the next sync: %s: %s", type(error).__name__, error)


def _arm(identity: str, words: set[str], vectors: set[str]) -> str:
    return "both" if identity in words and identity in vectors else "words" if identity in words else "vector"
