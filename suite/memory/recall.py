"""Find remembered turns: by words (BM25 in SQL), by vector, or by both; and list them by what is known of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from suite.errors import NotFound
from suite.memory.postings import AT_ONCE, postings
from suite.memory.project import corpus
from suite.memory.record import Remembered, from_row, store_name
from suite.memory.remember import alive, fetch
from suite.memory.table import memories, memory_tags
from suite.memory.words import KEPT, Spreads, candidates, penalty, query_terms, score

RRF = 60  # how little a first rank is worth more than a tenth one; 60 is the usual value
HALF = 0.5  # of its arm's best score; a turn with less is in the list only because there is nothing better
FAR = 1_000  # places further down that such a one counts for: two lists of what fits badly must not outvote one first rank
EXACT = 120  # turns whose terms are read, of more that may be the best
DEEPER = 8  # times as many turns are looked at when too few of them met the conditions
MOST_VECTORS = 10_000  # that a store gives at once


@dataclass(frozen=True)
class Wanted:
    """Which turns count. Times are UTC seconds since 1970: created `since` (inclusive) and `until` (exclusive), holding `at` that moment.

    `at` None is now. `tags` must all be there; `kind`, `session` and `favourite` narrow where they are given.
    """

    tags: tuple[str, ...] = ()
    importance_min: int = 1
    since: float | None = None
    until: float | None = None
    at: float | None = None
    kind: str = ""
    session: str = ""
    favourite: bool | None = None

    def condition(self, now: float | None = None) -> Any:
        """The same as a condition on `memories`, for living turns."""
        now = time.time() if now is None else now
        at = now if self.at is None else self.at
        begun = memories.c.valid_from <= at
        if self.at is None:  # a clock that was set back must not hide what was just remembered
            begun = sa.or_(begun, memories.c.valid_from <= memories.c.created)
        found = [alive(now), begun, sa.or_(memories.c.valid_until.is_(None), memories.c.valid_until > at)]
        found += [memories.c.seq.in_(sa.select(memory_tags.c.seq).where(memory_tags.c.tag == tag)) for tag in self.tags]
        if self.importance_min > 1:
            found.append(memories.c.importance >= self.importance_min)
        if self.since is not None:
            found.append(memories.c.created >= self.since)
        if self.until is not None:
            found.append(memories.c.created < self.until)
        if self.favourite is not None:
            found.append(memories.c.favourite.is_(self.favourite))
        found += [memories.c[name] == value for name, value in (("kind", self.kind), ("session", self.session)) if value]
        return sa.and_(*found)


ANY = Wanted()


def by_words(storage: Any, project: str, query: str, limit: int, wanted: Wanted = ANY, spreads: Spreads | None = None,
             now: float | None = None) -> list[tuple[str, float]]:
    """Ids and BM25 scores of the turns of a project that share a term with the query, best first; ties go to the newer turn."""
    condition = wanted.condition(now)
    with storage.read() as connection:
        ours = corpus(connection, project)
        if ours is None or not ours.turns:
            return []
        index = postings(storage.engine.dialect.name)
        asked = query_terms(connection, index, ours, query, spreads or Spreads())
        most, mean = max(KEPT, limit), ours.length / ours.turns
        last = connection.execute(sa.select(sa.func.max(memories.c.seq))).scalar_one()
        while asked:
            seqs, worth, whole = candidates(connection, index, asked, most, last)
            # the terms say the project too, but a damaged index must not show another's turns; asked for in SQL it would be searched by that
            rows = [row for row in _meeting(connection, seqs, condition) if row.project == project]
            if whole or len(rows) >= limit:
                near = rows if whole else _nearest(rows, dict(zip(seqs, worth, strict=True)), mean, max(limit, EXACT))
                stored = index.terms_of(connection, [row.seq for row in near])
                ranked = [(row, score(asked, stored.get(row.seq, ()), mean)) for row in near]
                ranked.sort(key=lambda pair: (-pair[1], -pair[0].created, pair[0].id))
                return [(row.id, value) for row, value in ranked[:limit]]
            most *= DEEPER
    return []


def _meeting(connection: Any, seqs: Sequence[int], condition: Any) -> list[Any]:
    rows: list[Any] = []
    columns = (memories.c.seq, memories.c.id, memories.c.created, memories.c.length, memories.c.project)
    for start in range(0, len(seqs), AT_ONCE):
        rows += connection.execute(sa.select(*columns).where(memories.c.seq.in_(seqs[start:start + AT_ONCE]), condition)).all()
    return rows


def _nearest(rows: Sequence[Any], worth: dict[int, float], mean: float, most: int) -> list[Any]:
    """The turns that would be the best if each term stood in them once; only these are read."""
    return sorted(rows, key=lambda row: -worth[row.seq] / (1 + penalty(row.length, mean)))[:most]


def by_vector(storage: Any, store: Any, project: str, vector: list[float], limit: int, wanted: Wanted = ANY) -> list[tuple[str, float]]:
    """Ids and similarities of the turns of a project nearest to a vector, nearest first; none where no vector was ever stored."""
    deep = limit
    while True:
        try:
            found = [(str(row.id), float(row.score)) for row in store.query(store_name(project), vector=vector, limit=deep)]
        except NotFound:
            return []
        met = set(fetch_ids(storage, [identity for identity, _ in found], wanted.condition()))
        rows = [pair for pair in found if pair[0] in met][:limit]
        if len(rows) == limit or len(found) < deep or deep == MOST_VECTORS:
            return rows
        deep = min(deep * DEEPER, MOST_VECTORS)


def fetch_ids(storage: Any, ids: list[str], condition: Any) -> list[str]:
    """Those of the ids whose turn meets a condition; a vector may outlive its turn for a moment."""
    found: list[str] = []
    with storage.read() as connection:
        for start in range(0, len(ids), AT_ONCE):
            found += connection.execute(sa.select(memories.c.id).where(memories.c.id.in_(ids[start:start + AT_ONCE]), condition)).scalars()
    return found


def fuse(*ranked: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Ids of several ranked lists by reciprocal rank fusion, best first: each list adds 1 / (RRF + rank), for what fits badly from FAR below.

    On the held question set (suite/benchmark/memory_quality.py) English recall@1 / @5 is 0.97 / 1.00 so, and 0.92 / 0.97 without FAR.
    """
    scores: dict[str, float] = {}
    for arm in ranked:
        best = arm[0][1] if arm else 0.0
        for rank, (identity, value) in enumerate(arm, 1):
            scores[identity] = scores.get(identity, 0.0) + 1 / (RRF + rank + (0 if 0 < HALF * best <= value else FAR))
    return sorted(scores.items(), key=lambda pair: -pair[1])  # of the same score, in the order of the lists: the same each time


def living(storage: Any, ids: list[str], wanted: Wanted) -> dict[str, Remembered]:
    """The turns with these ids that count, by id."""
    return fetch(storage, ids, wanted.condition())


def listed(storage: Any, project: str, wanted: Wanted, limit: int, offset: int, order: str) -> list[Remembered]:
    """The turns of a project that count, the newest or the most important first."""
    newest = (memories.c.created.desc(), memories.c.seq.desc())
    columns = newest if order == "newest" else (memories.c.importance.desc(), *newest)
    query = sa.select(memories).where(memories.c.project == project, wanted.condition()).order_by(*columns).limit(limit).offset(offset)
    with storage.read() as connection:
        return [from_row(row) for row in connection.execute(query)]
