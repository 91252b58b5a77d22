"""Qdrant's filters in JSON as ours: what every store compares, and a clear refusal of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.errors import BadRequest
from suite.http.qdrant import is_number, read_id, read_list, read_object
from suite.vectors.filter import Condition, Empty, Except, Filter, Ids, Match, Null, Range, check_where

PARTS = ("must", "should", "must_not")
DEEPEST = 20  # more than our filters allow; deeper ones are not even read


def read_filter(sent: Any) -> Filter:
    """The filter that was sent; an empty one for none."""
    return check_where(_filter(sent, 1))


def _filter(sent: Any, depth: int) -> Filter:
    sent = _given(read_object(sent, "filter"))
    if set(sent) - set(PARTS) or depth > DEEPEST:
        raise _unsupported(sent)
    return Filter(**{part: tuple(_condition(inner, depth) for inner in ([sent[part]] if isinstance(sent[part], dict) else read_list(sent, part)))
                     for part in PARTS if part in sent})


def _condition(sent: Any, depth: int) -> Condition:
    sent = _given(read_object(sent, "filter"))
    names = set(sent)
    if not names or names <= {*PARTS, "min_should"}:
        return _filter(sent, depth + 1)
    if names == {"has_id"}:
        return Ids(tuple(read_id(id) for id in read_list(sent, "has_id")))
    if names in ({"is_empty"}, {"is_null"}):
        key = read_object(next(iter(sent.values())), "filter").get("key")
        if isinstance(key, str):
            return Empty(key) if "is_empty" in names else Null(key)
    if len(names) == 2 and isinstance(sent.get("key"), str):
        return _field(sent["key"], sent)
    raise _unsupported(sent)


def _field(key: str, sent: Mapping[str, Any]) -> Condition:
    """A condition on one field: besides its key there is one thing asked of it."""
    for name, kind in (("is_empty", Empty), ("is_null", Null)):
        if isinstance(sent.get(name), bool):
            return kind(key) if sent[name] else Filter(must_not=(kind(key),))
    if "range" in sent:
        bounds = _given(read_object(sent["range"], "range"))
        if set(bounds) <= {"gt", "gte", "lt", "lte"} and all(map(is_number, bounds.values())):
            return Range(key, **bounds)
    if "match" in sent:
        match = _given(read_object(sent["match"], "match"))
        if set(match) == {"value"}:
            return Match(key, (match["value"],))
        if set(match) == {"any"}:
            return Match(key, tuple(read_list(match, "any")))
        if set(match) == {"except"}:
            return Except(key, tuple(read_list(match, "except")))
    raise _unsupported(sent)


def _given(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sent.items() if value is not None}


def _unsupported(sent: Any) -> BadRequest:
    return BadRequest(f"The condition {str(sent)[:120]} is not supported here; filter by must, should and must_not with match (value, any, except), "
                      "range of numbers, has_id, is_empty and is_null, or use a Qdrant server by QDRANT_URL.", param="filter")
