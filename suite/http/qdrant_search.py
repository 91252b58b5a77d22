"""Qdrant's queries over a store: nearest neighbours, fusions and rescoring of prefetches, groups, and pages in Qdrant's order."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from suite.errors import BadRequest, NotFound
from suite.http.qdrant import (
    NUMBERS,
    check_shown,
    id_number,
    is_number,
    only,
    read_dense,
    read_id,
    read_list,
    read_object,
    read_sparse,
    read_whole,
    write_hit,
    write_id,
    write_record,
    write_vectors,
)
from suite.http.qdrant_filter import read_filter
from suite.vectors.filter import Filter, Ids
from suite.vectors.fuse import fuse
from suite.vectors.store import MAX_LIMIT, CollectionInfo, Point, Scored, Store, check_limit, point_uuid

DEFAULT_K = 2  # Qdrant's constant of rank fusion
DEEPEST = 8  # prefetches in prefetches
LIMIT, GROUP_SIZE = 10, 3  # Qdrant's defaults
SEARCH = {"query", "using", "prefetch", "filter", "params", "score_threshold", "limit"}
SHOWN = {"offset", "with_payload", "with_vector"}
ORDER = ((NUMBERS, NUMBERS + 2**64), (0, NUMBERS), (NUMBERS + 2**64, 2**128))  # Qdrant's order of ids: whole numbers, then UUIDs


def found(part: Store, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points that a query finds, as they are shown."""
    only(body, SEARCH | SHOWN, "a query")
    check_shown(body)
    limit, offset = check_limit(read_whole(body.get("limit"), "limit", LIMIT)), read_whole(body.get("offset"), "offset")
    info = part.info(name)
    hits = _search(part, info, body, Filter(), limit + offset, 1)
    return _shown(part, info, hits[offset:], body)


def grouped(part: Store, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The best points of each of the best groups, a group being the points with one value of a field."""
    only(body, SEARCH | {"with_payload", "with_vector", "group_by", "group_size"}, "a query for groups")
    check_shown(body)
    limit, size = (check_limit(read_whole(body.get(key), key, default)) for key, default in (("limit", LIMIT), ("group_size", GROUP_SIZE)))
    field = body.get("group_by")
    if not isinstance(field, str) or not field or "[" in field:
        raise BadRequest(f"`group_by` must name a payload field; it is {field!r:.80}.", param="group_by")
    info, depth = part.info(name), min(MAX_LIMIT, limit * size * 4)
    while True:  # deeper, until there are enough groups with enough points each, or no more points
        hits = _search(part, info, body, Filter(), depth, 1)
        groups: dict[Any, list[Scored]] = {}
        for hit in hits:
            for value in _values(hit.payload, field):
                group = groups.setdefault(value, [])
                if len(group) < size:
                    group.append(hit)
        chosen = list(groups.items())[:limit]
        if len(hits) < depth or depth == MAX_LIMIT or (len(chosen) == limit and all(len(group) == size for _, group in chosen)):
            return [{"id": value, "hits": _shown(part, info, group, body)} for value, group in chosen]
        depth = min(MAX_LIMIT, depth * 4)


def scrolled(part: Store, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A page of points in Qdrant's order, and the id of the first one after it."""
    only(body, {"filter", "limit", *SHOWN}, "a scroll")
    check_shown(body)
    limit, info = check_limit(read_whole(body.get("limit"), "limit", LIMIT)), part.info(name)
    points = []
    for point in _walk(part, name, read_filter(body.get("filter")), body.get("offset"), limit + 1):
        points.append(point)
        if len(points) > limit:
            break
    following = write_id(points.pop().id) if len(points) > limit else None
    return {"points": [write_record(point, body, info.naming) for point in points], "next_page_offset": following}


def _search(part: Store, info: CollectionInfo, body: Mapping[str, Any], outer: Filter, limit: int, depth: int) -> list[Scored]:
    """The hits of a query or a prefetch, best first; `outer` is the filter around it."""
    if depth > DEEPEST:
        raise BadRequest(f"There are more than {DEEPEST} prefetches inside one another; fuse fewer levels.", param="prefetch")
    check_limit(limit)
    where, query = _both(read_filter(body.get("filter")), outer), body.get("query")
    arms = [_arm(part, info, arm, where, depth) for arm in _prefetches(body)]
    fused = isinstance(query, dict) and ("fusion" in query or "rrf" in query)
    if fused and not arms:
        raise BadRequest("A fusion needs prefetches to join; send at least one.", param="prefetch")
    if arms and query is None:
        raise BadRequest("Prefetches need a query that joins them: a fusion (`rrf`), or a vector to compare them with.", param="query")
    if fused:
        k, weights = _fusion(query, len(arms))
        hits = fuse(arms, k, limit, weights)
    elif query is None:
        hits = [Scored(point.id, 1.0, dict(point.payload)) for point in _walk(part, info.name, where, None, limit)][:limit]
    else:
        if arms:
            where = _both(where, Filter(must=(Ids(tuple({hit.id: None for arm in arms for hit in arm})),)))
        hits = _nearest(part, info, body, where, limit)
    return _above(hits, body.get("score_threshold"), info.distance in ("Euclid", "Manhattan") and not fused and not _is_sparse(info, body))


def _prefetches(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    prefetch = body.get("prefetch") or []
    return [prefetch] if isinstance(prefetch, dict) else [read_object(arm, "prefetch") for arm in read_list({"prefetch": prefetch}, "prefetch")]


def _arm(part: Store, info: CollectionInfo, arm: Mapping[str, Any], outer: Filter, depth: int) -> list[Scored]:
    only(arm, SEARCH, "a prefetch")
    return _search(part, info, arm, outer, check_limit(read_whole(arm.get("limit"), "limit", LIMIT)), depth + 1)


def _nearest(part: Store, info: CollectionInfo, body: Mapping[str, Any], where: Filter, limit: int) -> list[Scored]:
    """The points nearest to a vector, to sparse weights, or to a stored point, which is not found itself."""
    query, using, effort = body.get("query"), body.get("using"), _effort(body.get("params"))
    if isinstance(query, dict) and "nearest" in query:
        only(query, {"nearest"}, "a query")
        query = query["nearest"]
    by_words = _is_sparse(info, body)
    if not by_words and using not in (None, "", info.naming.dense):
        raise BadRequest(f"There is no vector named {str(using)[:80]!r}; the names are {info.naming.dense!r} and {info.naming.words!r}.",
                         param="using")
    if isinstance(query, int | str) and not isinstance(query, bool):
        (point,) = part.get(info.name, [read_id(query)]) or [None]
        if point is None:
            raise NotFound(f"There is no point {query!r:.80} in the collection {info.name} to search near to; scroll lists those that there are.")
        where = Filter(must=where.must, should=where.should, must_not=(*where.must_not, Ids((point.id,))))
        return _near_to(part, info, point, by_words, limit, where, effort)
    if isinstance(query, list) and not by_words:
        return part.query(info.name, vector=read_dense(query), limit=limit, where=where, effort=effort)
    if isinstance(query, dict) and set(query) == {"indices", "values"} and by_words:
        return part.query(info.name, sparse=read_sparse(query), limit=limit, where=where, effort=effort)
    raise BadRequest(f"The query {str(query)[:80]} (using {using!r:.80}) is not supported; send a vector for {info.naming.dense!r}, indices and "
                     f"values for {info.naming.words!r}, the id of a point, or a fusion of prefetches.", param="query")


def _near_to(part: Store, info: CollectionInfo, point: Point, by_words: bool, limit: int, where: Filter, effort: int | None) -> list[Scored]:
    if by_words:
        return part.query(info.name, sparse=point.sparse or {}, limit=limit, where=where, effort=effort)
    if point.vector is None:
        raise BadRequest(f"The point {write_id(point.id)} has no vector {info.naming.dense!r} to search near to; choose another.", param="query")
    return part.query(info.name, vector=point.vector, limit=limit, where=where, effort=effort)


def _is_sparse(info: CollectionInfo, body: Mapping[str, Any]) -> bool:
    """Whether a query is for the sparse weights: by the name, or where there is none by what it sends."""
    query, using = body.get("query"), body.get("using")
    query = query.get("nearest") if isinstance(query, dict) and "nearest" in query else query
    if using is None and isinstance(query, dict) and "indices" in query:
        return info.naming.words is not None
    return isinstance(using, str) and using == info.naming.words


def _effort(params: Any) -> int | None:
    params = read_object(params, "params")
    harmless = {"quantization": None, "indexed_only": False, "acorn": None, "idf": None}
    only({name: value for name, value in params.items() if name not in harmless or value != harmless[name]}, {"hnsw_ef", "exact"}, "`params`")
    if params.get("exact") not in (None, True, False):
        raise BadRequest(f"`exact` must be true or false; it is {params['exact']!r:.80}.", param="exact")
    return 0 if params.get("exact") else read_whole(params.get("hnsw_ef"), "hnsw_ef") or None


def _fusion(query: Mapping[str, Any], arms: int) -> tuple[int, Sequence[float] | None]:
    """The constant of rank fusion and the weights of the arms that a query over prefetches asks for."""
    if query.get("fusion") == "rrf" and len(query) == 1:
        return DEFAULT_K, None
    rrf = query.get("rrf")
    if not isinstance(rrf, dict) or len(query) != 1:
        raise BadRequest(f"Only a rank fusion (`rrf`) can join prefetches here, not {str(query)[:80]}; use a Qdrant server by QDRANT_URL for others.",
                         param="query")
    only(rrf, {"k", "weights"}, "`rrf`")
    weights = rrf.get("weights")
    if weights is not None and (not isinstance(weights, list) or len(weights) != arms or not all(is_number(w) and 0 <= w < 1e6 for w in weights)):
        raise BadRequest(f"`weights` must be one number from 0 for each of the {arms} prefetches; it is {weights!r:.80}.", param="weights")
    return read_whole(rrf.get("k"), "k") or DEFAULT_K, weights


def _above(hits: list[Scored], threshold: Any, smaller_is_better: bool) -> list[Scored]:
    if threshold is None:
        return hits
    if not is_number(threshold):
        raise BadRequest(f"`score_threshold` must be a number; it is {threshold!r:.80}.", param="score_threshold")
    return [hit for hit in hits if (hit.score <= threshold if smaller_is_better else hit.score >= threshold)]


def _both(one: Filter, other: Filter) -> Filter:
    return one if other == Filter() else other if one == Filter() else Filter(must=(one, other))


def _shown(part: Store, info: CollectionInfo, hits: Sequence[Scored], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Hits in Qdrant's form; their vectors, where they are asked for, are read once more."""
    rows = [write_hit(hit, body) for hit in hits]
    if body.get("with_vector") in (None, False):
        return rows
    stored = {point.id: point for point in part.get(info.name, [hit.id for hit in hits])}
    return [{**row, **write_vectors(stored.get(hit.id, Point(hit.id)), body, info.naming)} for row, hit in zip(rows, hits, strict=True)]


def _walk(part: Store, name: str, where: Filter, offset: Any, page: int) -> Iterator[Point]:
    """The points from `offset` on in Qdrant's order, read in pages of about so many."""
    start = None if offset is None else id_number(offset)
    for low, high in ORDER:
        if start is not None and not low <= start < high:
            continue
        first, start = low if start is None else start, None
        after = str(uuid.UUID(int=first - 1)) if first else None
        size = min(page, MAX_LIMIT)
        while True:
            points = part.scroll(name, where, size, after)
            for point in points:
                if uuid.UUID(point_uuid(point.id)).int >= high:
                    break
                yield point
            else:
                if len(points) == size:
                    after = points[-1].id
                    continue
            break


def _values(payload: Mapping[str, Any], field: str) -> list[str | int]:
    """The values by which a point belongs to groups."""
    value: Any = payload
    for step in field.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(item for item in values if isinstance(item, str | int) and not isinstance(item, bool)))
