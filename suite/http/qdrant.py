"""Qdrant's JSON on one side, the records of our stores on the other: collections and points."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from suite.errors import BadRequest
from suite.vectors.store import ID_KEY, MAX_LIMIT, CollectionInfo, Naming, Point, Scored, point_uuid

NUMBERS = 0x5EED_0000_0000_4000 << 64  # whole-number ids live in this corner of the UUIDs: n is this plus n
# what only tunes speed and space, never what is found or kept: accepted, and the store does as it does, which `get_collection` tells
TUNING = ("on_disk_payload", "optimizers_config", "wal_config")
# what every collection of the embedded store is made with, as Qdrant describes it
FIXED: dict[str, Any] = {
    "shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True, "sharding_method": "auto",
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0, "on_disk": False},
    "optimizers_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "indexing_threshold": 10000,
                          "flush_interval_sec": 5, "max_optimization_threads": 1},
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}, "strict_mode_config": {"enabled": False},
}
_INDEX_KINDS = {"ranges": "integer"}  # ours under a name that Qdrant knows


def only(body: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Refuse what is sent beyond the names that are heeded: nothing is left out silently."""
    for name, value in body.items():
        if name not in known and value is not None:
            raise BadRequest(f"`{str(name)[:80]}` ({value!r:.80}) is not supported in {what} here; leave it out, or use a Qdrant server by "
                             "QDRANT_URL.", param=str(name)[:80])


def read_shape(body: Mapping[str, Any]) -> tuple[int, str, Naming]:
    """Size, distance and vector names of the collection that a body asks for; all else but TUNING must be as it always is here."""
    only(body, {"vectors", "sparse_vectors", *FIXED}, "a collection")
    _as_fixed({name: value for name, value in body.items() if name in FIXED and name not in TUNING}, FIXED, "")
    vectors, sparse = read_object(body.get("vectors"), "vectors"), read_object(body.get("sparse_vectors"), "sparse_vectors")
    named = {"": vectors} if "size" in vectors else vectors
    if len(named) != 1 or len(sparse) > 1 or not isinstance(next(iter(named.values())), dict) or "" in sparse or set(named) & set(sparse):
        raise BadRequest(f"A collection here has one dense vector, with or without a name, and at most one sparse one; this one would have "
                         f"{str(list(named))[:80]} and {str(list(sparse))[:80]}.", param="vectors")
    (dense_name, dense), words = next(iter(named.items())), next(iter(sparse), None)
    only(dense, {"size", "distance", "on_disk", "datatype"}, "a dense vector")
    _as_fixed(dense, {"datatype": "float32"}, "vectors.")
    return dense.get("size", 0), str(dense.get("distance", "Cosine")), Naming(dense_name, words, _has_idf(sparse, words))


def _has_idf(sparse: Mapping[str, Any], words: str | None) -> bool:
    params = read_object(sparse.get(words), "sparse_vectors") if words is not None else {"modifier": "idf"}
    only(params, {"modifier", "index"}, "a sparse vector")
    index = read_object(params.get("index"), "index")
    only(index, {"on_disk", "full_scan_threshold", "datatype"}, "the index of a sparse vector")
    _as_fixed(index, {"datatype": "float32"}, "sparse_vectors.index.")
    if params.get("modifier") not in (None, "none", "idf"):
        raise BadRequest(f"`modifier` must be `idf` or `none`; it is {params['modifier']!r:.80}.", param="modifier")
    return params.get("modifier") == "idf"


def _as_fixed(body: Mapping[str, Any], fixed: Mapping[str, Any], path: str) -> None:
    for name, value in body.items():
        if name not in fixed or value is None:
            continue
        if isinstance(fixed[name], dict):
            only(read_object(value, name), fixed[name], f"`{path}{name}`")
            _as_fixed(value, fixed[name], f"{path}{name}.")
        elif path == "hnsw_config." and name not in ("m", "ef_construct"):
            continue  # the others are tuning too
        elif type(value) is not type(fixed[name]) or value != fixed[name]:
            raise BadRequest(f"`{path}{name}` is always {fixed[name]!r} here, not {value!r:.80}; leave it out, or use a Qdrant server by QDRANT_URL.",
                             param=name)


def write_collection(info: CollectionInfo) -> dict[str, Any]:
    """A collection as Qdrant describes one."""
    dense, naming, state = {"size": info.size, "distance": info.distance}, info.naming, info.indexing
    params = {"vectors": dense if naming.dense == "" else {naming.dense: dense},
              **({} if naming.words is None else {"sparse_vectors": {naming.words: {"modifier": "idf"} if naming.idf else {}}}),
              **{name: FIXED[name] for name in ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload")}}
    config = {"params": params, "hnsw_config": FIXED["hnsw_config"], "optimizer_config": FIXED["optimizers_config"],
              "wal_config": FIXED["wal_config"], "quantization_config": None, "strict_mode_config": FIXED["strict_mode_config"]}
    fields = {name: {"data_type": _INDEX_KINDS.get(kind, kind), "points": points} for name, (kind, points) in state.fields.items()
              if not name.startswith("_")}
    return {"status": "yellow" if state.optimizing else "green", "optimizer_status": {"error": state.error} if state.error else "ok",
            "segments_count": state.segments, "points_count": info.points, "indexed_vectors_count": state.indexed, "config": config,
            "payload_schema": fields}


def read_list(body: Mapping[str, Any], name: str) -> list[Any]:
    """The list under this name."""
    found = body.get(name)
    if not isinstance(found, list):
        raise BadRequest(f"`{name}` must be a list; it is {found!r:.80}.", param=name)
    return found


def read_object(value: Any, name: str) -> dict[str, Any]:
    """The object that was sent as `name`; an empty one for null."""
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"`{name}` must be an object; it is {value!r:.80}.", param=name)
    return value or {}


def read_whole(value: Any, name: str, default: int = 0) -> int:
    """The whole number that was sent as `name`, from 0 to MAX_LIMIT; `default` for null."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_LIMIT):
        raise BadRequest(f"A {name} of {value!r:.80} is not possible; give a whole number up to {MAX_LIMIT}.", param=name)
    return default if value is None else value


def read_rows(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of an upsert, sent as rows or as columns."""
    only({name: value for name, value in body.items() if (name, value) != ("update_mode", "upsert")}, {"points", "batch"}, "an upsert")
    if body.get("batch") is None:
        return read_list(body, "points")
    batch = read_object(body["batch"], "batch")
    only(batch, {"ids", "vectors", "payloads"}, "a batch")
    ids, vectors = read_list(batch, "ids"), batch.get("vectors")
    payloads = read_list(batch, "payloads") if batch.get("payloads") is not None else [None] * len(ids)
    columns = {None: vectors} if isinstance(vectors, list) else read_object(vectors, "vectors")
    if len(payloads) != len(ids) or any(not isinstance(column, list) or len(column) != len(ids) for column in columns.values()):
        raise BadRequest(f"The batch has {len(ids)} ids but columns of other lengths; send one entry per id.", param="batch")
    rows = []
    for index, id in enumerate(ids):
        vector = vectors[index] if isinstance(vectors, list) else {key: column[index] for key, column in columns.items()}
        rows.append({"id": id, "vector": vector, "payload": payloads[index]})
    return rows


def read_point(row: Any, naming: Naming) -> Point:
    """A point of an upsert."""
    row = read_object(row, "points")
    only(row, {"id", "vector", "payload"}, "a point")
    id, payload = read_id(row.get("id")), dict(read_object(row.get("payload"), "payload"))
    named = payload.get(ID_KEY)
    if isinstance(named, str) and point_uuid(named) == id:  # a point of our own remote store: it is known by its name
        id = payload.pop(ID_KEY)
    return Point(id, *read_vectors(row.get("vector"), naming), payload)


def read_vectors(sent: Any, naming: Naming) -> tuple[list[float] | None, dict[int, float] | None]:
    """The dense vector and the sparse weights that were sent for a point, each None where it was not."""
    vectors = sent if isinstance(sent, dict) else {} if sent is None else {naming.dense: sent}
    names = {naming.dense, naming.words} - {None}
    if unknown := [str(name)[:80] for name in vectors if name not in names]:
        raise BadRequest(f"There is no vector named {', '.join(unknown)}; the names are {', '.join(repr(name) for name in sorted(map(str, names)))}.",
                         param="vector")
    dense, words = vectors.get(naming.dense), None if naming.words is None else vectors.get(naming.words)
    return None if dense is None else read_dense(dense), None if words is None else read_sparse(words)


def read_dense(values: Any) -> list[float]:
    """A dense vector."""
    if not isinstance(values, list) or not all(map(is_number, values)):
        raise BadRequest("A dense vector must be a list of numbers; texts and matrices are not supported here.", param="vector")
    return values


def read_sparse(values: Any) -> dict[int, float]:
    """Sparse weights by term number."""
    indices, weights = (values.get("indices"), values.get("values")) if isinstance(values, dict) else (None, None)
    if not isinstance(indices, list) or not isinstance(weights, list) or len(indices) != len(weights):
        raise BadRequest("Sparse weights need `indices` and as many `values`.", param="vector")
    if not all(isinstance(term, int) for term in indices) or len(indices) != len(set(indices)) or not all(map(is_number, weights)):
        raise BadRequest("Sparse weights need whole numbers without repeats as `indices` and numbers as `values`.", param="vector")
    return dict(zip(indices, weights, strict=True))


def is_number(value: Any) -> bool:
    """Whether it is a number that can be searched: a whole number beyond what a float can hold is none."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def id_number(id: Any) -> int:
    """A Qdrant id, a whole number or a UUID, as the UUID's number."""
    try:
        return NUMBERS + id if isinstance(id, int) and not isinstance(id, bool) and 0 <= id < 2**64 else uuid.UUID(id).int
    except (ValueError, AttributeError, TypeError):
        raise BadRequest(f"{str(id)[:80]!r} is no point id; Qdrant's ids are whole numbers from 0 and UUIDs.", param="id") from None


def read_id(id: Any) -> str:
    """Our id of a point that Qdrant's clients name by a whole number or a UUID."""
    return str(uuid.UUID(int=id_number(id)))


def write_id(id: str) -> int | str:
    """How an id of ours looks in Qdrant's terms."""
    stored = point_uuid(id)
    number = uuid.UUID(stored).int - NUMBERS
    return number if 0 <= number < 2**64 else stored


def check_shown(body: Mapping[str, Any]) -> None:
    """Refuse what cannot be shown of points, whether or not there are any."""
    vectors, payload = body.get("with_vector"), body.get("with_payload")
    if vectors is not None and not isinstance(vectors, bool) and not _is_names(vectors):
        raise BadRequest(f"`with_vector` must be true, false or a list of names here; it is {vectors!r:.80}.", param="with_vector")
    selector = {"include": payload} if isinstance(payload, list) else payload
    known = isinstance(selector, dict) and len(selector) == 1 and set(selector) <= {"include", "exclude"}
    if selector is not None and not isinstance(selector, bool) and not (known and all(map(_is_names, selector.values()))):
        raise BadRequest(f"`with_payload` must be true, false, a list of names, or such a list as `include` or `exclude`; it is {payload!r:.80}.",
                         param="with_payload")


def write_vectors(point: Point, body: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    """The vectors of a point that a body asks for: under their names, or the only one alone where it has none."""
    wanted = body.get("with_vector")
    if wanted is None or wanted is False:
        return {}
    vectors: dict[str, Any] = {} if point.vector is None else {naming.dense: list(point.vector)}
    if point.sparse and naming.words is not None:
        vectors[naming.words] = {"indices": list(point.sparse), "values": list(point.sparse.values())}
    chosen = vectors if wanted is True else {name: vectors[name] for name in wanted if name in vectors}
    return {"vector": chosen[""] if list(chosen) == [""] else chosen}


def write_record(point: Point, body: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    """A stored point."""
    return {"id": write_id(point.id), "payload": _payload(point.id, point.payload, body, True), **write_vectors(point, body, naming)}


def write_hit(hit: Scored, body: Mapping[str, Any]) -> dict[str, Any]:
    """A point that a search found."""
    return {"id": write_id(hit.id), "version": 0, "score": hit.score, "payload": _payload(hit.id, hit.payload, body, False)}


def _payload(id: str, payload: Mapping[str, Any], body: Mapping[str, Any], default: bool) -> dict[str, Any] | None:
    wanted = body.get("with_payload")
    wanted = default if wanted is None else wanted
    whole = {**payload, **({} if point_uuid(id) == id else {ID_KEY: id})}
    if isinstance(wanted, bool):
        return whole if wanted else None
    ((how, names),) = ({"include": wanted} if isinstance(wanted, list) else wanted).items()
    paths = [tuple(name.split(".")) for name in names]
    return _included(whole, paths) if how == "include" else _excluded(whole, paths)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and "[" not in name for name in value)


def _included(payload: Mapping[str, Any], paths: list[tuple[str, ...]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in payload.items():
        below = [path[1:] for path in paths if path[0] == name]
        if () in below:
            found[name] = value
        elif below:  # the way to a name goes through objects only; of a list on it there is nothing, as with Qdrant
            found[name] = _included(value, below) if isinstance(value, Mapping) else [] if isinstance(value, list) else value
    return found


def _excluded(payload: Mapping[str, Any], paths: list[tuple[str, ...]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in payload.items():
        below = [path[1:] for path in paths if path[0] == name]
        if () not in below:
            found[name] = _excluded(value, below) if below and isinstance(value, Mapping) else value
    return found
