"""Which points a call is about: the small part of Qdrant's filters that every backend compares alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from suite.errors import BadRequest
from suite.vectors.ids import point_uuid

MOST_VALUES = 10_000  # of one condition
DEEPEST = 16  # filters in filters
_FIELD = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True)
class Match:
    """The field has one of these values, all text or all whole numbers, or it is this one of true and false.

    A field that holds a list has the values of its items. Once a backend has indexed a field by whole numbers, 3.0 counts as 3 there.
    """

    key: str
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True)
class Except:
    """The field has a value that is none of these. Once a backend has indexed a field, only values of these values' kind count there."""

    key: str
    values: tuple[str | int, ...]


@dataclass(frozen=True)
class Range:
    """The field has a number between these bounds."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True)
class Ids:
    """The point has one of these ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class Empty:
    """The field is missing, null or an empty list."""

    key: str


@dataclass(frozen=True)
class Null:
    """The field is there and null, or a list with a null in it."""

    key: str


@dataclass(frozen=True)
class Filter:
    """All of `must` are met, one of `should` where there are any, and none of `must_not`."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        """Whether it can leave any point out."""
        return any(bool(condition) for condition in (*self.must, *self.should, *self.must_not))


Condition = Match | Except | Range | Ids | Empty | Null | Filter
Where = Mapping[str, str | int | bool] | Filter


def check_where(where: Where | None) -> Filter:
    """The filter, when its fields and values are of the kinds that every backend compares; a mapping asks for equal values of all its fields."""
    if where is None:
        return Filter()
    if isinstance(where, Filter):
        _check_filter(where, 1)
        return where
    for name, value in where.items():
        check_field(name)
        if not _comparable(value):
            raise BadRequest(f"{name}={value!r:.200} cannot be compared; `where` takes text, whole numbers, true and false.", param="where")
    return Filter(must=tuple(Match(name, (value,)) for name, value in where.items()))


def leaves(condition: Condition) -> Iterator[Condition]:
    """The conditions in a filter that are no filters."""
    if isinstance(condition, Filter):
        for inner in (*condition.must, *condition.should, *condition.must_not):
            yield from leaves(inner)
    else:
        yield condition


def meets(condition: Condition, id: str, payload: Mapping[str, Any]) -> bool:
    """Whether a point meets a condition: the meaning of all of the above, in plain Python."""
    if isinstance(condition, Filter):
        return (all(meets(inner, id, payload) for inner in condition.must)
                and (not condition.should or any(meets(inner, id, payload) for inner in condition.should))
                and not any(meets(inner, id, payload) for inner in condition.must_not))
    if isinstance(condition, Ids):
        return point_uuid(id) in map(point_uuid, condition.ids)
    found = _found(payload, condition.key)
    if isinstance(condition, Empty):
        return not found or found[0] is None or found[0] == []
    if isinstance(condition, Null):
        return bool(found) and (found[0] is None or (isinstance(found[0], list) and None in found[0]))
    values = [item for value in found for item in (value if isinstance(value, list) else [value])]
    if isinstance(condition, Range):
        return any(_within(condition, value) for value in values)
    if isinstance(condition, Match):
        return any(_same(value, wanted) for value in values for wanted in condition.values)
    return any(value is not None and not any(_same(value, other) for other in condition.values) for value in values)


def check_field(name: Any) -> str:
    """The name of a payload field, or the names on the way to one with dots between them."""
    if not isinstance(name, str) or not _FIELD.fullmatch(name):
        raise BadRequest(f"{name!r:.200} is no payload field to filter by; use letters, digits, _, - and dots between them.", param="where")
    return name


def _found(payload: Mapping[str, Any], key: str) -> list[Any]:
    """The field's value in a list, or an empty list; items of lists have no names to go on by."""
    value: Any = payload
    for step in key.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return []
        value = value[step]
    return [value]


def _same(value: Any, wanted: str | int | bool) -> bool:
    return type(value) is type(wanted) and value == wanted  # 1, 1.0 and true are three things


def _within(bounds: Range, value: Any) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool) and (bounds.gt is None or value > bounds.gt)
            and (bounds.gte is None or value >= bounds.gte) and (bounds.lt is None or value < bounds.lt)
            and (bounds.lte is None or value <= bounds.lte))


def _check_filter(part: Filter, depth: int) -> None:
    if depth > DEEPEST:
        raise BadRequest(f"The filter has more than {DEEPEST} filters inside one another; write it flatter.", param="where")
    for condition in (*part.must, *part.should, *part.must_not):
        if isinstance(condition, Filter):
            _check_filter(condition, depth + 1)
        elif isinstance(condition, Ids):
            _check_values("ids", condition.ids, (str,))
        else:
            check_field(condition.key)
            if isinstance(condition, Range):
                _check_bounds(condition)
            elif isinstance(condition, Match):
                _check_values(condition.key, condition.values, (str, int, bool) if len(condition.values) == 1 else (str, int))
            elif isinstance(condition, Except):
                _check_values(condition.key, condition.values, (str, int))


def _check_values(name: str, values: Sequence[Any], kinds: tuple[type, ...]) -> None:
    if len(values) > MOST_VALUES:
        raise BadRequest(f"{name} is compared with {len(values)} values, more than {MOST_VALUES}; ask in several calls.", param="where")
    if not all(type(value) in kinds and _comparable(value) for value in values) or len({type(value) for value in values}) > 1:
        raise BadRequest(f"{name} cannot be compared with {list(values[:5])!s:.200}; give only text or only whole numbers, or one of true and "
                         "false.", param="where")


def _check_bounds(bounds: Range) -> None:
    for name in (entry.name for entry in fields(bounds) if entry.name != "key"):
        bound = getattr(bounds, name)
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound) or abs(bound) > 1e300):
            raise BadRequest(f"{bounds.key} cannot be compared with {name}={bound!r:.80}; a bound is a finite number.", param="where")


def _comparable(value: Any) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= sign <= "\udfff" for sign in value)  # half a surrogate pair: JSON can say it, UTF-8 and the engine cannot
    return isinstance(value, int) and -(2**63) <= value < 2**63
