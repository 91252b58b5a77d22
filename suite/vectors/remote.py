"""A Qdrant server or cluster as the vector store, by URL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from suite.errors import BadRequest, Denied, NotFound, NotReady, StorageError, SuiteError
from suite.monitoring.probe import State, good, guarded
from suite.vectors.deep import PREFIX, write_find_delete
from suite.vectors.filter import Condition, Empty, Except, Filter, Ids, Match, Null, Range, Where, check_where, leaves
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
    check_name,
    check_point,
    check_shape,
    check_sparse,
    check_target,
    check_vector,
    original,
    point_uuid,
    stored_payload,
)

BATCH = 500  # points per request
PAGE = 500  # points per request while copying
MOST_INDEXED = 64  # fields; filters come from anybody, and each index is kept up to date for ever


class RemoteStore:
    """The part `qdrant` on a server: the same answers as the embedded store, through qdrant-client.

    `where` names the server in messages. Deletions by filter count first, so their number is exact only while nobody else writes.
    """

    name = "qdrant"

    def __init__(self, client: QdrantClient, where: str) -> None:
        self._client, self._where = client, where
        self._shapes: dict[str, tuple[int, str]] = {}  # what we know of the collections; a wrong entry ends in an error of the server
        self._indexed: set[tuple[str, str]] = set()
        self._closed = False

    def start(self) -> None:
        """Nothing to open: each call connects."""
        self._closed = False

    def live(self) -> State:
        """Is the part there?"""
        return good()

    def ready(self) -> State:
        """Does the server answer?"""
        return guarded(self._ready)

    def deep(self) -> State:
        """Is a point written, found and deleted?"""
        return guarded(lambda: write_find_delete(self))

    def create(self, name: str, size: int, distance: str = "Cosine", naming: Naming = OURS) -> None:
        """Create a collection, if it is not there; one that is there with another size or distance is a BadRequest."""
        check_name(name)
        check_shape(size, distance)
        if naming != OURS:
            raise BadRequest(f"On the server at {self._where} we make collections only with vectors named {DENSE!r} and {WORDS!r} (IDF); "
                             "make others there by its own client.", param="naming")
        with self._translated(name):
            if not self._client.collection_exists(name):
                self._client.create_collection(
                    name, vectors_config={DENSE: models.VectorParams(size=size, distance=models.Distance(distance))},
                    sparse_vectors_config={WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)})
        self._shapes.pop(name, None)
        if (found := self._shape(name)) != (size, distance):
            raise BadRequest(f"The collection {name} holds {found[1]} vectors of {found[0]}, not {distance} of {size}; "
                             "drop it first or use another name.", param="size")

    def drop(self, name: str) -> None:
        """Delete a collection with all points; nothing happens when there is none."""
        check_name(name)
        self._shapes.pop(name, None)
        self._indexed = {entry for entry in self._indexed if entry[0] != name}
        with self._translated(name):
            if self._client.collection_exists(name):
                self._client.delete_collection(name)

    def collections(self) -> list[CollectionInfo]:
        """All collections by name that have our vectors; those of other programs on the same server are left out."""
        with self._translated(""):
            names = sorted(entry.name for entry in self._client.get_collections().collections)
        found = []
        for name in names:
            try:
                if not name.startswith(PREFIX):
                    found.append(self.info(name))
            except (NotFound, BadRequest):
                continue  # dropped in this moment, or of another make
        return found

    def info(self, name: str) -> CollectionInfo:
        """The collection's size, distance and number of points."""
        size, distance = self._shape(name)
        with self._translated(name):
            seen = self._client.get_collection(name)
        fields = {key: (info.data_type.value, info.points) for key, info in (seen.payload_schema or {}).items()}
        indexing = Indexing(seen.status == models.CollectionStatus.YELLOW, seen.indexed_vectors_count or 0, 0, seen.segments_count, fields,
                            getattr(seen.optimizer_status, "error", ""))
        return CollectionInfo(name, size, distance, self.count(name), indexing=indexing)

    def upsert(self, name: str, points: Iterable[Point]) -> None:
        """Check all points, then write them in batches; returns when the server has stored them."""
        size, distance = self._shape(name)
        ready = [self._packed(check_point(point, size, distance)) for point in points]
        for start in range(0, len(ready), BATCH):
            with self._translated(name):
                self._client.upsert(name, ready[start:start + BATCH], wait=True)

    def get(self, name: str, ids: Sequence[str]) -> list[Point]:
        """The points with these ids, in that order; unknown ids are left out."""
        self._shape(name)
        with self._translated(name):
            records = self._client.retrieve(name, [point_uuid(id) for id in ids], with_payload=True, with_vectors=True) if ids else []
        found = {str(record.id): record for record in records}
        return [_unpacked(found[stored]) for stored in map(point_uuid, ids) if stored in found]

    def delete(self, name: str, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Delete by ids or by `where` (exactly one of them), and return how many points there were."""
        self._shape(name)
        asked = check_target(ids, where)
        if asked is not None:
            condition = self._filter(name, asked)
        else:
            stored = list(dict.fromkeys(point_uuid(id) for id in ids or ()))
            if not stored:
                return 0
            condition = models.Filter(must=[models.HasIdCondition(has_id=stored)])
        with self._translated(name):
            there = self._client.count(name, count_filter=condition, exact=True).count
            if there:
                self._client.delete(name, models.FilterSelector(filter=condition), wait=True)
        return there

    def alter(self, name: str, change: Callable[[Point], Point], ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Replace each of these points by `change` of it, and return how many there were; see `Store.alter`."""
        asked, total, last = check_target(ids, where, "alter"), 0, None
        batches = [] if ids is None else [list(dict.fromkeys(ids))[start:start + BATCH] for start in range(0, len(ids), BATCH)]
        while True:
            points = self.scroll(name, asked, BATCH, last) if asked is not None else self.get(name, batches.pop(0) if batches else [])
            self.upsert(name, [replace(change(point), id=point.id) for point in points])
            total += len(points)
            if (asked is not None and len(points) < BATCH) or (asked is None and not batches):
                return total
            last = points[-1].id if points else None

    def count(self, name: str, where: Where | None = None) -> int:
        """The exact number of points."""
        self._shape(name)
        condition = self._filter(name, where)
        with self._translated(name):
            return self._client.count(name, count_filter=condition, exact=True).count

    def query(self, name: str, *, vector: Sequence[float] | None = None, sparse: Mapping[int, float] | None = None, limit: int = 10,
              where: Where | None = None, fusion_k: int = 60, effort: int | None = None) -> list[Scored]:
        """The nearest points, best first; see `Store.query`."""
        size, distance = self._shape(name)
        check_limit(limit)
        params = None if check_effort(effort) is None else models.SearchParams(exact=effort == 0, hnsw_ef=effort or None)
        condition, arms = self._filter(name, where), []
        if vector is not None:
            arms.append((check_vector(vector, size, distance, "The query vector"), DENSE))
        if sparse:
            weights = check_sparse(sparse, "The query")
            arms.append((models.SparseVector(indices=list(weights), values=list(weights.values())), WORDS))
        if not arms:
            if sparse is None:
                raise BadRequest("query() needs a vector, sparse weights, or both.", param="vector")
            return []
        with self._translated(name):
            if len(arms) == 1:
                hits = self._client.query_points(name, query=arms[0][0], using=arms[0][1], limit=limit, query_filter=condition, search_params=params,
                                                 with_payload=True)
            else:
                depth = max(FUSED_DEPTH, 4 * limit)
                prefetch = [models.Prefetch(query=arm, using=using, limit=depth, filter=condition, params=params) for arm, using in arms]
                hits = self._client.query_points(name, query=models.RrfQuery(rrf=models.Rrf(k=fusion_k)), prefetch=prefetch, limit=limit,
                                                 with_payload=True)
        scored = [(original(str(hit.id), hit.payload), float(hit.score)) for hit in hits.points]
        return [Scored(id, score, payload) for (id, payload), score in scored]

    def scroll(self, name: str, where: Where | None = None, limit: int = 100, offset: str | None = None) -> list[Point]:
        """Points in a fixed order; `offset` is the id of the last point of the page before."""
        self._shape(name)
        check_limit(limit)
        condition, after = self._filter(name, where), None if offset is None else point_uuid(offset)
        with self._translated(name):
            records, _ = self._client.scroll(name, scroll_filter=condition, limit=limit + 1, offset=after, with_payload=True, with_vectors=True)
        return [_unpacked(record) for record in records if str(record.id) != after][:limit]

    def flush(self) -> None:
        """Nothing to do: the server keeps its own log."""

    def copy_to(self, folder: Path) -> None:
        """Write one JSON-lines file per collection into `folder`: a header, then every point. Points written meanwhile may be missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for info in self.collections():
            with (folder / f"{info.name}.jsonl").open("w", encoding="utf-8") as file:
                file.write(json.dumps({"name": info.name, "size": info.size, "distance": info.distance}) + "\n")
                last: str | None = None
                while page := self.scroll(info.name, limit=PAGE, offset=last):
                    for point in page:
                        row = {"id": point.id, "vector": point.vector, "sparse": point.sparse, "payload": point.payload}
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    last = page[-1].id

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._client.close()

    def _ready(self) -> State:
        with self._translated(""):
            return good(collections=len(self._client.get_collections().collections), backend="qdrant", url=self._where)

    def _shape(self, name: str) -> tuple[int, str]:
        """Size and distance of a collection, asked once."""
        check_name(name)
        if name not in self._shapes:
            with self._translated(name):
                dense = self._client.get_collection(name).config.params.vectors
            params = dense.get(DENSE) if isinstance(dense, dict) else None
            if params is None:
                raise BadRequest(f"The collection {name} at {self._where} has no vector named {DENSE!r}, so it is not ours; use another name.")
            self._shapes[name] = (params.size, params.distance.value)
        return self._shapes[name]

    @staticmethod
    def _packed(point: Point) -> models.PointStruct:
        vectors: dict[str, Any] = {}
        if point.vector is not None:
            vectors[DENSE] = list(point.vector)
        if point.sparse:
            vectors[WORDS] = models.SparseVector(indices=list(point.sparse), values=list(point.sparse.values()))
        return models.PointStruct(id=point_uuid(point.id), vector=vectors, payload=stored_payload(point))

    def _filter(self, name: str, where: Where | None) -> models.Filter | None:
        """The filter in the server's form; a field that we filter by for the first time gets an index."""
        asked = check_where(where)
        for condition in leaves(asked):
            if isinstance(condition, Match | Range) and (name, condition.key) not in self._indexed and len(self._indexed) < MOST_INDEXED:
                with self._translated(name):
                    self._client.create_payload_index(name, condition.key, _kind(condition), wait=True)
                self._indexed.add((name, condition.key))
        return None if asked == Filter() else _as_filter(asked)

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """Turn the client's exceptions into ours."""
        if self._closed:
            raise NotReady("The vector store was closed; call start().", part=self.name, retry_after=5)
        try:
            yield
        except SuiteError:
            raise
        except UnexpectedResponse as error:
            raise self._refused(name, error) from error
        except (ResponseHandlingException, httpx.HTTPError, ConnectionError) as error:
            raise NotReady(f"The vector store at {self._where} does not answer ({str(error)[:120]}); start it, or mend QDRANT_URL.",
                           part=self.name, retry_after=5) from error
        except (ValueError, ApiException) as error:  # the client's own checks; its local mode raises nothing else
            if "not found" in str(error):
                self._shapes.pop(name, None)
                raise NotFound(f"There is no collection {name} at {self._where}; create it first.") from error
            raise BadRequest(f"The vector store at {self._where} refused a value ({str(error)[:200]}); check ids, vectors and payload.") from error

    def _refused(self, name: str, error: UnexpectedResponse) -> SuiteError:
        text = _sentence(error.content or b"")
        if error.status_code == 404:
            self._shapes.pop(name, None)
            return NotFound(f"There is no collection {name} at {self._where}; create it first.")
        if error.status_code in (401, 403):
            return Denied(f"The vector store at {self._where} refused us ({text}); allow this machine there, or use another QDRANT_URL.")
        if error.status_code in (400, 409, 422):
            return BadRequest(f"The vector store at {self._where} refused a value ({text}); check ids, vectors and payload.")
        if error.status_code in (429, 503):
            return NotReady(f"The vector store at {self._where} would not serve now ({text}); try again shortly.", part=self.name, retry_after=5)
        return StorageError(f"The vector store at {self._where} failed with status {error.status_code} ({text}); look into its log.")


def _sentence(content: bytes) -> str:
    """What a server says of a refusal, short: its sentence where it sends one in its usual shape."""
    try:
        told = json.loads(content)["status"]["error"]
    except (ValueError, TypeError, KeyError):
        told = content.decode("utf-8", "replace")
    return str(told)[:300]


def _kind(condition: Match | Range) -> models.PayloadSchemaType | models.IntegerIndexParams:
    first = condition.values[0] if isinstance(condition, Match) and condition.values else 0.0
    if isinstance(first, bool):
        return models.PayloadSchemaType.BOOL
    if isinstance(first, int):  # to look up equal ones: in its ranges the numbers that are not whole would be missing
        return models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)
    return models.PayloadSchemaType.KEYWORD if isinstance(first, str) else models.PayloadSchemaType.FLOAT


def _as_filter(asked: Filter) -> models.Filter:
    return models.Filter(**{part: [_condition(inner) for inner in getattr(asked, part)] for part in ("must", "should", "must_not")
                            if getattr(asked, part)})


def _condition(asked: Condition) -> models.Condition:
    if isinstance(asked, Filter):
        return _as_filter(asked)
    if isinstance(asked, Ids):
        return models.HasIdCondition(has_id=[point_uuid(id) for id in asked.ids])
    if isinstance(asked, Empty):
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=asked.key))
    if isinstance(asked, Null):
        return models.IsNullCondition(is_null=models.PayloadField(key=asked.key))
    if isinstance(asked, Range):
        return models.FieldCondition(key=asked.key, range=models.Range(gt=asked.gt, gte=asked.gte, lt=asked.lt, lte=asked.lte))
    if isinstance(asked, Except):
        return models.FieldCondition(key=asked.key, match=models.MatchExcept(**{"except": list(asked.values)}))
    match = models.MatchValue(value=asked.values[0]) if len(asked.values) == 1 else models.MatchAny(any=list(asked.values))
    return models.FieldCondition(key=asked.key, match=match)


def _unpacked(record: Any) -> Point:
    id, payload = original(str(record.id), record.payload)
    vectors = record.vector if isinstance(record.vector, dict) else {}
    words = vectors.get(WORDS)
    return Point(id, vectors.get(DENSE), dict(zip(words.indices, words.values, strict=True)) if words is not None else None, payload)


def connect(url: str, timeout: float, headers: Mapping[str, str] | None = None) -> RemoteStore:
    """A store on the Qdrant server at `url`; `timeout` is in seconds. Nothing is sent before the first call."""
    client = QdrantClient(url=url, prefer_grpc=False, timeout=max(1, round(timeout)), check_compatibility=False,
                          headers=dict(headers) if headers else None)
    return RemoteStore(client, url)
