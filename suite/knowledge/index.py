"""Write documents into the vector store and keep the record of which version of which document is there.

The order of writes makes a crash anywhere harmless: the rows of some documents are marked incomplete, then their points are written and the old
ones deleted, then the rows are completed. An incomplete row never counts as unchanged, so the next `add` does the document again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa

from suite.knowledge.prepare import Passage, Preparation
from suite.knowledge.read import Source
from suite.knowledge.record import Document
from suite.knowledge.register import Registered, bump
from suite.knowledge.split import Chunk
from suite.knowledge.table import documents
from suite.vectors.store import Point

# BM25's saturation and length penalty; the store's IDF modifier supplies the third factor. Chunks are short: the usual 1.2 and 0.75 give
# recall@1 0.933 on the KorQuAD sample where these give 0.938 (0.3 to 0.8 do about the same), and 0.942 and 0.953 on XQuAD English
K1, B = 0.65, 0.5
SAMPLE = 2000  # stored chunks whose length in terms stands for the collection's average
INCOMPLETE = -1  # in the column `chunks`: an indexing of this document began and did not end
GROUP = 256  # chunks that are embedded and written together, of however many documents
AHEAD = 4  # groups that are prepared before the first is written, so that the average length of a new collection is known
_SPACE = uuid.UUID("6f2f6f0e-6d0f-5c1c-9a53-0f9b8f4f7c11")


@dataclass(frozen=True)
class Piece:
    """Some passages of a document in order, perhaps its `first` or its `last`. Of the source only what identifies the version is used."""

    source: Source
    passages: Sequence[Passage]
    first: bool = True
    last: bool = True


def weights(passage: Passage, mean: float) -> dict[int, float]:
    """BM25's term-frequency factor for each term of a passage, by term id; `mean` is the average number of terms in a chunk."""
    penalty = K1 * (1 - B + B * passage.length / max(mean, 1.0))
    return {term: count * (K1 + 1) / (count + penalty) for term, count in passage.counts.items()}


def chunk_id(collection: str, path: str, chunk: Chunk) -> str:
    """The id of a chunk's point: the same for the same text in the same place, so that a repeated write changes nothing."""
    digest = sha256(chunk.text.encode()).hexdigest()
    return str(uuid.uuid5(_SPACE, "\n".join((collection, path, str(chunk.index), digest))))


class Index:
    """The documents of all collections, in SQL and in the store. Not locked: the caller sees to one writer per collection."""

    def __init__(self, storage: Any, store: Any, preparation: Preparation) -> None:
        self._storage, self._store, self._preparation = storage, store, preparation

    @property
    def _embedder(self) -> str:
        return self._preparation.embedder.model.name

    def rows(self, collection: str) -> dict[str, sa.Row]:
        """The table's rows of a collection, by path."""
        with self._storage.read() as connection:
            found = connection.execute(sa.select(documents).where(documents.c.collection == collection)).all()
        return {row.path: row for row in sorted(found, key=lambda row: row.path)}  # sorted here: databases have orders of their own

    def digests(self, collection: str, paths: Sequence[str]) -> dict[str, str]:
        """The digests of those documents' bytes, by path, as they were indexed; of incomplete ones none."""
        mine = (documents.c.collection == collection, documents.c.path.in_(list(paths)), documents.c.chunks != INCOMPLETE)
        with self._storage.read() as connection:
            return {row.path: row.sha256 for row in connection.execute(sa.select(documents.c.path, documents.c.sha256).where(*mine))}

    def documents(self, collection: str) -> list[Document]:
        """The documents of a collection, by path."""
        return [Document(row.path, row.bytes, max(row.chunks, 0), row.indexed, row.embedder, row.chunks != INCOMPLETE)
                for row in self.rows(collection).values()]

    def collections(self) -> list[dict[str, Any]]:
        """Name, number of documents and number of chunks of every collection that has a document."""
        chunks = sa.func.sum(sa.case((documents.c.chunks > 0, documents.c.chunks), else_=0))
        query = sa.select(documents.c.collection, sa.func.count(), chunks).group_by(documents.c.collection)
        with self._storage.read() as connection:
            found = [{"name": name, "documents": int(count), "chunks": int(total)} for name, count, total in connection.execute(query)]
        return sorted(found, key=lambda row: row["name"])

    def is_current(self, row: sa.Row, digest: str) -> bool:
        """Whether the row says that the version with this digest is indexed, read and split as it would be now."""
        return row.chunks != INCOMPLETE and row.sha256 == digest and row.split == self._preparation.label

    def damaged(self, store: str, rows: dict[str, sa.Row]) -> set[str]:
        """Paths whose points in the store are not as many as their row says; costs few counts when all is well."""
        unfinished = {path for path, row in rows.items() if row.chunks == INCOMPLETE}
        whole = self._store.count(store) - sum(self._store.count(store, {"document": path}) for path in unfinished)
        if whole == sum(row.chunks for path, row in rows.items() if path not in unfinished):
            return unfinished
        return {path for path, row in rows.items() if row.chunks != self._store.count(store, {"document": path})}

    def pieces(self, sources: Iterable[Source]) -> Iterator[list[Piece]]:
        """The documents in groups of about GROUP chunks, with terms and vectors; never more than one document's text and one group at a time."""
        group: list[tuple[Source, list[Chunk], bool, bool]] = []
        held = 0
        for source in sources:
            chunks, at = self._preparation.chunks(source), 0
            identity = replace(source, text="")  # a group must not keep the texts of all its documents
            while at == 0 or at < len(chunks):
                part = chunks[at:at + GROUP - held]
                group.append((replace(identity, text=""), part, at == 0, at + len(part) >= len(chunks)))
                at, held = at + max(len(part), 1), held + len(part)
                if held >= GROUP:
                    yield self._prepared(group)
                    group, held = [], 0
        if group:
            yield self._prepared(group)

    def _prepared(self, group: Sequence[tuple[Source, list[Chunk], bool, bool]]) -> list[Piece]:
        passages = iter(self._preparation.passages([(source, chunk) for source, chunks, _, _ in group for chunk in chunks]))
        return [Piece(source, list(islice(passages, len(chunks))), first, last) for source, chunks, first, last in group]

    def write(self, known: Registered, rows: dict[str, sa.Row], groups: Iterable[Sequence[Piece]]) -> Iterator[tuple[str, int]]:
        """Store documents in place of their versions in `rows`; see the module for the order. Gives path and number of chunks of each that is done.

        A document's pieces come in order, and no other document's between them unless in the same group.
        """
        waiting = iter(groups)
        first = list(islice(waiting, AHEAD))
        if not first:
            return
        mean = self._mean(known.store, [passage.length for group in first for piece in group for passage in piece.passages])
        written: dict[str, int] = {}
        for group in chain(first, waiting):
            self._open(known, rows, [piece.source for piece in group if piece.first])
            points = [self._point(known.name, piece.source, passage, mean) for piece in group for passage in piece.passages]
            self._store.upsert(known.store, points)
            for piece in group:
                written[piece.source.path] = written.get(piece.source.path, 0) + len(piece.passages)
            done = [piece.source for piece in group if piece.last]
            self._complete(known, rows, done, written)
            yield from ((source.path, written.pop(source.path)) for source in done)

    def erase(self, known: Registered, path: str) -> None:
        """Take one document out of the store, then out of the table."""
        with self._storage.begin() as connection:
            connection.execute(_at(sa.update(documents), known.name, path).values(chunks=INCOMPLETE))
            bump(connection, known.name)
        self._store.delete(known.store, where={"document": path})
        with self._storage.begin() as connection:
            connection.execute(_at(sa.delete(documents), known.name, path))
            bump(connection, known.name)

    def erase_all(self, known: Registered) -> None:
        """Drop a collection from the store, then its documents from the table."""
        mine = documents.c.collection == known.name
        with self._storage.begin() as connection:
            connection.execute(sa.update(documents).where(mine).values(chunks=INCOMPLETE))
            bump(connection, known.name)
        self._store.drop(known.store)
        with self._storage.begin() as connection:
            connection.execute(sa.delete(documents).where(mine))

    def _mean(self, store: str, lengths: list[int]) -> float:
        """The average number of terms in a chunk, of a sample of those stored and those to come."""
        known = [int(point.payload["length"]) for point in self._store.scroll(store, limit=SAMPLE)] + lengths
        return sum(known) / len(known) if known else 1.0

    def _version(self, source: Source) -> str:
        return _mark(source.sha256, self._preparation.label)

    def _open(self, known: Registered, rows: dict[str, sa.Row], sources: Sequence[Source]) -> None:
        """Mark documents as begun, and clear away what cannot be told from what is to come."""
        if not sources:
            return
        self._record(known, rows, [(source, INCOMPLETE) for source in sources])
        for source in sources:
            row = rows.get(source.path)
            if row is not None and _before(row) in (None, self._version(source)):
                self._store.delete(known.store, where={"document": source.path})

    def _complete(self, known: Registered, rows: dict[str, sa.Row], sources: Sequence[Source], written: dict[str, int]) -> None:
        for source in sources:
            row = rows.get(source.path)
            if row is not None and _before(row) not in (None, self._version(source)):
                self._store.delete(known.store, where={"document": source.path, "version": _before(row)})
        if sources:
            self._record(known, rows, [(source, written[source.path]) for source in sources], begun=True)

    def _point(self, collection: str, source: Source, passage: Passage, mean: float) -> Point:
        chunk = passage.chunk
        payload = {"document": source.path, "version": self._version(source), "chunk": chunk.index, "start": chunk.start, "end": chunk.end,
                   "page": passage.page, "text": chunk.text, "after": chunk.after, "headings": list(chunk.headings), "length": passage.length}
        return Point(chunk_id(collection, source.path, chunk), passage.vector, weights(passage, mean) or None, payload)

    def _record(self, known: Registered, rows: dict[str, sa.Row], states: Sequence[tuple[Source, int]], begun: bool = False) -> None:
        """Write the rows of documents, in one transaction; they are there already where `begun` or `rows` says so."""
        now = time.time()
        with self._storage.begin() as connection:
            for source, chunks in states:
                values = {"sha256": source.sha256, "bytes": source.bytes, "chunks": chunks, "embedder": self._embedder,
                          "split": self._preparation.label, "indexed": now}
                if begun or source.path in rows:
                    connection.execute(_at(sa.update(documents), known.name, source.path).values(**values))
                else:
                    identity = str(uuid.uuid5(_SPACE, f"{known.name}\n{source.path}"))
                    connection.execute(sa.insert(documents).values(id=identity, collection=known.name, path=source.path, **values))
            bump(connection, known.name)


def _at(statement: Any, collection: str, path: str) -> Any:
    return statement.where(documents.c.collection == collection, documents.c.path == path)


def _before(row: sa.Row) -> str | None:
    """The mark on the points of the version in a row; None where it is incomplete, so that nobody knows."""
    return None if row.chunks == INCOMPLETE else _mark(row.sha256, row.split)


def _mark(digest: str, label: str) -> str:
    return sha256(f"{digest} {label}".encode()).hexdigest()[:16]
