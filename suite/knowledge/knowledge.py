"""The part rag: documents in, answers with citations out."""

from __future__ import annotations

import re
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, NotFound, SuiteError
from suite.knowledge.answer import Chat, answer
from suite.knowledge.index import SAMPLE, Index
from suite.knowledge.read import Source, absolute, find, read
from suite.knowledge.record import Added, Answer, Document, Hit, TextEmbedder, checked_name, checked_question, checked_topk
from suite.knowledge.retrieve import retrieve
from suite.monitoring.probe import State, bad, good, guarded

_PLAIN = re.compile(r"[a-z0-9_-]{1,54}")  # with the prefix no longer than what the store takes
_PROBE = "The tide tables of Norwick harbour are kept in a green ledger.\n"
_PROBE_QUESTION = "Where are the tide tables of Norwick harbour kept?"


class Knowledge:
    """Collections of documents. Safe to use from several threads; one at a time writes to a collection."""

    name = "rag"

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, chat: Chat, settings: Any) -> None:
        self._store, self._embedder, self._chat, self._settings = store, embedder, chat, settings
        self.default = settings.rag_default_collection
        self._index = Index(storage, store, embedder, settings)
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def start(self) -> None:
        """Nothing to load: storage, store, embedder and gateway are started by their owners."""

    def close(self) -> None:
        """Nothing to release."""

    def add(self, collection: str, patterns: Iterable[str], cwd: Path) -> Added:
        """Index the files that the patterns name, relative to `cwd`; unchanged ones are left, a changed one replaces its own chunks.

        A file that cannot be read as text is skipped with the reason; what is indexed of it stays. Nothing is removed because its file is gone:
        that too is listed under skipped. Raises NotReady when the embedder or the store would not serve.
        """
        name = store_name(checked_name(collection))
        wanted = absolute(patterns, Path(cwd))
        files, skipped = find(wanted)
        with self._lock(collection):
            self._store.create(name, self._embedder.model.dim)
            rows = self._index.rows(collection)
            damaged = self._index.damaged(name, rows)
            unread, counts = [], {"new": 0, "changed": 0, "unchanged": 0, "removed": 0}
            for source in _readable(files, skipped):
                row = rows.get(source.path)
                if not source.text.strip():
                    skipped.append((source.path, "empty"))
                    if row is not None:
                        self._index.erase(collection, name, source.path)
                        counts["removed"] += 1
                elif source.path not in damaged and self._index.is_current(row, source):
                    counts["unchanged"] += 1
                else:
                    unread.append(source.path)
            chunks = 0
            mean = self._index.mean_length(_readable(unread, []), self._stored_lengths(name)) if unread else 1.0
            for source in _readable(unread, skipped):
                row = rows.get(source.path)
                chunks += self._index.write(collection, name, source, mean, row)
                counts["new" if row is None else "changed"] += 1
            self._store.flush()
        gone = [(path, "no longer exists; its chunks stay until it is removed from the collection") for path in rows
                if not Path(path).exists() and any(Path(path).is_relative_to(root) for root in map(_root, wanted))]
        return Added(**counts, skipped=tuple(dict(skipped + gone).items()), chunks=chunks)

    def search(self, collection: str, question: str, topk: int | None = None, retriever: str = "default") -> list[Hit]:
        """The chunks that match the question, best first, at most `topk` (RAG_TOPK when None); other retrievers are for comparing.

        Raises BadRequest for a blank question or a topk out of 1 to MAX_TOPK, NotFound for a collection without documents.
        """
        question, limit = checked_question(question), checked_topk(self._settings.rag_topk if topk is None else topk)
        embedders = self._index.embedders(checked_name(collection))
        if not embedders:
            raise NotFound(f"The collection {collection!r} has no documents; add some first, such as "
                           f"bench.collection({collection!r}).add('docs/**/*.md').", param="collection")
        same = embedders == {self._embedder.model.name}  # two models' vectors do not compare
        return retrieve(self._store, store_name(collection), question, limit, self._embedder if same else None, retriever)

    def ask(self, collection: str, question: str, topk: int | None = None) -> Answer:
        """An answer written by the chat model from the chunks that match, each cited; errors as in `search`."""
        options = {"max_tokens": self._settings.rag_llm_max_tokens, "temperature": self._settings.rag_llm_temperature}
        return answer(self._chat, question, self.search(collection, question, topk), options)

    def documents(self, collection: str) -> list[Document]:
        """The indexed documents of a collection, by path; none for an unknown one."""
        return self._index.documents(checked_name(collection))

    def remove(self, collection: str, path: str) -> bool:
        """Take one document out, by its absolute path; false when it was not there."""
        with self._lock(checked_name(collection)):
            if str(path) not in self._index.rows(collection):
                return False
            self._index.erase(collection, store_name(collection), str(path))
        return True

    def drop(self, collection: str) -> bool:
        """Take a whole collection out; false when there was none."""
        name = store_name(checked_name(collection))
        with self._lock(collection):
            known = bool(self._index.rows(collection)) or any(info.name == name for info in self._store.collections())
            if known:
                self._index.erase_all(collection, name)
        return known

    def collections(self) -> list[dict[str, Any]]:
        """Name, number of documents and number of chunks of every collection that has a document."""
        return self._index.collections()

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
            file = Path(folder) / "probe.txt"
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

    def _stored_lengths(self, name: str) -> list[int]:
        return [int(point.payload["length"]) for point in self._store.scroll(name, limit=SAMPLE)]

    def _lock(self, collection: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(collection, threading.Lock())


def store_name(collection: str) -> str:
    """The store's name for a collection: its own where the store takes that, else a digest of it."""
    plain = _PLAIN.fullmatch(collection) and not collection.startswith("x-")
    return "knowledge-" + (collection if plain else "x-" + sha256(collection.encode()).hexdigest()[:32])


def _readable(paths: Iterable[str], skipped: list[tuple[str, str]]) -> Iterator[Source]:
    """Each file that can be read, one at a time; the others go to `skipped`."""
    for path in paths:
        try:
            yield read(path)
        except BadRequest as error:
            skipped.append((path, error.message))


def _root(pattern: str) -> Path:
    """The part of a pattern before its first wildcard."""
    parts = Path(pattern).parts
    plain = next((index for index, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
    return Path(*parts[:plain])
