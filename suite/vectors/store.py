"""What every vector store can do, and the records that go in and come out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from suite.errors import BadRequest
from suite.monitoring.probe import State
from suite.vectors.filter import Filter, Where, check_where
from suite.vectors.ids import point_uuid

DENSE, WORDS = "dense", "words"  # the names of the two vectors of a point
ID_KEY = "_id"  # in a stored payload: the id as the caller knows it, because the engine takes only UUIDs
DISTANCES = ("Cosine", "Dot", "Euclid", "Manhattan")
MAX_LIMIT = 10_000
MAX_SIZE = 65_535
MAX_EFFORT = 10_000
FUSED_DEPTH = 50  # how deep, at least, each arm is read before two are fused
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Point:
    """One entry of a collection: any text as `id`, a dense vector and/or sparse weights (term number → weight), and a JSON payload.

    With distance Cosine a store gives vectors back at unit length.
    """

    id: str
    vector: Sequence[float] | None = None
    sparse: Mapping[int, float] | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """A point that a query found; a larger score is better, except for Euclid and Manhattan."""

    id: str
    score: float
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Naming:
    """What clients of port 6333 call a collection's two vectors: "" is a dense one without a name, None no sparse one at all.

    In the engine, and for everybody inside, they are always DENSE and WORDS. `idf`: are sparse weights multiplied by the inverse document frequency?
    """

    dense: str = DENSE
    words: str | None = WORDS
    idf: bool = True


OURS = Naming()


@dataclass(frozen=True)
class Indexing:
    """How far a collection's index is: `indexed` vectors in it as the engine counts them, and `waiting` points changed since it was last brought
    up to date; `fields` are the payload fields with an index, each with its kind and points; `error` is why the last attempt failed, else empty."""

    optimizing: bool = False
    indexed: int = 0
    waiting: int = 0
    segments: int = 1
    fields: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class CollectionInfo:
    """A collection: `size` is the length of its dense vectors, `points` how many there are."""

    name: str
    size: int
    distance: str
    points: int
    naming: Naming = field(default=OURS, compare=False)
    indexing: Indexing = field(default=Indexing(), compare=False)


class Store(Protocol):
    """One interface over every vector backend; also the part `qdrant`.

    All methods may be called from any thread. Unknown collection: NotFound. A value that cannot be used: BadRequest. A store that is closed
    or does not answer: NotReady. Anything else that the backend refuses: StorageError. `where` maps payload fields to values (text, whole
    number, true or false) that must all be equal, or is a Filter; a field that holds a list matches when one of its items does.
    """

    name: str

    def start(self) -> None:
        """Open the store; a failure is remembered for `ready`, never raised."""

    def live(self) -> State: ...
    def ready(self) -> State: ...
    def deep(self) -> State: ...

    def create(self, name: str, size: int, distance: str = "Cosine", naming: Naming = OURS) -> None:
        """Create a collection, if it is not there; one that is there with another size, distance or naming is a BadRequest."""

    def drop(self, name: str) -> None:
        """Delete a collection with all points; nothing happens when there is none."""

    def collections(self) -> list[CollectionInfo]:
        """All collections by name."""

    def info(self, name: str) -> CollectionInfo: ...

    def upsert(self, name: str, points: Iterable[Point]) -> None:
        """Write points, replacing those with the same id; when it returns, a killed process loses none of them."""

    def get(self, name: str, ids: Sequence[str]) -> list[Point]:
        """The points with these ids, in that order; unknown ids are left out."""

    def delete(self, name: str, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Delete by ids or by `where` (exactly one of them), and return how many points there were."""

    def alter(self, name: str, change: Callable[[Point], Point], ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Replace each of these points by `change` of it, and return how many there were; `change` keeps the id and calls no store.

        The embedded store lets nobody write between reading and writing; a server may: a point written there meanwhile is overwritten.
        """

    def count(self, name: str, where: Where | None = None) -> int:
        """The exact number of points."""

    def query(self, name: str, *, vector: Sequence[float] | None = None, sparse: Mapping[int, float] | None = None, limit: int = 10,
              where: Where | None = None, fusion_k: int = 60, effort: int | None = None) -> list[Scored]:
        """The nearest points, best first; sparse weights are multiplied by the terms' inverse document frequency.

        With both arms their ranks are fused: a point's score is the sum of 1 / (fusion_k + rank) over the arms, rank 0 being the best.
        `effort`: how many candidates the index follows (Qdrant's hnsw_ef); 0 searches without the index, exactly.
        """

    def scroll(self, name: str, where: Where | None = None, limit: int = 100, offset: str | None = None) -> list[Point]:
        """Points in a fixed order; `offset` is the id of the last point of the page before. A page shorter than `limit` is the last."""

    def flush(self) -> None:
        """Write everything to disk now, so that a power failure loses nothing either."""

    def copy_to(self, folder: Path) -> None:
        """Write a consistent copy of all collections into `folder`, while the store stays open."""

    def close(self) -> None: ...


def stored_payload(point: Point) -> dict[str, Any]:
    """The payload as it is stored: with the id, unless the UUID is the id."""
    marked = {} if point_uuid(point.id) == point.id else {ID_KEY: point.id}
    return {**point.payload, **marked}


def original(stored_id: str, payload: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The caller's id and payload of a stored point."""
    plain = dict(payload or {})
    named = plain.get(ID_KEY)
    if isinstance(named, str) and point_uuid(named) == stored_id:
        del plain[ID_KEY]
        return named, plain
    return stored_id, plain


def check_name(name: str) -> str:
    """The collection name, when it is one that every backend and filesystem takes."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest(f"{name!r} is no collection name; use 1 to 64 of a-z, 0-9, _ and -.", param="name")
    return name


def check_same(info: CollectionInfo, size: int, distance: str, naming: Naming) -> None:
    """Refuse to make a collection whose name one of another shape has."""
    if (info.size, info.distance) != (size, distance):
        raise BadRequest(f"The collection {info.name} holds {info.distance} vectors of {info.size}, not {distance} of {size}; "
                         "drop it first or use another name.", param="size")
    if info.naming != naming:
        raise BadRequest(f"The collection {info.name} was made with other vector names ({info.naming}); drop it first or use another name.",
                         param="naming")


def check_shape(size: int, distance: str) -> None:
    """Refuse what no collection can have."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
        raise BadRequest(f"A vector size of {size!r} is not possible; give a whole number from 1 to {MAX_SIZE}.", param="size")
    if distance not in DISTANCES:
        raise BadRequest(f"{distance!r} is no distance; use one of {', '.join(DISTANCES)}.", param="distance")


def check_limit(limit: int) -> int:
    """The limit, when it is from 1 to MAX_LIMIT."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(f"A limit of {limit!r} is not possible; give a whole number from 1 to {MAX_LIMIT}.", param="limit")
    return limit


def check_vector(vector: Sequence[float], size: int, distance: str, what: str = "The vector") -> list[float]:
    """The dense vector as plain floats, when its length and numbers are right."""
    values = [float(value) for value in vector]
    if len(values) != size:
        raise BadRequest(f"{what} has {len(values)} numbers but the collection holds vectors of {size}; embed with the model that it was made with.",
                         param="vector")
    length = math.fsum(value * value for value in values)
    if not math.isfinite(length):
        raise BadRequest(f"{what} holds a number that is not finite or too large; only finite numbers can be searched.", param="vector")
    if distance == "Cosine" and length == 0:
        raise BadRequest(f"{what} is all zeros, which has no direction to compare by Cosine; leave the vector out instead.", param="vector")
    return values


def check_sparse(sparse: Mapping[int, float], what: str = "The sparse vector") -> dict[int, float]:
    """The sparse weights as plain numbers, by ascending term number."""
    checked: dict[int, float] = {}
    for term in sorted(sparse):
        weight = float(sparse[term])
        if not 0 <= term < 2**32 or not math.isfinite(weight):
            raise BadRequest(f"{what} holds {term!r}: {weight!r}; term numbers go from 0 to 2^32 - 1 and weights are finite.", param="sparse")
        checked[int(term)] = weight
    return checked


def check_point(point: Point, size: int, distance: str) -> Point:
    """The point with plain numbers, when all of it can be stored."""
    if not isinstance(point.id, str) or not 1 <= len(point.id) <= 512:
        raise BadRequest(f"{str(point.id)[:80]!r} is no point id; use 1 to 512 characters.", param="id")
    named = point.payload.get(ID_KEY, point.id)
    if named != point.id and point_uuid(str(named)) != point.id:
        raise BadRequest(f"The payload of point {point.id!r} uses the field {ID_KEY!r}, which the store keeps for itself; rename it.",
                         param="payload")
    try:
        json.dumps(point.payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"The payload of point {point.id!r} is not JSON in UTF-8 ({type(error).__name__}: {str(error)[:120]}); send text, finite "
                         "numbers, true, false, null, lists and objects.", param="payload") from error
    vector = None if point.vector is None else check_vector(point.vector, size, distance, f"The vector of point {point.id!r}")
    return Point(point.id, vector, check_sparse(point.sparse, f"Point {point.id!r}") if point.sparse else None, point.payload)


def check_effort(effort: int | None) -> int | None:
    """The effort of a search, when it is none, 0 or a number of candidates."""
    if effort is not None and (isinstance(effort, bool) or not isinstance(effort, int) or not 0 <= effort <= MAX_EFFORT):
        raise BadRequest(f"An effort of {effort!r:.80} is not possible; give a whole number from 1 to {MAX_EFFORT}, or 0 for an exact search.",
                         param="effort")
    return effort


def check_target(ids: Sequence[str] | None, where: Where | None, what: str = "delete") -> Filter | None:
    """The filter, if there is one. A change names its points in exactly one way, so that an empty filter never empties a collection."""
    if (ids is None) == (where is None) or (where is not None and not where):
        raise BadRequest(f"{what}() needs either ids or a `where` with at least one field; use drop() to delete a whole collection.", param="where")
    return None if where is None else check_where(where)
