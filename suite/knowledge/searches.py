"""What was asked: a line per question, for the statistics of a while."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from suite.knowledge.record import Answer
from suite.knowledge.table import searches
from suite.text.secret import masked_text

KEPT_DAYS = 30
TOP = 10


class Searches:
    """The table of questions; secrets in them are masked before they are written."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def note(self, collection: str, question: str, answer: Answer, seconds: float) -> None:
        """Write down a question that was answered."""
        used = 0 if answer.reply is None or answer.cached else answer.reply.prompt_tokens + answer.reply.tokens
        with self._storage.begin() as connection:
            connection.execute(sa.insert(searches).values(at=time.time(), collection=collection, question=masked_text(question),
                                                          hits=len(answer.hits), tokens=used, seconds=seconds, cached=answer.cached))

    def analytics(self, hours: float) -> dict[str, Any]:
        """Numbers of the last hours; averages are None where nothing was asked. Times are milliseconds, as clients of the original expect."""
        since = searches.c.at > time.time() - hours * 3600
        seconds, hits, tokens = (how(searches.c[name]) for how, name in ((sa.func.avg, "seconds"), (sa.func.avg, "hits"), (sa.func.sum, "tokens")))
        totals = sa.select(sa.func.count(), seconds, hits, tokens).where(since)
        with self._storage.read() as connection:
            count, seconds, hits, tokens = connection.execute(totals).one()
            top = self._most(connection, searches.c.question, since, TOP)
            by_collection = self._most(connection, searches.c.collection, since, None)
        return {"total_searches": int(count), "avg_response_time": None if seconds is None else round(1000 * float(seconds), 1),
                "avg_results_count": None if hits is None else round(float(hits), 2), "total_tokens": int(tokens or 0),
                "top_queries": [{"query": name, "count": number} for name, number in top],
                "collection_usage": [{"collection": name, "count": number} for name, number in by_collection]}

    def prune(self) -> int:
        """Forget what is older than KEPT_DAYS; return how many lines that were."""
        with self._storage.begin() as connection:
            return int(connection.execute(sa.delete(searches).where(searches.c.at < time.time() - KEPT_DAYS * 86_400)).rowcount)

    @staticmethod
    def _most(connection: Any, column: Any, since: Any, most: int | None) -> list[tuple[str, int]]:
        count = sa.func.count()
        query = sa.select(column, count).where(since).group_by(column).order_by(count.desc(), column).limit(most)
        return [(str(name), int(number)) for name, number in connection.execute(query)]
