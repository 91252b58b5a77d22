"""Port 6333: the part of Qdrant's REST surface that its own client needs for what our stores can do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse

from suite.errors import BadRequest, NotFound
from suite.http.qdrant import (
    id_number,
    read_condition,
    read_dense,
    read_id,
    read_list,
    read_object,
    read_point,
    read_rows,
    read_shape,
    read_sparse,
    read_where,
    read_whole,
    write_collection,
    write_hit,
    write_id,
    write_record,
)
from suite.vectors.fuse import fuse
from suite.vectors.store import DENSE, WORDS, Scored, Store, check_limit, point_uuid

SPOKEN_VERSION = "1.16.0"  # the Qdrant whose surface this is a part of
DEFAULT_K = 2  # Qdrant's constant of rank fusion
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
        return _answer(write_collection(part.info(name)))

    @api.get("/collections/{name}/exists")
    def exists(name: str) -> dict[str, Any]:
        return _answer({"exists": _exists(part, name)})

    @api.put("/collections/{name}")
    def create(name: str, body: Json) -> dict[str, Any]:
        size, distance = read_shape(body)
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
        part.upsert(name, [read_point(row) for row in read_rows(body)])
        return _answer(_done())

    @api.post("/collections/{name}/points")
    def retrieve(name: str, body: Json) -> dict[str, Any]:
        points = part.get(name, [read_id(id) for id in read_list(body, "ids")])
        return _answer([write_record(point, body) for point in points])

    @api.post("/collections/{name}/points/delete")
    def delete(name: str, body: Json) -> dict[str, Any]:
        ids, where = ([read_id(id) for id in read_list(body, "points")], {}) if "points" in body else read_condition(body.get("filter"))
        part.delete(name, ids, where or None)
        return _answer(_done())

    @api.post("/collections/{name}/points/count")
    def count(name: str, body: Json) -> dict[str, Any]:
        ids, where = read_condition(body.get("filter"))
        return _answer({"count": part.count(name, where or None) if ids is None else len(part.get(name, ids))})

    @api.post("/collections/{name}/points/scroll")
    def scroll(name: str, body: Json) -> dict[str, Any]:
        limit, offset = check_limit(read_whole(body.get("limit"), "limit", 10)), body.get("offset")
        # Qdrant's offset is the first point of the page, ours the last one before it
        after = None if offset is None or not id_number(offset) else str(uuid.UUID(int=id_number(offset) - 1))
        points = part.scroll(name, read_where(body.get("filter")), limit, after)
        follows = uuid.UUID(point_uuid(points[-1].id)).int + 1 if len(points) == limit else 2**128
        page = write_id(str(uuid.UUID(int=follows))) if follows < 2**128 else None
        return _answer({"points": [write_record(point, body) for point in points], "next_page_offset": page})

    @api.get("/collections/{name}/points/{id}")
    def one(name: str, id: str) -> dict[str, Any]:
        found = part.get(name, [read_id(int(id) if id.isdecimal() and len(id) <= 20 else id)])
        if not found:
            raise NotFound(f"There is no point {id} in the collection {name}; scroll lists those that there are.")
        return _answer(write_record(found[0], {"with_vector": True}))


def _searches(api: FastAPI, part: Store) -> None:
    @api.post("/collections/{name}/points/query")
    def query(name: str, body: Json) -> dict[str, Any]:
        return _answer({"points": _query(part, name, body)})

    @api.post("/collections/{name}/points/query/batch")
    def batch(name: str, body: Json) -> dict[str, Any]:
        return _answer([{"points": _query(part, name, read_object(search, "searches"))} for search in read_list(body, "searches")])


def _query(part: Store, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit, offset = check_limit(read_whole(body.get("limit"), "limit", 10)), read_whole(body.get("offset"), "offset")
    threshold = body.get("score_threshold")
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
        raise BadRequest(f"`score_threshold` must be a number; it is {threshold!r:.80}.", param="score_threshold")
    prefetch = body.get("prefetch") or []
    prefetch = [prefetch] if isinstance(prefetch, dict) else [read_object(arm, "prefetch") for arm in read_list(body, "prefetch")] if prefetch else []
    if prefetch:
        k, outer = _fusion(body.get("query")), read_where(body.get("filter"))
        arms = [_arm(part, name, {**arm, "limit": read_whole(arm.get("limit"), "limit", limit)}, outer) for arm in prefetch]
        hits = fuse(arms, k, limit + offset)
    else:
        hits = _arm(part, name, {**body, "limit": limit + offset}, None)
    return [write_hit(hit, body) for hit in hits[offset:] if threshold is None or hit.score >= threshold]


def _arm(part: Store, name: str, body: Mapping[str, Any], outer: dict[str, Any] | None) -> list[Scored]:
    """One nearest-neighbour search; `outer` is the filter around all arms."""
    if body.get("prefetch"):
        raise BadRequest("A prefetch inside a prefetch is not supported here; fuse one level, or use a server by QDRANT_URL.", param="prefetch")
    wanted = body.get("query")
    wanted = wanted["nearest"] if isinstance(wanted, dict) and "nearest" in wanted else wanted
    where, using = {**(read_where(body.get("filter")) or {}), **(outer or {})} or None, body.get("using")
    limit = check_limit(body["limit"])
    if isinstance(wanted, list) and using in (None, "", DENSE):
        return part.query(name, vector=read_dense(wanted), limit=limit, where=where)
    if isinstance(wanted, dict) and "indices" in wanted and using in (None, WORDS):
        return part.query(name, sparse=read_sparse(wanted), limit=limit, where=where)
    raise BadRequest(f"This query (using {using!r}) is not supported; send a vector for {DENSE!r}, indices and values for {WORDS!r}, or a "
                     "fusion of them.", param="query")


def _fusion(query: Any) -> int:
    """The constant of rank fusion that a query over prefetches asks for."""
    if isinstance(query, dict) and query.get("fusion") == "rrf":
        return DEFAULT_K
    if isinstance(query, dict) and isinstance(query.get("rrf"), dict) and not query["rrf"].get("weights"):
        return read_whole(query["rrf"].get("k"), "k") or DEFAULT_K
    raise BadRequest("Only an unweighted rank fusion (`rrf`) can join prefetches here; use a Qdrant server by QDRANT_URL for others.", param="query")


def _answer(result: Any) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": 0.0}


def _done() -> dict[str, Any]:
    return {"operation_id": 0, "status": "completed"}


def _exists(part: Store, name: str) -> bool:
    try:
        part.info(name)
    except NotFound:
        return False
    return True


