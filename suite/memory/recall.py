"""Find remembered turns: by words (BM25 in SQL), by vector, or by both."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from suite.errors import NotFound
from suite.memory.record import store_name
from suite.memory.remember import alive
from suite.memory.table import memories, memory_terms
from suite.text.terms import terms, weight

K1, B = 1.2, 0.75
RRF = 60  # how little a first rank is worth more than a tenth one; 60 is the usual value
MAX_TERMS = 256  # of a query, the first ones: databases bound the number of values in one statement


def by_words(storage: Any, project: str, query: str, limit: int, now: float | None = None) -> list[tuple[str, float]]:
    """Ids and BM25 scores of the living turns of a project that share a term with the query, best first; ties go to the newer turn."""
    wanted = list(dict.fromkeys(terms(query)))[:MAX_TERMS]
    if not wanted:
        return []
    mine = sa.and_(memories.c.project == project, alive(time.time() if now is None else now))
    joined = memory_terms.join(memories, memories.c.id == memory_terms.c.memory)
    with storage.read() as connection:
        total, mean = connection.execute(sa.select(sa.func.count(), sa.func.avg(memories.c.length)).where(mine)).one()
        spread = connection.execute(sa.select(memory_terms.c.term, sa.func.count()).select_from(joined)
                                    .where(mine, memory_terms.c.term.in_(wanted)).group_by(memory_terms.c.term)).all()
        if not spread:
            return []
        rarity = {term: weight(term) * math.log(1 + (total - count + 0.5) / (count + 0.5)) for term, count in spread}
        idf = sa.case(*((memory_terms.c.term == term, sa.literal(value, sa.Float)) for term, value in rarity.items()), else_=0.0)
        count = sa.cast(memory_terms.c.count, sa.Float)
        penalty = K1 * (1 - B + B * sa.cast(memories.c.length, sa.Float) / max(float(mean), 1.0))
        score = sa.func.sum(idf * count * (K1 + 1) / (count + penalty)).label("score")
        found = connection.execute(sa.select(memories.c.id, score).select_from(joined).where(mine, memory_terms.c.term.in_(list(rarity)))
                                   .group_by(memories.c.id, memories.c.created).order_by(score.desc(), memories.c.created.desc(), memories.c.id)
                                   .limit(limit)).all()
    return [(row.id, float(row.score)) for row in found]


def by_vector(store: Any, project: str, vector: list[float], limit: int) -> list[tuple[str, float]]:
    """Ids and similarities of the turns of a project nearest to a vector, nearest first; none where no vector was ever stored."""
    try:
        return [(str(row.id), float(row.score)) for row in store.query(store_name(project), vector=vector, limit=limit)]
    except NotFound:
        return []


def fuse(*ranked: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Ids of several ranked lists by reciprocal rank fusion, best first: each list adds 1 / (RRF + rank)."""
    scores: dict[str, float] = {}
    for arm in ranked:
        for rank, (identity, _) in enumerate(arm, 1):
            scores[identity] = scores.get(identity, 0.0) + 1 / (RRF + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
