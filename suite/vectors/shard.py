"""One collection of the embedded store: our records on one side, qdrant-edge's calls on the other."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from suite.errors import BadRequest, NotReady, SuiteError
from suite.vectors.disk import ROOM, ROOM_TO_DELETE, copy_folder, has_room, require_room
from suite.vectors.edge_form import as_filter, index_of, kind_of, named, packed, translated, unpacked, wanted_indexes
from suite.vectors.filter import Filter, Where, check_where
from suite.vectors.meta import SHARD, Meta, read_meta
from suite.vectors.store import (
    DENSE,
    FUSED_DEPTH,
    OURS,
    WORDS,
    CollectionInfo,
    Indexing,
    Naming,
    Point,
    Scored,
    check_effort,
    check_limit,
    check_point,
    check_sparse,
    check_target,
    check_vector,
    point_uuid,
)

BATCH = 1000  # points per write to the engine, which holds Python still for its length
INDEXED_FROM_KB = 10_000  # of vectors from which on the engine makes an index of them, as it does by default; fewer it searches exactly
SEGMENT_KB = 16_000  # of vectors in one index at most: what an optimization holds in memory does not grow with the collection
INDEX_FROM = 1000  # points from which on a field that is filtered by gets an index; fewer are read as quickly
MOST_INDEXED = 64  # fields; filters come from anybody, and each index is kept up to date for ever
Found = TypeVar("Found")
log = logging.getLogger("suite.vectors")


class Shard:
    """An open collection in `folder`. `changed` counts the points written or deleted since its index was last brought up to date.

    Once `closed` is set nothing is written any more. Writes, copies and the change to other files hold one lock; reads hold none, and are made
    again when the engine under them was replaced.
    """

    def __init__(self, folder: Path, meta: Meta, engine: edge.EdgeShard) -> None:
        self.folder, self.meta = folder, meta
        self.changed = 0
        self.optimizing, self.trouble = False, ""  # what the optimizer does with it, and why that failed last
        self._engine = engine
        self._indexed = {field: kind_of(info) for field, info in engine.info().payload_schema.items()}
        self._writing = threading.Lock()
        self._journal: set[str] | None = None  # the engine's ids of all that changed since copy_aside
        self.closed = False

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.meta.name

    @property
    def place(self) -> Path:
        """The folder of the engine's files."""
        return self.folder / self.meta.shard

    @classmethod
    def create(cls, folder: Path, size: int, distance: str, naming: Naming = OURS) -> Shard:
        """Make a collection with a dense vector, IDF-weighted words and a write-ahead log in a folder of its own."""
        meta = Meta(folder.name, size, distance, naming)
        require_room(folder.parent, meta.name)
        folder.mkdir(mode=0o700)
        with translated(meta.name):
            (folder / meta.shard).mkdir(mode=0o700)
            made = cls(folder, meta, edge.EdgeShard.create(str(folder / meta.shard), _config(meta)))
        meta.write(folder)  # last: a folder without it is no collection
        return made

    @classmethod
    def load(cls, folder: Path) -> Shard:
        """Open the collection in a folder; StorageError, OSError or ValueError when it is damaged or open elsewhere."""
        meta = read_meta(folder)
        for other in folder.glob(SHARD + "*"):
            if other.name != meta.shard:
                shutil.rmtree(other, ignore_errors=True)  # a killed optimization's, or what it had not yet cleared away
        with translated(meta.name):
            return cls(folder, meta, edge.EdgeShard.load(str(folder / meta.shard)))

    def info(self) -> CollectionInfo:
        """Size, distance and the exact number of points, and how far the index is."""
        seen = self._ask(lambda engine: engine.info())
        fields = {field: (kind_of(info), int(info.points)) for field, info in seen.payload_schema.items()}
        indexing = Indexing(self.optimizing, int(seen.indexed_vectors_count), self.changed, int(seen.segments_count), fields, self.trouble)
        return CollectionInfo(self.name, self.meta.size, self.meta.distance, self.count(None), self.meta.naming, indexing)

    @property
    def large(self) -> bool:
        """Whether the engine makes an index of the vectors at all."""
        return self.roughly() * self.meta.size * 4 >= INDEXED_FROM_KB << 10

    def roughly(self) -> int:
        """About how many points there are, at once."""
        return self._ask(lambda engine: int(engine.info().points_count))

    def survey(self) -> None:
        """Set `changed` after opening to what the engine shows: its count of vectors that no index holds yet."""
        with_words, with_vector = (edge.Filter(must=[edge.HasVectorCondition(name)]) for name in (WORDS, DENSE))
        words, dense = (self._ask(lambda engine, at=at: int(engine.count(edge.CountRequest(filter=at)))) for at in (with_words, with_vector))
        indexed = self._ask(lambda engine: int(engine.info().indexed_vectors_count))
        self.changed = max(self.changed, dense - max(0, indexed - words))  # the engine counts sparse vectors as indexed from the beginning

    def upsert(self, points: Iterable[Point]) -> None:
        """Check all points, then write them in batches; nothing is written when one of them cannot be."""
        checked = [check_point(point, self.meta.size, self.meta.distance) for point in points]
        for start in range(0, len(checked), BATCH):
            with self._writing:
                self._put(checked[start:start + BATCH])

    def get(self, ids: Sequence[str]) -> list[Point]:
        """The points with these ids, in that order."""
        stored = [point_uuid(id) for id in ids]
        found = {str(record.id): record for record in self._ask(lambda engine: engine.retrieve(stored, with_payload=True, with_vector=True))}
        return [unpacked(found[id]) for id in stored if id in found]

    def delete(self, ids: Sequence[str] | None, where: Where | None) -> int:
        """Delete and return how many there were; counted and deleted under one lock, so the number is exact."""
        asked = check_target(ids, where)
        if asked is not None:
            condition = self._filter(asked)
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
                self._note(stored if asked is None else self._ids(condition) if self._journal is not None else (), there)
                self._engine.update(operation)
        return there

    def alter(self, change: Callable[[Point], Point], ids: Sequence[str] | None, where: Where | None) -> int:
        """Replace points by `change` of them, page by page under one lock; return how many there were."""
        asked = check_target(ids, where, "alter")
        condition = self._filter(Filter() if asked is None else asked)
        total = 0
        with self._writing:
            for page in self._pages(condition) if asked is not None else self._batches(ids or ()):
                points = [unpacked(record) for record in page]
                changed = [replace(change(point), id=point.id) for point in points]
                self._put([check_point(point, self.meta.size, self.meta.distance) for point in changed])
                total += len(points)
        return total

    def count(self, where: Where | None) -> int:
        """The exact number of points."""
        condition = self._filter(check_where(where))
        return self._ask(lambda engine: int(engine.count(edge.CountRequest(filter=condition, exact=True))))

    def query(self, vector: Sequence[float] | None, sparse: Mapping[int, float] | None, limit: int, where: Where | None,
              fusion_k: int, effort: int | None) -> list[Scored]:
        """One arm as it is, two arms fused by rank."""
        check_limit(limit)
        params = None if check_effort(effort) is None else edge.SearchParams(exact=effort == 0, hnsw_ef=effort or None)
        condition, arms = self._filter(check_where(where)), []
        if vector is not None:
            arms.append(edge.Query.Nearest(check_vector(vector, self.meta.size, self.meta.distance, "The query vector"), using=DENSE))
        if sparse:
            weights = check_sparse(sparse, "The query")
            arms.append(edge.Query.Nearest(edge.SparseVector(list(weights), list(weights.values())), using=WORDS))
        if not arms:
            if sparse is None:
                raise BadRequest("query() needs a vector, sparse weights, or both.", param="vector")
            return []  # a question without a single term finds nothing by words
        if len(arms) == 1:
            request = edge.QueryRequest(limit=limit, query=arms[0], filter=condition, params=params, with_payload=True)
        else:
            depth = max(FUSED_DEPTH, 4 * limit)
            request = edge.QueryRequest(limit=limit, query=edge.Fusion.Rrf(k=fusion_k), with_payload=True,
                                        prefetches=[edge.Prefetch(limit=depth, query=arm, filter=condition, params=params) for arm in arms])
        hits = self._ask(lambda engine: engine.query(request))
        return [Scored(id, float(hit.score), payload) for hit in hits for id, payload in [named(hit)]]

    def scroll(self, where: Where | None, limit: int, offset: str | None) -> list[Point]:
        """A page in the order of the UUIDs. The engine's offset is inclusive, ours is not, so one more is read."""
        check_limit(limit)
        condition, after = self._filter(check_where(where)), None if offset is None else point_uuid(offset)
        request = edge.ScrollRequest(offset=after, limit=limit + 1, filter=condition, with_payload=True, with_vector=True)
        records, _ = self._ask(lambda engine: engine.scroll(request))
        return [unpacked(record) for record in records if str(record.id) != after][:limit]

    def flush(self) -> None:
        """Write the shard's pages to disk."""
        with self._writing, translated(self.name):
            self._engine.flush()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Flushed, and nobody writes."""
        with self._writing:
            self._open_or_raise()
            with translated(self.name):
                self._engine.flush()
            yield

    def copy(self, folder: Path) -> None:
        """Make a folder with a copy of the collection in it; nobody writes meanwhile."""
        with self.still():
            copy_folder(self.place, folder / SHARD)
        replace(self.meta, shard=SHARD).write(folder)

    def copy_aside(self) -> Path:
        """Copy the engine's files beside themselves, and from now on keep account of all that changes, for `adopt` or `forget`."""
        number = int(self.meta.shard.rpartition("-")[2]) if "-" in self.meta.shard else 0
        place = self.folder / f"{SHARD}-{number + 1}"
        shutil.rmtree(place, ignore_errors=True)
        with self.still():
            copy_folder(self.place, place)
            self._journal, self.changed = set(), 0
        return place

    def adopt(self, place: Path) -> None:
        """Go on with the files in `place`, a copy that was made aside, once it holds what was written meanwhile. Reads go on throughout."""
        with translated(self.name):
            fresh = edge.EdgeShard.load(str(place))
        try:
            while len(self._journal or ()) > BATCH:  # most of it without the lock; what changes again meanwhile is written down again
                with self._writing:
                    ids, self._journal = self._journal or set(), set()
                self._repeat(fresh, sorted(ids))
            with self._writing, translated(self.name):
                self._open_or_raise()
                self._repeat(fresh, sorted(self._journal or ()))
                for field in self._indexed.keys() - fresh.info().payload_schema.keys():
                    fresh.update(edge.UpdateOperation.create_field_index(field, index_of(self._indexed[field])))
                fresh.flush()
                meta = replace(self.meta, shard=place.name)
                meta.write(self.folder)
                old, old_place, self._engine, self.meta, self._journal = self._engine, self.place, fresh, meta, None
        except BaseException:
            fresh.close()
            raise
        try:
            release(old, self.name)
        except SuiteError as error:  # the new files are in use already, whatever becomes of the old ones
            log.warning("closing the former files of %s failed: %s", self.name, error)
        shutil.rmtree(old_place, ignore_errors=True)

    def forget(self, place: Path, changed: int) -> None:
        """Do not go on with a copy made aside; `changed` is what was waiting when it was made."""
        with self._writing:
            self._journal = None
            self.changed += changed
            if place != self.place:
                shutil.rmtree(place, ignore_errors=True)

    def close(self) -> None:
        """Flush and release the shard; safe to call twice."""
        with self._writing:
            self.closed = True
            release(self._engine, self.name)

    def _ask(self, question: Callable[[edge.EdgeShard], Found]) -> Found:
        """The engine's answer; asked again when the engine was closed under the question because another took its place."""
        while True:
            engine = self._engine
            self._open_or_raise()
            try:
                with translated(self.name):
                    return question(engine)
            except NotReady:
                if engine is self._engine:
                    raise

    def _put(self, points: Sequence[Point]) -> None:
        """Write checked points; the caller holds the lock."""
        with translated(self.name):
            require_room(self.place, self.name, ROOM + 4 * sum(map(_bytes, points)))
            ready = [packed(point) for point in points]
            self._note([str(point.id) for point in ready], len(ready))
            self._engine.update(edge.UpdateOperation.upsert_points(ready))

    def _note(self, ids: Iterable[str], changed: int) -> None:
        """Count a change, and write its ids down where a copy is on its way; before the change, so that a failing one is looked at too."""
        if self._journal is not None:
            self._journal.update(ids)
        self.changed += changed

    def _repeat(self, fresh: edge.EdgeShard, ids: Sequence[str]) -> None:
        """Bring these points of another engine to the state that they have here."""
        for start in range(0, len(ids), BATCH):
            batch = list(ids[start:start + BATCH])
            with translated(self.name):
                there = self._engine.retrieve(batch, with_payload=True, with_vector=True)
                require_room(self.place, self.name)
                if there:
                    fresh.update(edge.UpdateOperation.upsert_points([edge.Point(record.id, record.vector or {}, record.payload) for record in there]))
                gone = set(batch) - {str(record.id) for record in there}
                if gone:
                    fresh.update(edge.UpdateOperation.delete_points(sorted(gone)))

    def _pages(self, condition: edge.Filter | None) -> Iterator[list[Any]]:
        """All records that meet a condition, a page at a time; what is done to a page does not change which pages follow."""
        after = None
        while True:
            with translated(self.name):
                records, after = self._engine.scroll(edge.ScrollRequest(offset=after, limit=BATCH, filter=condition, with_payload=True,
                                                                        with_vector=True))
            yield records
            if after is None:
                return

    def _batches(self, ids: Sequence[str]) -> Iterator[list[Any]]:
        stored = list(dict.fromkeys(point_uuid(id) for id in ids))
        for start in range(0, len(stored), BATCH):
            with translated(self.name):
                yield self._engine.retrieve(stored[start:start + BATCH], with_payload=True, with_vector=True)

    def _ids(self, condition: edge.Filter | None) -> list[str]:
        return [str(record.id) for page in self._pages(condition) for record in page]

    def _open_or_raise(self) -> None:
        if self.closed:
            raise NotReady(f"The collection {self.name} was closed or dropped meanwhile; start the store or create the collection again.",
                           part="qdrant", retry_after=5)

    def _filter(self, asked: Filter) -> edge.Filter | None:
        """The filter in edge's form; fields of large collections that are filtered by for the first time get an index."""
        for field, kind in wanted_indexes(asked).items():
            present = self._indexed.get(field)
            if present == "ranges" and kind == "float":
                self._index(field, "integer")  # its ranges would leave out the numbers that are not whole
            elif (present is None and len(self._indexed) < MOST_INDEXED and self.roughly() >= INDEX_FROM
                  and has_room(self.place)):  # where there is none, the filter reads the payloads
                self._index(field, kind)
        return as_filter(asked)

    def _index(self, field: str, kind: str) -> None:
        with self._writing, translated(self.name):
            if self._indexed.get(field) != kind:
                require_room(self.place, self.name)
                self._engine.update(edge.UpdateOperation.create_field_index(field, index_of(kind)))
                self._indexed[field] = kind


def _config(meta: Meta) -> edge.EdgeConfig:
    """How the engine keeps a collection: all of it in mapped files that the system reads when they are asked for, not ahead."""
    cold = edge.Memory.Cold
    graph = edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=INDEXED_FROM_KB, memory=cold)  # the engine's defaults but for memory
    dense = edge.EdgeVectorParams(size=meta.size, distance=getattr(edge.Distance, meta.distance), hnsw_config=graph, memory=cold)
    words = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if meta.naming.idf else None, memory=cold)
    sizes = edge.EdgeOptimizersConfig(indexing_threshold=INDEXED_FROM_KB, max_segment_size=SEGMENT_KB)
    return edge.EdgeConfig(vectors={DENSE: dense}, sparse_vectors={WORDS: words}, payload_memory=cold, id_tracker_memory=cold, optimizers=sizes,
                           wal_enabled=True)


def release(engine: edge.EdgeShard, name: str) -> None:
    """Close an engine once the reads that are under way in it have ended."""
    while True:
        try:
            with translated(name):
                engine.close()
            return
        except NotReady as error:
            if not error.facts.get("busy"):
                raise
            time.sleep(0.001)


def _bytes(point: Point) -> int:
    """About how much a point takes, once."""
    return 4 * len(point.vector or ()) + 8 * len(point.sparse or ()) + len(str(point.payload).encode("utf-8", "replace"))
