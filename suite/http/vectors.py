"""Port 6333: the part of Qdrant's REST surface that its own client needs for what our stores can do."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse

from suite.errors import BadRequest, NotFound
from suite.http import qdrant_change
from suite.http.qdrant import check_shown, only, read_id, read_list, read_object, read_shape, write_collection, write_record
from suite.http.qdrant_filter import read_filter
from suite.http.qdrant_problem import QdrantProblems
from suite.http.qdrant_search import found, grouped, scrolled
from suite.http.qdrant_snapshots import add_snapshots
from suite.vectors.store import Store

SPOKEN_VERSION = importlib.metadata.version("qdrant-client")  # the surface is the part of that client's that our tests drive
INDEXED = ("keyword", "integer", "float", "bool")
Json = Annotated[dict[str, Any], Body()]


def app(part: Store) -> FastAPI:
    """The routes over a store; see `Store` for what they can do. Anything else of Qdrant's surface is a 400 or 404 that says so.

    Changes have reached the store when they are answered, whatever `wait` and `ordering` say, and reads see all of them.
    """
    api = FastAPI(title="qdrant", docs_url=None, redoc_url=None)
    api.add_middleware(QdrantProblems)
    _about(api, part)
    add_snapshots(api, part)
    _collections(api, part)
    _changes(api, part)
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

    @api.get("/aliases")
    @api.get("/collections/{name}/aliases")
    def aliases(name: str = "") -> dict[str, Any]:
        if name:
            part.info(name)  # NotFound for an unknown one; none has another name
        return _answer({"aliases": []})

    @api.get("/collections/{name}")
    def info(name: str) -> dict[str, Any]:
        return _answer(write_collection(part.info(name)))

    @api.get("/collections/{name}/exists")
    def exists(name: str) -> dict[str, Any]:
        return _answer({"exists": _exists(part, name)})

    @api.put("/collections/{name}")
    def create(name: str, body: Json) -> dict[str, Any]:
        size, distance, naming = read_shape(body)
        if _exists(part, name):
            taken = BadRequest(f"The collection {name} already exists; delete it first or use another name.", param="name")
            taken.status = 409
            raise taken
        part.create(name, size, distance, naming)
        return _answer(True)

    @api.delete("/collections/{name}")
    def drop(name: str) -> dict[str, Any]:
        there = _exists(part, name)
        part.drop(name)
        return _answer(there)

    @api.put("/collections/{name}/index")
    def index(name: str, body: Json) -> dict[str, Any]:
        part.info(name)  # NotFound for an unknown one
        only(body, {"field_name", "field_schema"}, "an index")
        kind = body.get("field_schema")
        if kind not in INDEXED and not (isinstance(kind, dict) and kind.get("type") in INDEXED):
            raise BadRequest(f"An index of the kind {kind!r:.80} is not supported here; the kinds are {', '.join(INDEXED)}, and the store makes such "
                             "an index itself when a large collection is first filtered by a field.", param="field_schema")
        return _answer(_done())

    @api.delete("/collections/{name}/index/{field}")
    def no_index(name: str, field: str) -> dict[str, Any]:
        part.info(name)
        raise BadRequest(f"The index of {field[:80]} cannot be removed here: the store keeps indexes itself; leave it as it is.", param="field_name")


def _changes(api: FastAPI, part: Store) -> None:
    routes = {"upsert": ("PUT", ""), "delete": ("POST", "/delete"), "set_payload": ("POST", "/payload"), "overwrite_payload": ("PUT", "/payload"),
              "delete_payload": ("POST", "/payload/delete"), "clear_payload": ("POST", "/payload/clear"), "update_vectors": ("PUT", "/vectors"),
              "delete_vectors": ("POST", "/vectors/delete")}
    for kind, (method, path) in routes.items():
        api.add_api_route(f"/collections/{{name}}/points{path}", _changing(part, kind), methods=[method])

    @api.post("/collections/{name}/points/batch")
    def several(name: str, body: Json) -> dict[str, Any]:
        return _answer([_done()] * qdrant_change.several(part, name, body))


def _changing(part: Store, kind: str) -> Any:
    def change(name: str, body: Json) -> dict[str, Any]:
        qdrant_change.OPERATIONS[kind](part, name, body)
        return _answer(_done())

    return change


def _points(api: FastAPI, part: Store) -> None:
    @api.post("/collections/{name}/points")
    def retrieve(name: str, body: Json) -> dict[str, Any]:
        only(body, {"ids", "with_payload", "with_vector"}, "a retrieval")
        check_shown(body)
        naming = part.info(name).naming
        return _answer([write_record(point, body, naming) for point in part.get(name, [read_id(id) for id in read_list(body, "ids")])])

    @api.post("/collections/{name}/points/count")
    def count(name: str, body: Json) -> dict[str, Any]:
        only(body, {"filter", "exact"}, "a count")
        return _answer({"count": part.count(name, read_filter(body.get("filter")))})

    @api.post("/collections/{name}/points/scroll")
    def scroll(name: str, body: Json) -> dict[str, Any]:
        return _answer(scrolled(part, name, body))

    @api.get("/collections/{name}/points/{id}")
    def one(name: str, id: str) -> dict[str, Any]:
        points = part.get(name, [read_id(int(id) if id.isdecimal() and len(id) <= 20 else id)])
        if not points:
            raise NotFound(f"There is no point {id} in the collection {name}; scroll lists those that there are.")
        return _answer(write_record(points[0], {"with_vector": True}, part.info(name).naming))


def _searches(api: FastAPI, part: Store) -> None:
    @api.post("/collections/{name}/points/query")
    def query(name: str, body: Json) -> dict[str, Any]:
        return _answer({"points": found(part, name, body)})

    @api.post("/collections/{name}/points/query/batch")
    def batch(name: str, body: Json) -> dict[str, Any]:
        only(body, {"searches"}, "a batch of queries")
        return _answer([{"points": found(part, name, read_object(search, "searches"))} for search in read_list(body, "searches")])

    @api.post("/collections/{name}/points/query/groups")
    def groups(name: str, body: Json) -> dict[str, Any]:
        return _answer({"groups": grouped(part, name, body)})


def _answer(result: Any) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": 0.0}


def _done() -> Mapping[str, Any]:
    return {"operation_id": 0, "status": "completed"}


def _exists(part: Store, name: str) -> bool:
    try:
        part.info(name)
    except NotFound:
        return False
    return True
