"""Port 6333: the part of Qdrant's REST surface that its own client needs for what our stores can do."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse

from suite.errors import BadRequest, NotFound
from suite.vectors.fuse import fuse
from suite.vectors.store import DENSE, ID_KEY, WORDS, Point, Scored, Store, check_limit, point_uuid

SPOKEN_VERSION = "1.16.0"  # the Qdrant whose surface this is a part of
DEFAULT_K = 2  # Qdrant's constant of rank fusion
_NUMBERS = 0x5EED_0000_0000_4000 << 64  # whole-number ids live in this corner of the UUIDs: n is this plus n
Json = Annotated[dict[str, Any], Body()]


def app(part: Store) -> FastAPI:
    """The routes over a store; see `Store` for what they can do. Anything else of Qdrant's surface is a 400 or 404 that says so."""
    api = FastAPI(title="qdrant", docs_url=None, redoc_url=None)
    _about(api, part)
    _collections(api, part)
    _points(api, part)
    _searches(api, part)
    return api


def _about(api: FastAPI, part: Store) -> None:
    @api.get("/")
    def version() -> dict[str, Any]:
        return {"title": "qdrant - vector search engine", "version": SPOKEN_VERSION, "served_by": "local-ai-suite"}

    @api.get("/healthz")
    @api.get("/livez")
    def alive() -> PlainTextResponse:
        return PlainTextResponse("healthz check passed")

    @api.get("/readyz")
    def ready() -> JSONResponse:
        state = part.ready()
        headers = {"Retry-After": str(state.retry_after)} if state.retry_after else None
        return JSONResponse(state.to_dict(), 200) if state.ok else JSONResponse(state.to_dict(), 503, headers=headers)


def _collections(api: FastAPI, part: Store) -> None:
    @api.get("/collections")
    def listing() -> dict[str, Any]:
        return _answer({"collections": [{"name": info.name} for info in part.collections()]})

    @api.get("/collections/{name}")
    def info(name: str) -> dict[str, Any]:
        return _answer(_described(part, name))

    @api.get("/collections/{name}/exists")
    def exists(name: str) -> dict[str, Any]:
        return _answer({"exists": _exists(part, name)})

    @api.put("/collections/{name}")
    def create(name: str, body: Json) -> dict[str, Any]:
        size, distance = _shape(body)
        if _exists(part, name):
            taken = BadRequest(f"The collection {name} already exists; delete it first or use another name.", param="name")
            taken.status = 409
            raise taken
        part.create(name, size, distance)
        return _answer(True)

    @api.delete("/collections/{name}")
    def drop(name: str) -> dict[str, Any]:
        there = _exists(part, name)
        part.drop(name)
        return _answer(there)

    @api.put("/collections/{name}/index")
    def index(name: str) -> dict[str, Any]:
        part.info(name)  # NotFound for an unknown one; fields are indexed by the store when they are first filtered by
        return _answer(_done())


def _points(api: FastAPI, part: Store) -> None:
    @api.put("/collections/{name}/points")
    def upsert(name: str, body: Json) -> dict[str, Any]:
        part.upsert(name, [_point(row) for row in _rows(body)])
        return _answer(_done())

    @api.post("/collections/{name}/points")
    def retrieve(name: str, body: Json) -> dict[str, Any]:
        points = part.get(name, [_inward(id) for id in _list(body, "ids")])
        return _answer([_record(point, body) for point in points])

    @api.post("/collections/{name}/points/delete")
    def delete(name: str, body: Json) -> dict[str, Any]:
        ids, where = ([_inward(id) for id in _list(body, "points")], {}) if "points" in body else _condition(body.get("filter"))
        part.delete(name, ids, where or None)
        return _answer(_done())

    @api.post("/collections/{name}/points/count")
    def count(name: str, body: Json) -> dict[str, Any]:
        ids, where = _condition(body.get("filter"))
        return _answer({"count": part.count(name, where or None) if ids is None else len(part.get(name, ids))})

    @api.post("/collections/{name}/points/scroll")
    def scroll(name: str, body: Json) -> dict[str, Any]:
        limit, offset = check_limit(body.get("limit") or 10), body.get("offset")
        # Qdrant's offset is the first point of the page, ours the last one before it
        after = None if offset is None or not _number(offset) else str(uuid.UUID(int=_number(offset) - 1))
        points = part.scroll(name, _where(body.get("filter")), limit, after)
        follows = _outward(str(uuid.UUID(int=uuid.UUID(point_uuid(points[-1].id)).int + 1))) if len(points) == limit else None
        return _answer({"points": [_record(point, body) for point in points], "next_page_offset": follows})

    @api.get("/collections/{name}/points/{id}")
    def one(name: str, id: str) -> dict[str, Any]:
        found = part.get(name, [_inward(int(id) if id.isdecimal() else id)])
        if not found:
            raise NotFound(f"There is no point {id} in the collection {name}; scroll lists those that there are.")
        return _answer(_record(found[0], {"with_vector": True}))


def _searches(api: FastAPI, part: Store) -> None:
    @api.post("/collections/{name}/points/query")
    def query(name: str, body: Json) -> dict[str, Any]:
        return _answer({"points": _query(part, name, body)})

    @api.post("/collections/{name}/points/query/batch")
    def batch(name: str, body: Json) -> dict[str, Any]:
        return _answer([{"points": _query(part, name, search)} for search in _list(body, "searches")])


def _query(part: Store, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit, offset = check_limit(body.get("limit") or 10), int(body.get("offset") or 0)
    prefetch = body.get("prefetch") or []
    prefetch = [prefetch] if isinstance(prefetch, dict) else prefetch
    if prefetch:
        k, outer = _fusion(body.get("query")), _where(body.get("filter"))
        arms = [_arm(part, name, {**arm, "limit": arm.get("limit") or limit}, outer) for arm in prefetch]
        hits = fuse(arms, k, limit + offset)
    else:
        hits = _arm(part, name, {**body, "limit": limit + offset}, None)
    threshold = body.get("score_threshold")
    return [_hit(hit, body) for hit in hits[offset:] if threshold is None or hit.score >= threshold]


def _arm(part: Store, name: str, body: Mapping[str, Any], outer: dict[str, Any] | None) -> list[Scored]:
    """One nearest-neighbour search; `outer` is the filter around all arms."""
    if body.get("prefetch"):
        raise BadRequest("A prefetch inside a prefetch is not supported here; fuse one level, or use a Qdrant server by QDRANT_URL.", param="prefetch")
    wanted = body.get("query")
    wanted = wanted["nearest"] if isinstance(wanted, dict) and "nearest" in wanted else wanted
    where, using = {**(_where(body.get("filter")) or {}), **(outer or {})} or None, body.get("using")
    limit = check_limit(body["limit"])
    if isinstance(wanted, list) and using in (None, "", DENSE):
        return part.query(name, vector=_floats(wanted), limit=limit, where=where)
    if isinstance(wanted, dict) and "indices" in wanted and using in (None, WORDS):
        return part.query(name, sparse=_sparse(wanted), limit=limit, where=where)
    raise BadRequest(f"This query is not supported (using {using!r}); send a vector for {DENSE!r}, indices and values for {WORDS!r}, or a fusion of them.",
                     param="query")


def _fusion(query: Any) -> int:
    """The constant of rank fusion that a query over prefetches asks for."""
    if isinstance(query, dict) and query.get("fusion") == "rrf":
        return DEFAULT_K
    if isinstance(query, dict) and isinstance(query.get("rrf"), dict) and not query["rrf"].get("weights"):
        return int(query["rrf"].get("k") or DEFAULT_K)
    raise BadRequest("Only an unweighted rank fusion (`rrf`) can join prefetches here; use a Qdrant server by QDRANT_URL for others.", param="query")


def _answer(result: Any) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": round(time.thread_time() % 1, 6)}


def _done() -> dict[str, Any]:
    return {"operation_id": 0, "status": "completed"}


def _exists(part: Store, name: str) -> bool:
    try:
        part.info(name)
    except NotFound:
        return False
    return True


def _shape(body: Mapping[str, Any]) -> tuple[int, str]:
    vectors = body.get("vectors") or {}
    dense = vectors if "size" in vectors else vectors.get(DENSE)
    others = (set(vectors) - {DENSE} if "size" not in vectors else set()) | (set(body.get("sparse_vectors") or {}) - {WORDS})
    if not isinstance(dense, dict) or others:
        raise BadRequest(f"A collection here has one dense vector, unnamed or named {DENSE!r}, and sparse weights named {WORDS!r}; "
                         f"{', '.join(sorted(others)) or 'a dense one is missing'}.", param="vectors")
    return dense.get("size", 0), str(dense.get("distance", "Cosine"))


def _described(part: Store, name: str) -> dict[str, Any]:
    info = part.info(name)
    params = {"vectors": {DENSE: {"size": info.size, "distance": info.distance}}, "sparse_vectors": {WORDS: {"modifier": "idf"}},
              "shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
    config = {"params": params, "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
              "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "flush_interval_sec": 5},
              "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0}}
    return {"status": "green", "optimizer_status": "ok", "segments_count": 1, "points_count": info.points, "indexed_vectors_count": info.points,
            "config": config, "payload_schema": {}}


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    if not isinstance(found, list):
        raise BadRequest(f"`{name}` must be a list; it is {found!r}.", param=name)
    return found


def _rows(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of an upsert, sent as rows or as columns."""
    if "batch" not in body:
        return _list(body, "points")
    batch = body["batch"]
    ids, vectors = _list(batch, "ids"), batch.get("vectors")
    payloads = batch.get("payloads") or [None] * len(ids)
    columns = {None: vectors} if isinstance(vectors, list) else {key: column for key, column in (vectors or {}).items()}
    if len(payloads) != len(ids) or any(len(column) != len(ids) for column in columns.values()):
        raise BadRequest(f"The batch has {len(ids)} ids but columns of other lengths; send one entry per id.", param="batch")
    rows = []
    for index, id in enumerate(ids):
        vector = vectors[index] if isinstance(vectors, list) else {key: column[index] for key, column in columns.items()}
        rows.append({"id": id, "vector": vector, "payload": payloads[index]})
    return rows


def _point(row: Mapping[str, Any]) -> Point:
    vector = row.get("vector")
    vectors = vector if isinstance(vector, dict) else {} if vector is None else {DENSE: vector}
    vectors = {DENSE if key == "" else key: value for key, value in vectors.items()}
    if unknown := set(vectors) - {DENSE, WORDS}:
        raise BadRequest(f"There is no vector named {', '.join(sorted(unknown))}; the names are {DENSE!r} and {WORDS!r}.", param="vector")
    id, payload = _inward(row.get("id")), dict(row.get("payload") or {})
    named = payload.get(ID_KEY)
    if isinstance(named, str) and point_uuid(named) == id:  # a point of our own remote store: it is known by its name
        id = payload.pop(ID_KEY)
    dense, words = vectors.get(DENSE), vectors.get(WORDS)
    return Point(id, None if dense is None else _floats(dense), None if words is None else _sparse(words), payload)


def _floats(values: Any) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise BadRequest("A dense vector must be a list of numbers; ids, texts and matrices are not supported here.", param="vector")
    return values


def _sparse(values: Any) -> dict[int, float]:
    indices, weights = (values.get("indices"), values.get("values")) if isinstance(values, dict) else (None, None)
    if not isinstance(indices, list) or not isinstance(weights, list) or len(indices) != len(set(indices)) or len(indices) != len(weights):
        raise BadRequest("Sparse weights need `indices` without repeats and as many `values`.", param="vector")
    return dict(zip(indices, weights, strict=True))


def _number(id: Any) -> int:
    """A Qdrant id, a whole number or a UUID, as the UUID's number."""
    try:
        return _NUMBERS + id if isinstance(id, int) and not isinstance(id, bool) and 0 <= id < 2**64 else uuid.UUID(id).int
    except (ValueError, AttributeError, TypeError):
        raise BadRequest(f"{str(id)[:80]!r} is no point id; Qdrant's ids are whole numbers from 0 and UUIDs.", param="id") from None


def _inward(id: Any) -> str:
    return str(uuid.UUID(int=_number(id)))


def _outward(id: str) -> int | str:
    """How an id of ours looks in Qdrant's terms."""
    stored = point_uuid(id)
    number = uuid.UUID(stored).int - _NUMBERS
    return number if 0 <= number < 2**64 else stored


def _shown(id: str, payload: Mapping[str, Any], body: Mapping[str, Any], default: bool) -> dict[str, Any] | None:
    wanted = body.get("with_payload")
    wanted = default if wanted is None else wanted
    if not isinstance(wanted, bool | list):
        raise BadRequest("`with_payload` must be true, false or a list of fields here.", param="with_payload")
    named = {} if point_uuid(id) == id else {ID_KEY: id}
    if wanted is False:
        return None
    return {**payload, **named} if wanted is True else {key: payload[key] for key in wanted if key in payload}


def _record(point: Point, body: Mapping[str, Any]) -> dict[str, Any]:
    record = {"id": _outward(point.id), "payload": _shown(point.id, point.payload, body, True)}
    wanted = body.get("with_vector") or False
    vectors: dict[str, Any] = {} if point.vector is None else {DENSE: list(point.vector)}
    if point.sparse:
        vectors[WORDS] = {"indices": list(point.sparse), "values": list(point.sparse.values())}
    if wanted:
        record["vector"] = vectors if wanted is True else {key: vectors[key] for key in wanted if key in vectors}
    return record


def _hit(hit: Scored, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": _outward(hit.id), "version": 0, "score": hit.score, "payload": _shown(hit.id, hit.payload, body, False)}


def _condition(condition: Any) -> tuple[list[str] | None, dict[str, Any]]:
    """The ids and the field values that a filter asks for; only what our stores compare is accepted."""
    ids: list[str] | None = None
    where: dict[str, Any] = {}
    condition = condition or {}
    musts = condition.get("must") or []
    for must in [musts] if isinstance(musts, dict) else musts:
        if isinstance(must.get("has_id"), list) and len(must) == 1 and ids is None:
            ids = [_inward(id) for id in must["has_id"]]
        elif "key" in must and isinstance(must.get("match"), dict) and set(must["match"]) == {"value"} and must["key"] not in where:
            where[must["key"]] = must["match"]["value"]
        else:
            raise BadRequest(f"The condition {str(must)[:120]} is not supported here; filter by `must` with `key` and `match.value`.", param="filter")
    if any(condition.get(other) for other in ("should", "must_not", "min_should")) or (ids is not None and where):
        raise BadRequest("Only `must` with equal values, or one `has_id`, can filter here; use a Qdrant server by QDRANT_URL for more.", param="filter")
    return ids, where


def _where(condition: Any) -> dict[str, Any] | None:
    ids, where = _condition(condition)
    if ids is not None:
        raise BadRequest("`has_id` can select points to count or delete, not to search or scroll.", param="filter")
    return where or None
