"""The part rag: documents in, answers with citations out."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from suite.errors import BadRequest, NotFound, SuiteError
from suite.knowledge import scale
from suite.knowledge.answer import Chat, answer, checked, refusal
from suite.knowledge.cache import AnswerCache, key
from suite.knowledge.context import budget
from suite.knowledge.index import Index
from suite.knowledge.prepare import Preparation
from suite.knowledge.progress import Progress, quietly
from suite.knowledge.read import Reader, Source, absolute
from suite.knowledge.rebuild import rebuild
from suite.knowledge.record import Added, Answer, Document, Hits, Ranker, TextEmbedder, checked_name, checked_question, checked_topk
from suite.knowledge.register import Register, Registered, store_name
from suite.knowledge.relevance import relevant
from suite.knowledge.retrieve import retrieve
from suite.knowledge.searches import Searches
from suite.knowledge.series import KnowledgeSeries
from suite.knowledge.stage import timed
from suite.monitoring.probe import State, bad, good, guarded

T = TypeVar("T")

_PROBE = "The tide tables of Norwick harbour are kept in a green ledger.\n"
_PROBE_QUESTION = "Where are the tide tables of Norwick harbour kept?"


class Knowledge:
    """Collections of documents. Safe to use from several threads; one at a time writes to a collection.

    `serves` says which model would write an answer, and how many tokens its window has (None: not known). `ranker` is asked for the order of
    the best hits, if there is one; `series` counts.
    """

    name = "rag"

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, chat: Chat, settings: Any, *, ranker: Ranker | None = None,
                 serves: Callable[[], tuple[str, int | None]] = lambda: ("", None), series: KnowledgeSeries | None = None) -> None:
        self._storage, self._store, self._embedder, self._chat, self._settings = storage, store, embedder, chat, settings
        self._ranker, self._serves, self._series = ranker, serves, series or KnowledgeSeries(CollectorRegistry())
        self.default = settings.rag_default_collection
        self._reader = Reader(settings, Path(settings.data_dir), Path(settings.workspace_dir))
        self._preparation = Preparation(embedder, settings)
        self._index, self._register = Index(storage, store, self._preparation), Register(storage)
        self._answers, self._searches = AnswerCache(storage, settings.rag_cache_hours), Searches(storage)
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def start(self) -> None:
        """Nothing to load: storage, store, embedder and gateway are started by their owners."""

    def close(self) -> None:
        """End the processes that parse documents."""
        self._reader.close()

    def add(self, collection: str, patterns: Iterable[str], cwd: Path, progress: Progress = quietly) -> Added:
        """Index the files that the patterns name, relative to `cwd`; unchanged ones are left, a changed one replaces its own chunks.

        A file that cannot be read as text is skipped with the reason; what is indexed of it stays. Nothing is removed because its file is gone:
        that too is listed under skipped. Raises NotReady when the embedder or the store would not serve, and BadRequest when the collection was
        embedded with another model than the one in use. With RAG_DASK_URL, several documents are prepared by the workers of a cluster (see `scale`).
        """
        wanted = absolute(patterns, Path(cwd))
        files, skipped = self._reader.find(wanted)
        counts = {"new": 0, "changed": 0, "unchanged": 0, "removed": 0}
        with self._lock(checked_name(collection)):
            known = self._opened(collection)
            rows = self._index.rows(collection)
            chunks, pieces = 0, scale.pieces if self._settings.rag_dask_url else self._index.pieces
            with closing(self._news(known, rows, progress(files, total=len(files)), skipped, counts)) as news:
                for path, written in self._index.write(known, rows, pieces(news)):
                    chunks += written
                    counts["changed" if path in rows else "new"] += 1
            self._store.flush()
        self._series.indexed(chunks)
        gone = [(path, "no longer exists; its chunks stay until it is removed from the collection") for path in rows
                if not Path(path).exists() and any(Path(path).is_relative_to(root) for root in map(self._root, wanted))]
        return Added(**counts, skipped=tuple(dict(skipped + gone).items()), chunks=chunks)

    def search(self, collection: str, question: str, topk: int | None = None, retriever: str = "default") -> Hits:
        """The chunks that match the question, best first, at most `topk` (RAG_TOPK when None); other retrievers are for comparing.

        Raises BadRequest for a blank question or a topk out of 1 to MAX_TOPK, NotFound for a collection without documents. A collection that
        was embedded with another model than the one in use is searched by words alone, until `rebuild`.
        """
        question, limit = checked_question(question), checked_topk(self._settings.rag_topk if topk is None else topk)
        return self._using(collection, lambda known: retrieve(self._store, known.store, question, limit, self._reads(known), retriever, self._ranker))

    def ask(self, collection: str, question: str, topk: int | None = None) -> Answer:
        """An answer written by the chat model from the chunks that match, each cited; errors as in `search`."""
        found: Answer | None = None
        try:
            with timed(self._series.stage, "total"):
                found = self._ask(collection, question, topk)
        finally:
            self._series.asked(found)
        return found

    def _ask(self, collection: str, question: str, topk: int | None) -> Answer:
        started, question = time.monotonic(), checked_question(question)
        limit = checked_topk(self._settings.rag_topk if topk is None else topk)
        model, window = self._serves()
        s = self._settings
        known = self._known(collection)
        of = key(known, question, limit, model, window, self._embedder.model.name, s.rag_reranker, s.rag_llm_max_tokens, s.rag_llm_temperature,
                 s.rag_context_tokens)
        found = self._answers.get(of)
        if found is None:
            found = self._using(collection, lambda known: self._answer(known, question, limit, window))
            if found.reply is None or not found.reply.fallback:  # a stand-in's answer is not what was asked for
                self._answers.put(of, known, found)
        self._searches.note(collection, question, found, time.monotonic() - started)
        return checked(found, self._reader, self._index.digests(collection, [citation.path for citation in found.citations]))

    def _answer(self, known: Registered, question: str, limit: int, window: int | None) -> Answer:
        embedder, s = self._reads(known), self._settings
        hits = retrieve(self._store, known.store, question, limit, embedder, ranker=self._ranker, observe=self._series.stage)
        if not relevant(self._store, known.store, question, hits, embedder):
            return refusal(question, hits)
        options = {"max_tokens": s.rag_llm_max_tokens, "temperature": s.rag_llm_temperature}
        with timed(self._series.stage, "llm"):
            return answer(self._chat, question, hits, options, budget(window, s.rag_llm_max_tokens, question, s.rag_context_tokens))

    def rebuild(self, collection: str, progress: Progress = quietly) -> int:
        """Embed all chunks of a collection with the model in use, and return how many; it is searched as it was until the last is written.

        Raises NotFound for a collection without documents; see `add` for the rest.
        """
        with self._lock(checked_name(collection)):
            known = self._known(collection)
            return rebuild(self._store, self._register, self._preparation, known, lambda pages, total: progress(pages, total=total))

    def documents(self, collection: str) -> list[Document]:
        """The indexed documents of a collection, by path; none for an unknown one."""
        return self._index.documents(checked_name(collection))

    @property
    def reader(self) -> Reader:
        """What reads documents by the settings in force, for whoever shows them beside the index."""
        return self._reader

    def remove(self, collection: str, path: str) -> bool:
        """Take one document out, by its absolute path; false when it was not there."""
        with self._lock(checked_name(collection)):
            known, path = self._register.get(collection), self._reader.resolved(str(path))
            if known is None or path not in self._index.rows(collection):
                return False
            self._index.erase(known, path)
        return True

    def drop(self, collection: str) -> bool:
        """Take a whole collection out; false when there was none."""
        with self._lock(checked_name(collection)):
            known = self._register.get(collection)
            if known is not None:
                self._index.erase_all(known)
                self._register.forget(collection)
                self._answers.forget(collection)
        return known is not None

    def collections(self) -> list[dict[str, Any]]:
        """Name, number of documents and number of chunks of every collection that has a document."""
        return self._index.collections()

    def prewarm(self) -> dict[str, Any]:
        """Load what the first question would load; says the vectors' size, and whether a model answered, or why not."""
        size = int(self._embedder.embed(["warm"], kind="query").shape[1])
        try:
            self._chat([{"role": "user", "content": "hi"}], {"max_tokens": 1})
        except SuiteError as error:
            return {"ok": True, "embed_dim": size, "model_answered": False, "reason": error.message}
        return {"ok": True, "embed_dim": size, "model_answered": True}

    def analytics(self, hours: float = 24) -> dict[str, Any]:
        """What was asked in the last hours; see Searches. Raises BadRequest unless `hours` is above 0."""
        if not 0 < hours <= 24 * 366:
            raise BadRequest(f"hours is {hours!r}; it must be above 0 and at most a year.", param="hours")
        return self._searches.analytics(hours)

    def optimize(self) -> dict[str, Any]:
        """Forget old lines and expired answers, and give the space back."""
        lines, cleaned = self._searches.prune(), self._answers.clear(expired=True)
        self._storage.compact()
        return {"message": f"{cleaned} expired answers and {lines} old lines were forgotten.", "cleaned_cache_entries": cleaned,
                "database_optimized": True}

    def cache_stats(self) -> dict[str, Any]:
        """How many answers are kept and how often they were used; see AnswerCache."""
        return self._answers.stats()

    def clear_cache(self) -> int:
        """Forget all answers that are kept; return how many there were."""
        return self._answers.clear()

    def live(self) -> State:
        """There as long as the kernel is."""
        return good()

    def ready(self) -> State:
        """Database, store and embedder serve; facts: the numbers of collections and documents."""
        try:
            found = self.collections()
        except SuiteError as error:
            return bad(error.message)
        below = [state for state in (self._store.ready(), self._embedder.ready()) if not state.ok]
        facts = {"collections": len(found), "documents": sum(row["documents"] for row in found)}
        if below:
            return bad(*(reason for state in below for reason in state.reasons), retry_after=max(state.retry_after or 5 for state in below), **facts)
        return good(**facts)

    def deep(self) -> State:
        """A probe document is indexed, found, answered from with a citation that matches its file, and dropped again."""
        return guarded(self._deep)

    def _deep(self) -> State:
        collection, started = f"probe-{uuid.uuid4().hex}", time.monotonic()
        cache = Path(self._settings.data_dir) / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=cache) as folder:
            file = Path(folder).resolve() / "probe.txt"
            file.write_text(_PROBE, encoding="utf-8")
            try:
                added = self.add(collection, [str(file)], Path(folder))
                found = self.ask(collection, _PROBE_QUESTION, 1)
            finally:
                self.drop(collection)
        facts = {"indexed": added.new == 1 and added.chunks == 1,
                 "cited": [(row.path, row.current, row.quote) for row in found.citations] == [(str(file), True, _PROBE.strip())],
                 "answered": found.reply is not None, "dropped": not self.documents(collection)}
        failed = [name for name, done in facts.items() if not done]
        facts.update(arm=found.hits[0].arm if found.hits else None, smoke=found.smoke, seconds=round(time.monotonic() - started, 3))
        why = f" ({found.why})" if found.why and found.reply is None else ""
        return bad(f"The probe document failed at: {', '.join(failed)}{why}.", **facts) if failed else good(**facts)

    def _opened(self, collection: str) -> Registered:
        """The collection to add to, created where there is none; an empty one follows the model in use."""
        model = self._embedder.model
        known = self._register.get(collection)
        if known is not None and known.embedder != model.name:
            if self._index.rows(collection):
                raise BadRequest(f"The collection {collection!r} was embedded with {known.embedder}, but {model.name} is in use; run "
                                 f"`suite index rebuild --collection {collection}` to move it over, or set EMBEDDING_MODEL back.", param="collection")
            self._store.drop(known.store)
            self._register.forget(collection)
            known = None
        self._store.create(known.store if known else store_name(collection), model.dim)  # first: it is the one that asks for room on the disk
        return known or self._register.create(collection, model.name)

    def _news(self, known: Registered, rows: dict[str, Any], files: Iterable[str], skipped: list[tuple[str, str]],
              counts: dict[str, int]) -> Iterator[Any]:
        """The documents that are to be written, in order, as Source or as Prepared; the rest is counted, or goes to `skipped`."""
        with closing(self._read(self._stale(known, rows, files, counts))) as read:
            for path, source in read:
                if isinstance(source, BadRequest):
                    skipped.append((path, source.message))
                elif source.text.strip():
                    yield source
                else:
                    skipped.append((path, "empty"))
                    if path in rows:
                        self._index.erase(known, path)
                        counts["removed"] += 1

    def _stale(self, known: Registered, rows: dict[str, Any], files: Iterable[str], counts: dict[str, int]) -> Iterator[str]:
        """The files that are not indexed as they are now; the others are counted."""
        damaged = self._index.damaged(known.store, rows) if rows else set()
        for path in files:
            try:
                current = path in rows and path not in damaged and self._index.is_current(rows[path], self._reader.digest(path)[1])
            except BadRequest:
                current = False  # reading it says why
            if current:
                counts["unchanged"] += 1
            else:
                yield path

    def _read(self, paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Each of the documents, or the BadRequest that says why it cannot be read."""
        if self._settings.rag_dask_url:
            yield from scale.read(self._settings, self._reader, self._preparation, paths)
            return
        for path in paths:
            try:
                source: Source | BadRequest = self._reader.read(path)
            except BadRequest as error:
                source = error
            yield path, source

    def _known(self, collection: str) -> Registered:
        """The collection, if it has documents; asking never creates one."""
        known = self._register.get(checked_name(collection))
        names = self._register.names()
        if known is None or collection not in names:
            there = f"there are: {', '.join(map(repr, names))}" if names else "there is none yet"
            raise NotFound(f"The collection {collection!r} has no documents ({there}); add some first, such as "
                           f"bench.collection({collection!r}).add('docs/**/*.md').", param="collection")
        return known

    def _using(self, collection: str, use: Callable[[Registered], T]) -> T:
        """What `use` makes of the collection; once more when it was moved to another place meanwhile."""
        while True:
            known = self._known(collection)
            try:
                return use(known)
            except NotFound:
                if self._known(collection).store == known.store:
                    raise

    def _reads(self, known: Registered) -> TextEmbedder | None:
        """The embedder, if the collection's vectors are its own: two models' vectors do not compare."""
        return self._embedder if known.embedder == self._embedder.model.name else None

    def _lock(self, collection: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(collection, threading.Lock())

    def _root(self, pattern: str) -> Path:
        """The part of a pattern before its first wildcard, as documents go by it."""
        parts = Path(pattern).parts
        plain = next((index for index, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
        return Path(self._reader.resolved(str(Path(*parts[:plain]))))
