"""Qdrant's JSON on one side, the records of our stores on the other."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from suite.errors import BadRequest
from suite.vectors.store import DENSE, ID_KEY, MAX_LIMIT, WORDS, CollectionInfo, Point, Scored, point_uuid

_NUMBERS = 0x5EED_0000_0000_4000 << 64  # whole-number ids live in this corner of the UUIDs: n is this plus n


def read_shape(body: Mapping[str, Any]) -> tuple[int, str]:
    """Size and distance of the collection that a body asks for."""
    vectors = read_object(body.get("vectors"), "vectors")
    dense = vectors if "size" in vectors else vectors.get(DENSE)
    others = (set(vectors) - {DENSE} if "size" not in vectors else set()) | (set(read_object(body.get("sparse_vectors"), "sparse_vectors")) - {WORDS})
    if not isinstance(dense, dict) or others:
        raise BadRequest(f"A collection here has one dense vector, unnamed or named {DENSE!r}, and sparse weights named {WORDS!r}; "
                         f"{', '.join(sorted(others)) or 'a dense one is missing'}.", param="vectors")
    return dense.get("size", 0), str(dense.get("distance", "Cosine"))


def write_collection(info: CollectionInfo) -> dict[str, Any]:
    """A collection as Qdrant describes one."""
    params = {"vectors": {DENSE: {"size": info.size, "distance": info.distance}}, "sparse_vectors": {WORDS: {"modifier": "idf"}},
              "shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
    config = {"params": params, "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
              "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "flush_interval_sec": 5},
              "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0}}
    return {"status": "green", "optimizer_status": "ok", "segments_count": 1, "points_count": info.points, "indexed_vectors_count": info.points,
            "config": config, "payload_schema": {}}


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
    if "batch" not in body:
        return read_list(body, "points")
    batch = read_object(body["batch"], "batch")
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


def read_point(row: Any) -> Point:
    """A point of an upsert."""
    row = read_object(row, "points")
    vector = row.get("vector")
    vectors = vector if isinstance(vector, dict) else {} if vector is None else {DENSE: vector}
    vectors = {DENSE if key == "" else key: value for key, value in vectors.items()}
    if unknown := set(vectors) - {DENSE, WORDS}:
        raise BadRequest(f"There is no vector named {', '.join(sorted(unknown))}; the names are {DENSE!r} and {WORDS!r}.", param="vector")
    id, payload = read_id(row.get("id")), dict(read_object(row.get("payload"), "payload"))
    named = payload.get(ID_KEY)
    if isinstance(named, str) and point_uuid(named) == id:  # a point of our own remote store: it is known by its name
        id = payload.pop(ID_KEY)
    dense, words = vectors.get(DENSE), vectors.get(WORDS)
    return Point(id, None if dense is None else read_dense(dense), None if words is None else read_sparse(words), payload)


def read_dense(values: Any) -> list[float]:
    """A dense vector."""
    if not isinstance(values, list) or not all(map(_is_number, values)):
        raise BadRequest("A dense vector must be a list of numbers; ids, texts and matrices are not supported here.", param="vector")
    return values


def read_sparse(values: Any) -> dict[int, float]:
    """Sparse weights by term number."""
    indices, weights = (values.get("indices"), values.get("values")) if isinstance(values, dict) else (None, None)
    if not isinstance(indices, list) or not isinstance(weights, list) or len(indices) != len(weights):
        raise BadRequest("Sparse weights need `indices` and as many `values`.", param="vector")
    if not all(isinstance(term, int) for term in indices) or len(indices) != len(set(indices)) or not all(map(_is_number, weights)):
        raise BadRequest("Sparse weights need whole numbers without repeats as `indices` and numbers as `values`.", param="vector")
    return dict(zip(indices, weights, strict=True))


def _is_number(value: Any) -> bool:
    # a whole number beyond what a float can hold is none that can be searched
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def id_number(id: Any) -> int:
    """A Qdrant id, a whole number or a UUID, as the UUID's number."""
    try:
        return _NUMBERS + id if isinstance(id, int) and not isinstance(id, bool) and 0 <= id < 2**64 else uuid.UUID(id).int
    except (ValueError, AttributeError, TypeError):
        raise BadRequest(f"{str(id)[:80]!r} is no point id; Qdrant's ids are whole numbers from 0 and UUIDs.", param="id") from None


def read_id(id: Any) -> str:
    """Our id of a point that Qdrant's clients name by a whole number or a UUID."""
    return str(uuid.UUID(int=id_number(id)))


def write_id(id: str) -> int | str:
    """How an id of ours looks in Qdrant's terms."""
    stored = point_uuid(id)
    number = uuid.UUID(stored).int - _NUMBERS
    return number if 0 <= number < 2**64 else stored


def _payload(id: str, payload: Mapping[str, Any], body: Mapping[str, Any], default: bool) -> dict[str, Any] | None:
    wanted = body.get("with_payload")
    wanted = default if wanted is None else wanted
    _check_choice(wanted, "with_payload")
    named = {} if point_uuid(id) == id else {ID_KEY: id}
    if wanted is False:
        return None
    return {**payload, **named} if wanted is True else {key: payload[key] for key in wanted if key in payload}


def _check_choice(wanted: Any, name: str) -> None:
    if not isinstance(wanted, bool) and not (isinstance(wanted, list) and all(isinstance(field, str) for field in wanted)):
        raise BadRequest(f"`{name}` must be true, false or a list of names here; it is {wanted!r:.80}.", param=name)


def write_record(point: Point, body: Mapping[str, Any]) -> dict[str, Any]:
    """A stored point."""
    record = {"id": write_id(point.id), "payload": _payload(point.id, point.payload, body, True)}
    wanted = body.get("with_vector")
    wanted = False if wanted is None else wanted
    _check_choice(wanted, "with_vector")
    vectors: dict[str, Any] = {} if point.vector is None else {DENSE: list(point.vector)}
    if point.sparse:
        vectors[WORDS] = {"indices": list(point.sparse), "values": list(point.sparse.values())}
    if wanted:
        record["vector"] = vectors if wanted is True else {key: vectors[key] for key in wanted if key in vectors}
    return record


def write_hit(hit: Scored, body: Mapping[str, Any]) -> dict[str, Any]:
    """A point that a search found."""
    return {"id": write_id(hit.id), "version": 0, "score": hit.score, "payload": _payload(hit.id, hit.payload, body, False)}


def read_condition(condition: Any) -> tuple[list[str] | None, dict[str, Any]]:
    """The ids and the field values that a filter asks for; only what our stores compare is accepted."""
    ids: list[str] | None = None
    where: dict[str, Any] = {}
    condition = read_object(condition, "filter")
    musts = condition.get("must")
    for must in [musts] if isinstance(musts, dict) else [] if musts is None else read_list(condition, "must"):
        must = read_object(must, "must")
        if isinstance(must.get("has_id"), list) and len(must) == 1 and ids is None:
            ids = [read_id(id) for id in must["has_id"]]
        elif isinstance(must.get("key"), str) and must["key"] not in where and set(read_object(must.get("match"), "match")) == {"value"}:
            where[must["key"]] = must["match"]["value"]
        else:
            raise BadRequest(f"The condition {str(must)[:120]} is not supported here; filter by `must` with `key` and `match.value`.", param="filter")
    if any(condition.get(other) for other in ("should", "must_not", "min_should")) or (ids is not None and where):
        raise BadRequest("Only `must` with equal values, or one `has_id`, can filter here; use a server by QDRANT_URL for more.", param="filter")
    return ids, where


def read_where(condition: Any) -> dict[str, Any] | None:
    """The field values that a search is limited to."""
    ids, where = read_condition(condition)
    if ids is not None:
        raise BadRequest("`has_id` can select points to count or delete, not to search or scroll.", param="filter")
    return where or None
