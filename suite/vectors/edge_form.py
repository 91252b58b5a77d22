"""Our records and filters in qdrant-edge's form and back, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import qdrant_edge as edge

from suite.errors import BadRequest, NotReady, StorageError, SuiteError
from suite.vectors.filter import Condition, Empty, Except, Filter, Ids, Match, Null, Range, leaves
from suite.vectors.store import DENSE, WORDS, Point, original, point_uuid, stored_payload

FLAGS = "_flags"  # in a stored payload: its true and false fields as text, because edge 0.9 compares `true` as the number 1


def packed(point: Point) -> edge.Point:
    """A point as the engine stores it."""
    vectors: dict[str, Any] = {}
    if point.vector is not None:
        vectors[DENSE] = list(point.vector)
    if point.sparse:
        vectors[WORDS] = edge.SparseVector(list(point.sparse), list(point.sparse.values()))
    flags = [_flag(name, value) for name, value in _truths(point.payload)]
    return edge.Point(point_uuid(point.id), vectors, {**stored_payload(point), **({FLAGS: flags} if flags else {})})


def unpacked(record: edge.Record) -> Point:
    """A stored record as it was given."""
    id, payload = named(record)
    vectors = record.vector if isinstance(record.vector, dict) else {}
    words = vectors.get(WORDS)
    return Point(id, vectors.get(DENSE), dict(zip(words.indices, words.values, strict=True)) if words is not None else None, payload)


def named(record: edge.Record | edge.ScoredPoint) -> tuple[str, dict[str, Any]]:
    """The caller's id and payload of what the engine found."""
    return original(str(record.id), {name: value for name, value in (record.payload or {}).items() if name != FLAGS})


def as_filter(asked: Filter) -> edge.Filter | None:
    """The filter in the engine's form; None for one without any condition."""
    return None if asked == Filter() else edge.Filter(**{part: [_condition(inner) for inner in getattr(asked, part)]
                                                         for part in ("must", "should", "must_not") if getattr(asked, part)})


def _condition(asked: Condition) -> Any:
    if isinstance(asked, Filter):
        return as_filter(asked) or edge.Filter(must=[])
    if isinstance(asked, Ids):
        return edge.HasIdCondition({point_uuid(id) for id in asked.ids})
    if isinstance(asked, Empty):
        return edge.IsEmptyCondition(asked.key)
    if isinstance(asked, Null):
        return edge.IsNullCondition(asked.key)
    if isinstance(asked, Range):
        return edge.FieldCondition(asked.key, range=edge.RangeFloat(gte=asked.gte, gt=asked.gt, lte=asked.lte, lt=asked.lt))
    if isinstance(asked, Except):
        return edge.FieldCondition(asked.key, match=edge.MatchExcept(list(asked.values)))
    if len(asked.values) == 1 and isinstance(asked.values[0], bool):
        return edge.FieldCondition(FLAGS, match=edge.MatchValue(_flag(asked.key, asked.values[0])))
    return edge.FieldCondition(asked.key, match=edge.MatchAny(list(asked.values)) if len(asked.values) != 1 else edge.MatchValue(asked.values[0]))


def wanted_indexes(asked: Filter) -> dict[str, str]:
    """The fields that a filter reads, and the kind of index that would serve it: keyword, integer or float."""
    wanted: dict[str, str] = {}
    for condition in leaves(asked):
        if isinstance(condition, Range):
            wanted[condition.key] = "float"
        elif isinstance(condition, Match) and condition.values:
            first = condition.values[0]
            key = FLAGS if isinstance(first, bool) else condition.key
            wanted.setdefault(key, "integer" if isinstance(first, int) and not isinstance(first, bool) else "keyword")
    return wanted


def index_of(kind: str) -> Any:
    """The engine's parameters for an index of this kind.

    One of whole numbers only looks up equal ones: in its ranges the numbers that are not whole would be missing.
    """
    return {"keyword": edge.PayloadSchemaType.Keyword, "float": edge.PayloadSchemaType.Float,
            "integer": edge.IntegerIndexParams(lookup=True, range=False)}[kind]


def kind_of(info: Any) -> str:
    """The kind of an index that is there; `ranges` is one of whole numbers with ranges, as earlier versions made them."""
    kind = str(info.data_type).rsplit(".", 1)[-1].lower()
    return "ranges" if kind == "integer" and (info.params is None or info.params.range is not False) else kind


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn edge's plain Exceptions into ours, by their text."""
    try:
        yield
    except SuiteError:
        raise
    except Exception as error:  # edge raises nothing more specific
        text = str(error)
        if "borrowed" in text:  # it is used in another thread and cannot be closed, or it is being closed and cannot be used
            raise NotReady(f"The collection {name} is being closed or replaced at this moment; try again.", part="qdrant", retry_after=1,
                           busy=True) from error
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


def _truths(payload: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every true or false of a payload with its dotted path; items of a list count for the list's path, names with dots for none."""
    for name, value in payload.items():
        if "." in name:
            continue
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, bool):
                yield prefix + name, item
        if isinstance(value, Mapping):
            yield from _truths(value, f"{prefix}{name}.")


def _flag(name: str, value: bool) -> str:
    return f"{name}={'true' if value else 'false'}"
