"""One collection of the embedded store: our records on one side, qdrant-edge's calls on the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from suite.errors import BadRequest, NotReady, StorageError, SuiteError
from suite.vectors.disk import ROOM, ROOM_TO_DELETE, copy_folder, require_room, used
from suite.vectors.store import (
    DENSE,
    FUSED_DEPTH,
    WORDS,
    CollectionInfo,
    Point,
    Scored,
    Where,
    check_limit,
    check_point,
    check_sparse,
    check_target,
    check_vector,
    check_where,
    original,
    point_uuid,
    stored_payload,
)

FLAGS = "_flags"  # in a stored payload: its true and false fields as text, because edge 0.9 compares `true` as the number 1
BATCH = 1000  # points per write to the engine
log = logging.getLogger("suite.vectors")


class Shard:
    """An open shard. `changed` counts the points written or deleted since the last optimization."""

    def __init__(self, name: str, place: Path, size: int, distance: str, engine: edge.EdgeShard) -> None:
        self.name, self.place, self.size, self.distance = name, place, size, distance
        self.changed = 0
        self._engine = engine
        self._indexed = set(engine.info().payload_schema)
        self._writing = threading.Lock()  # writes, copies and closing; searches take no lock
        self._reshaping = threading.Lock()  # optimization replaces files, so that no copy may run meanwhile

    @classmethod
    def create(cls, name: str, place: Path, size: int, distance: str) -> Shard:
        """Make a new shard with a dense vector, IDF-weighted words and a write-ahead log."""
        config = edge.EdgeConfig(vectors={DENSE: edge.EdgeVectorParams(size=size, distance=getattr(edge.Distance, distance))},
                                 sparse_vectors={WORDS: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)}, wal_enabled=True)
        require_room(place.parent, name)
        with translated(name):
            place.mkdir(mode=0o700)
            return cls(name, place, size, distance, edge.EdgeShard.create(str(place), config))

    @classmethod
    def load(cls, name: str, place: Path, size: int, distance: str) -> Shard:
        """Open a shard that is there; StorageError when it is damaged or open elsewhere."""
        with translated(name):
            return cls(name, place, size, distance, edge.EdgeShard.load(str(place)))

    def info(self) -> CollectionInfo:
        """Size, distance and the exact number of points."""
        return CollectionInfo(self.name, self.size, self.distance, self.count(None))

    def upsert(self, points: Iterable[Point]) -> None:
        """Check all points, then write them in batches; nothing is written when one of them cannot be."""
        checked = [check_point(point, self.size, self.distance) for point in points]
        ready = [(self._packed(point), _bytes(point)) for point in checked]
        for start in range(0, len(ready), BATCH):
            batch = [packed for packed, _ in ready[start:start + BATCH]]
            with self._writing, translated(self.name):
                require_room(self.place, self.name, ROOM + 4 * sum(size for _, size in ready[start:start + BATCH]))
                self._engine.update(edge.UpdateOperation.upsert_points(batch))
                self.changed += len(batch)

    def get(self, ids: Sequence[str]) -> list[Point]:
        """The points with these ids, in that order."""
        with translated(self.name):
            records = self._engine.retrieve([point_uuid(id) for id in ids], with_payload=True, with_vector=True)
        found = {str(record.id): record for record in records}
        return [self._unpacked(found[stored]) for stored in map(point_uuid, ids) if stored in found]

    def delete(self, ids: Sequence[str] | None, where: Where | None) -> int:
        """Delete and return how many there were; counted and deleted under one lock, so the number is exact."""
        check_target(ids, where)
        if where is not None:
            condition = self._filter(where)
            assert condition is not None  # check_target refused an empty `where`
            operation = edge.UpdateOperation.delete_points_by_filter(condition)
        else:
            stored = list(dict.fromkeys(point_uuid(id) for id in ids or ()))
            if not stored:
                return 0
            condition, operation = edge.Filter(must=[edge.HasIdCondition(set(stored))]), edge.UpdateOperation.delete_points(stored)
        with self._writing, translated(self.name):
            there = int(self._engine.count(edge.CountRequest(filter=condition, exact=True)))
            if there:
                require_room(self.place, self.name, ROOM_TO_DELETE)
                self._engine.update(operation)
                self.changed += there
        return there

    def count(self, where: Where | None) -> int:
        """The exact number of points."""
        condition = self._filter(where)
        with translated(self.name):
            return int(self._engine.count(edge.CountRequest(filter=condition, exact=True)))

    def query(self, vector: Sequence[float] | None, sparse: Mapping[int, float] | None, limit: int, where: Where | None,
              fusion_k: int) -> list[Scored]:
        """One arm as it is, two arms fused by rank."""
        check_limit(limit)
        condition, arms = self._filter(where), []
        if vector is not None:
            arms.append(edge.Query.Nearest(check_vector(vector, self.size, self.distance, "The query vector"), using=DENSE))
        if sparse:
            weights = check_sparse(sparse, "The query")
            arms.append(edge.Query.Nearest(edge.SparseVector(list(weights), list(weights.values())), using=WORDS))
        if not arms:
            if sparse is None:
                raise BadRequest("query() needs a vector, sparse weights, or both.", param="vector")
            return []  # a question without a single term finds nothing by words
        if len(arms) == 1:
            request = edge.QueryRequest(limit=limit, query=arms[0], filter=condition, with_payload=True)
        else:
            depth = max(FUSED_DEPTH, 4 * limit)
            request = edge.QueryRequest(limit=limit, query=edge.Fusion.Rrf(k=fusion_k), with_payload=True,
                                        prefetches=[edge.Prefetch(limit=depth, query=arm, filter=condition) for arm in arms])
        with translated(self.name):
            hits = self._engine.query(request)
        scored = [(original(str(hit.id), self._bare(hit.payload)), float(hit.score)) for hit in hits]
        return [Scored(id, score, payload) for (id, payload), score in scored]

    def scroll(self, where: Where | None, limit: int, offset: str | None) -> list[Point]:
        """A page in the order of the UUIDs. The engine's offset is inclusive, ours is not, so one more is read."""
        check_limit(limit)
        condition, after = self._filter(where), None if offset is None else point_uuid(offset)
        with translated(self.name):
            records, _ = self._engine.scroll(edge.ScrollRequest(offset=after, limit=limit + 1, filter=condition, with_payload=True, with_vector=True))
        return [self._unpacked(record) for record in records if str(record.id) != after][:limit]

    def flush(self) -> None:
        """Write the shard's pages to disk."""
        with self._writing, translated(self.name):
            self._engine.flush()

    def copy(self, target: Path) -> None:
        """Flush, then copy the files while no one writes; waits for a running optimization."""
        with self._reshaping, self._writing:
            with translated(self.name):
                self._engine.flush()
            copy_folder(self.place, target)

    def optimize(self) -> None:
        """Build the index over what has changed; reads and writes go on meanwhile. A failure is logged: search stays exact without it."""
        with self._reshaping:
            self.changed = 0
            try:
                require_room(self.place, self.name, ROOM + 2 * used(self.place))
                with translated(self.name):
                    self._engine.optimize()
            except SuiteError as error:
                log.warning("optimizing %s failed: %s", self.name, error)

    def close(self) -> None:
        """Flush and release the shard; safe to call twice."""
        with self._writing:
            self._engine.close()

    def _packed(self, point: Point) -> edge.Point:
        vectors: dict[str, Any] = {}
        if point.vector is not None:
            vectors[DENSE] = list(point.vector)
        if point.sparse:
            vectors[WORDS] = edge.SparseVector(list(point.sparse), list(point.sparse.values()))
        flags = [_flag(name, value) for name, value in _leaves(point.payload)]
        return edge.Point(point_uuid(point.id), vectors, {**stored_payload(point), **({FLAGS: flags} if flags else {})})

    def _unpacked(self, record: edge.Record) -> Point:
        id, payload = original(str(record.id), self._bare(record.payload))
        vectors = record.vector if isinstance(record.vector, dict) else {}
        words = vectors.get(WORDS)
        return Point(id, vectors.get(DENSE), dict(zip(words.indices, words.values, strict=True)) if words is not None else None, payload)

    @staticmethod
    def _bare(payload: Mapping[str, Any] | None) -> dict[str, Any]:
        return {name: value for name, value in (payload or {}).items() if name != FLAGS}

    def _filter(self, where: Where | None) -> edge.Filter | None:
        """The filter in edge's form; a field that is filtered by for the first time gets an index."""
        conditions = []
        for name, value in check_where(where).items():
            if isinstance(value, bool):
                name, value = FLAGS, _flag(name, value)
            if name not in self._indexed:
                kind = edge.PayloadSchemaType.Keyword if isinstance(value, str) else edge.PayloadSchemaType.Integer
                with self._writing, translated(self.name):
                    require_room(self.place, self.name)
                    self._engine.update(edge.UpdateOperation.create_field_index(name, kind))
                    self._indexed.add(name)
            conditions.append(edge.FieldCondition(name, match=edge.MatchValue(value)))
        return edge.Filter(must=conditions) if conditions else None


def _leaves(payload: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every true or false of a payload with its dotted path; items of a list count for the list's path."""
    for name, value in payload.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, bool):
                yield prefix + name, item
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")


def _bytes(point: Point) -> int:
    """About how much a point takes, once."""
    return 4 * len(point.vector or ()) + 8 * len(point.sparse or ()) + len(str(point.payload).encode("utf-8", "replace"))


def _flag(name: str, value: bool) -> str:
    return f"{name}={'true' if value else 'false'}"


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn edge's plain Exceptions into ours, by their text."""
    try:
        yield
    except SuiteError:
        raise
    except Exception as error:  # edge raises nothing more specific
        text = str(error)
        if "not initialized" in text:
            raise NotReady(f"The collection {name} was closed or dropped meanwhile; start the store or create the collection again.",
                           part="qdrant", retry_after=5) from error
        if "WouldBlock" in text:
            raise StorageError(f"The collection {name} is open in another process; end that process or set another DATA_DIR.") from error
        if "No space left" in text or "os error 28" in text:
            raise StorageError(f"The disk is full while the collection {name} is written; free some space, then write again.") from error
        if isinstance(error, TypeError | ValueError | OverflowError) or "dimension" in text:
            raise BadRequest(f"The collection {name} refused a value ({text[:200]}); check ids, vectors and payload.") from error
        raise StorageError(f"The collection {name} failed ({text[:300]}); restore it from a backup if this happens again.") from error
