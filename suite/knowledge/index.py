"""Write documents into the vector store and keep the record of which version of which document is there.

The order of writes makes a crash anywhere harmless: the row is marked incomplete, then the points are written and the old ones deleted,
then the row is completed. An incomplete row never counts as unchanged, so the next `add` does the document again.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b, sha256
from typing import Any

import sqlalchemy as sa

from suite.knowledge.read import Source
from suite.knowledge.record import Document, TextEmbedder
from suite.knowledge.split import Chunk, split
from suite.knowledge.table import documents
from suite.text.terms import RECIPE, terms
from suite.vectors.store import Point

K1, B = 1.2, 0.75  # BM25's usual saturation and length penalty; the store's IDF modifier supplies the third factor
SAMPLE = 2000  # chunks whose length in terms stands for the collection's average
INCOMPLETE = -1  # in the column `chunks`: an indexing of this document began and did not end
EMBED_AT_ONCE = 256
_SPACE = uuid.UUID("6f2f6f0e-6d0f-5c1c-9a53-0f9b8f4f7c11")


def term_id(term: str) -> int:
    """A 32-bit id of a term, the same on every machine; two terms of a collection hardly ever share one."""
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")


def weights(words: Sequence[str], mean: float) -> dict[int, float]:
    """BM25's term-frequency factor for each term of a chunk, by term id; `mean` is the average number of terms in a chunk."""
    penalty = K1 * (1 - B + B * len(words) / max(mean, 1.0))
    found: dict[int, float] = {}
    for term, count in Counter(words).items():
        found[term_id(term)] = found.get(term_id(term), 0.0) + count * (K1 + 1) / (count + penalty)
    return found


def chunk_id(collection: str, path: str, chunk: Chunk) -> str:
    """The id of a chunk's point: the same for the same text in the same place, so that a repeated write changes nothing."""
    digest = sha256(chunk.text.encode()).hexdigest()
    return str(uuid.uuid5(_SPACE, "\n".join((collection, path, str(chunk.index), digest))))


class Index:
    """The documents of all collections, in SQL and in the store. Not locked: the caller sees to one writer per collection."""

    def __init__(self, storage: Any, store: Any, embedder: TextEmbedder, settings: Any) -> None:
        self._storage, self._store, self._embedder = storage, store, embedder
        self._size, self._overlap = settings.rag_chunk_size, settings.rag_chunk_overlap
        self._at_once = min(EMBED_AT_ONCE, settings.embedding_max_texts)
        self._longest = settings.embedding_max_chars
        self.split_label = f"{self._size}/{self._overlap}/{RECIPE}"

    def rows(self, collection: str) -> dict[str, sa.Row]:
        """The table's rows of a collection, by path."""
        with self._storage.read() as connection:
            found = connection.execute(sa.select(documents).where(documents.c.collection == collection)).all()
        return {row.path: row for row in sorted(found, key=lambda row: row.path)}  # sorted here: databases have orders of their own

    def documents(self, collection: str) -> list[Document]:
        """The documents of a collection, by path."""
        return [Document(row.path, row.bytes, max(row.chunks, 0), row.indexed, row.embedder, row.chunks != INCOMPLETE)
                for row in self.rows(collection).values()]

    def embedders(self, collection: str) -> set[str]:
        """The names of the models that the collection's documents were embedded with; none where it has no documents."""
        with self._storage.read() as connection:
            return set(connection.execute(sa.select(documents.c.embedder).where(documents.c.collection == collection).distinct()).scalars())

    def collections(self) -> list[dict[str, Any]]:
        """Name, number of documents and number of chunks of every collection that has a document."""
        chunks = sa.func.sum(sa.case((documents.c.chunks > 0, documents.c.chunks), else_=0))
        query = sa.select(documents.c.collection, sa.func.count(), chunks).group_by(documents.c.collection)
        with self._storage.read() as connection:
            found = [{"name": name, "documents": int(count), "chunks": int(total)} for name, count, total in connection.execute(query)]
        return sorted(found, key=lambda row: row["name"])

    def split(self, source: Source) -> list[Chunk]:
        """The document's chunks by the settings in force."""
        return split(source.text, self._size, self._overlap)

    def is_current(self, row: sa.Row | None, source: Source) -> bool:
        """Whether the row says that exactly this version is indexed, split and embedded as it would be now."""
        return (row is not None and row.chunks != INCOMPLETE and row.sha256 == source.sha256 and row.split == self.split_label
                and row.embedder == self._embedder.model.name)

    def damaged(self, name: str, rows: dict[str, sa.Row]) -> set[str]:
        """Paths whose points in the store are not as many as their row says; costs one count when all is well."""
        if self._store.count(name) == sum(max(row.chunks, 0) for row in rows.values()):
            return set()
        return {path for path, row in rows.items() if row.chunks != self._store.count(name, {"document": path})}

    def mean_length(self, sources: Iterable[Source], stored: Sequence[int]) -> float:
        """Average number of terms in a chunk, from lengths already stored and, up to SAMPLE in all, from the sources to come."""
        lengths = list(stored)
        for source in sources:
            if len(lengths) >= SAMPLE:
                break
            lengths.extend(len(terms(chunk.text)) for chunk in self.split(source)[:SAMPLE - len(lengths)])
        return sum(lengths) / len(lengths) if lengths else 1.0

    def write(self, collection: str, name: str, source: Source, mean: float, row: sa.Row | None) -> int:
        """Index one document in place of its version in `row`, and return the number of its chunks; see the module for the order."""
        version = sha256(f"{source.sha256} {self.split_label} {self._embedder.model.name}".encode()).hexdigest()[:16]
        before = _version(row)
        self._record(collection, source, INCOMPLETE)
        if row is not None and before in (None, version):  # what is there cannot be told from what is to come
            self._store.delete(name, where={"document": source.path})
        chunks = self.split(source)
        for start in range(0, len(chunks), self._at_once):
            self._store.upsert(name, self._points(collection, source, version, chunks[start:start + self._at_once], mean))
        if before not in (None, version):
            self._store.delete(name, where={"document": source.path, "version": before})
        self._record(collection, source, len(chunks))
        return len(chunks)

    def erase(self, collection: str, name: str, path: str) -> None:
        """Take one document out of the store, then out of the table."""
        with self._storage.begin() as connection:
            connection.execute(_at(sa.update(documents), collection, path).values(chunks=INCOMPLETE))
        self._store.delete(name, where={"document": path})
        with self._storage.begin() as connection:
            connection.execute(_at(sa.delete(documents), collection, path))

    def erase_all(self, collection: str, name: str) -> None:
        """Drop a collection from the store, then from the table."""
        mine = documents.c.collection == collection
        with self._storage.begin() as connection:
            connection.execute(sa.update(documents).where(mine).values(chunks=INCOMPLETE))
        self._store.drop(name)
        with self._storage.begin() as connection:
            connection.execute(sa.delete(documents).where(mine))

    def _points(self, collection: str, source: Source, version: str, chunks: list[Chunk], mean: float) -> list[Point]:
        """Points of some chunks; only a chunk that the model can read has a dense vector, because any other vector is noise."""
        readable = [chunk for chunk in chunks if self._embedder.reads(chunk.text)]
        rows = self._embedder.embed([chunk.text[:self._longest] for chunk in readable]) if readable else []
        vectors = {chunk.index: row.tolist() for chunk, row in zip(readable, rows, strict=True)}
        points = []
        for chunk in chunks:
            words = terms(chunk.text)
            payload = {"document": source.path, "version": version, "chunk": chunk.index, "start": chunk.start, "end": chunk.end,
                       "page": source.page(chunk.start), "text": chunk.text, "length": len(words)}
            points.append(Point(chunk_id(collection, source.path, chunk), vectors.get(chunk.index), weights(words, mean) or None, payload))
        return points

    def _record(self, collection: str, source: Source, chunks: int) -> None:
        values = {"sha256": source.sha256, "bytes": source.bytes, "chunks": chunks, "embedder": self._embedder.model.name,
                  "split": self.split_label, "indexed": time.time()}
        with self._storage.begin() as connection:
            if connection.execute(_at(sa.update(documents), collection, source.path).values(**values)).rowcount == 0:
                identity = str(uuid.uuid5(_SPACE, f"{collection}\n{source.path}"))
                connection.execute(sa.insert(documents).values(id=identity, collection=collection, path=source.path, **values))


def _at(statement: Any, collection: str, path: str) -> Any:
    return statement.where(documents.c.collection == collection, documents.c.path == path)


def _version(row: sa.Row | None) -> str | None:
    """The mark on the points of the version in a row; None where there is none or it is incomplete, so that nobody knows."""
    if row is None or row.chunks == INCOMPLETE:
        return None
    return sha256(f"{row.sha256} {row.split} {row.embedder}".encode()).hexdigest()[:16]
