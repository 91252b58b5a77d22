"""Qdrant's changes to points over a store: whole points, their payloads, their vectors, and several such changes in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from suite.errors import BadRequest, NotFound
from suite.http.qdrant import only, read_id, read_list, read_object, read_point, read_rows, read_vectors
from suite.http.qdrant_filter import read_filter
from suite.vectors.filter import Filter, check_field
from suite.vectors.store import Point, Store, point_uuid

Target = tuple[list[str] | None, Filter | None]


def upsert(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Write points, replacing those that are there."""
    rows, naming = read_rows(body), part.info(name).naming
    part.upsert(name, [read_point(row, naming) for row in rows])


def delete(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Delete points."""
    only(body, {"points", "filter"}, "a deletion")
    part.delete(name, *_target(body))


def set_payload(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Set these fields of payloads, or of the objects under `key` in them; null takes a field away. The other fields stay."""
    only(body, {"points", "filter", "payload", "key"}, "a change of payloads")
    fields, key = read_object(body.get("payload"), "payload"), body.get("key")
    steps = [] if key is None else check_field(key).split(".")

    def change(point: Point) -> Point:
        return replace(point, payload=_merged(point.payload, steps, fields))

    _alter(part, name, body, change)


def overwrite_payload(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Replace payloads by this one."""
    only(body, {"points", "filter", "payload"}, "the overwriting of payloads")
    fields = read_object(body.get("payload"), "payload")
    _alter(part, name, body, lambda point: replace(point, payload=dict(fields)))


def delete_payload(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Take fields out of payloads."""
    only(body, {"points", "filter", "keys"}, "a change of payloads")
    paths = [check_field(key).split(".") for key in read_list(body, "keys")]

    def change(point: Point) -> Point:
        payload = dict(point.payload)
        for path in paths:
            payload = _without(payload, path)
        return replace(point, payload=payload)

    _alter(part, name, body, change)


def clear_payload(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Empty payloads."""
    only(body, {"points", "filter"}, "the clearing of payloads")
    _alter(part, name, body, lambda point: replace(point, payload={}))


def update_vectors(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Replace those vectors of points that are sent; the others and the payloads stay."""
    only(body, {"points"}, "a change of vectors")
    naming, sent, rows = part.info(name).naming, {}, [read_object(row, "points") for row in read_list(body, "points")]
    for row in rows:
        only(row, {"id", "vector"}, "a change of vectors")
        sent[read_id(row.get("id"))] = read_vectors(row.get("vector"), naming)

    def change(point: Point) -> Point:
        dense, words = sent[point_uuid(point.id)]
        return replace(point, vector=point.vector if dense is None else dense, sparse=point.sparse if words is None else words)

    _alter(part, name, {"points": [row.get("id") for row in rows]}, change)


def delete_vectors(part: Store, name: str, body: Mapping[str, Any]) -> None:
    """Take vectors out of points."""
    only(body, {"points", "filter", "vector"}, "a deletion of vectors")
    naming, names = part.info(name).naming, read_list(body, "vector")
    if unknown := [str(entry)[:80] for entry in names if entry not in (naming.dense, naming.words)]:
        raise BadRequest(f"There is no vector named {', '.join(unknown)}; the names are {naming.dense!r} and {naming.words!r}.", param="vector")
    _alter(part, name, body, lambda point: replace(point, vector=None if naming.dense in names else point.vector,
                                                   sparse=None if naming.words in names else point.sparse))


OPERATIONS: dict[str, Callable[[Store, str, Mapping[str, Any]], None]] = {
    "upsert": upsert, "delete": delete, "set_payload": set_payload, "overwrite_payload": overwrite_payload, "delete_payload": delete_payload,
    "clear_payload": clear_payload, "update_vectors": update_vectors, "delete_vectors": delete_vectors,
}


def several(part: Store, name: str, body: Mapping[str, Any]) -> int:
    """Make these changes one after another, and return how many there were; those before one that is refused are made."""
    only(body, {"operations"}, "a list of operations")
    operations = [read_object(operation, "operations") for operation in read_list(body, "operations")]
    for operation in operations:
        if len(operation) != 1 or not set(operation) <= set(OPERATIONS):
            raise BadRequest(f"The operation {str(operation)[:120]} is not supported; use one of {', '.join(OPERATIONS)} each.", param="operations")
    for operation in operations:
        for kind, inner in operation.items():
            OPERATIONS[kind](part, name, read_object(inner, kind))
    return len(operations)


def _target(body: Mapping[str, Any]) -> Target:
    """The points that a change is about, named by ids or by a filter."""
    if body.get("points") is not None and body.get("filter") is not None:
        raise BadRequest("Name the points by `points` or by `filter`, not by both.", param="filter")
    if body.get("points") is not None:
        return [read_id(id) for id in read_list(body, "points")], None
    return None, read_filter(body.get("filter"))


def _alter(part: Store, name: str, body: Mapping[str, Any], change: Callable[[Point], Point]) -> None:
    """Change points. Of those that are named, the ones that are there are changed before NotFound tells of one that is not, as Qdrant does it."""
    ids, where = _target(body)
    altered = part.alter(name, change, ids, where)
    if ids is not None and altered < len(set(ids)):
        there = {point_uuid(point.id) for point in part.get(name, ids)}
        for sent, id in zip(body["points"], ids, strict=True):
            if id not in there:
                raise NotFound(f"There is no point {sent!r:.80} in the collection {name}; the other points that were named are changed.")


def _merged(payload: Mapping[str, Any], steps: list[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with fields set in it; what is no object on the way to them becomes one."""
    if steps:
        inner = payload.get(steps[0])
        return {**payload, steps[0]: _merged(inner if isinstance(inner, Mapping) else {}, steps[1:], fields)}
    return {name: value for name, value in {**payload, **fields}.items() if name not in fields or value is not None}


def _without(payload: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    """The payload without the field at the end of a path."""
    inner = payload.get(path[0])
    if len(path) == 1:
        return {name: value for name, value in payload.items() if name != path[0]}
    return {**payload, path[0]: _without(inner, path[1:])} if isinstance(inner, Mapping) else dict(payload)
