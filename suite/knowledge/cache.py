"""Answers that need not be written again: the same question, the same documents, the same model, the same settings."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from suite.knowledge.record import Answer
from suite.knowledge.register import Registered
from suite.knowledge.table import answers

MOST = 10_000  # answers that are kept; the oldest go first


class AnswerCache:
    """The table of answers. `hours` is how long one counts; 0 keeps none."""

    def __init__(self, storage: Any, hours: float) -> None:
        self._storage, self._seconds = storage, hours * 3600

    def get(self, key: str) -> Answer | None:
        """The answer under this key, marked as cached; None where there is none or it has expired."""
        if not self._seconds:
            return None
        now = time.time()
        with self._storage.read() as connection:
            body = connection.execute(sa.select(answers.c.body).where(answers.c.key == key, answers.c.expires > now)).scalar()
        if body is None:
            return None
        with self._storage.begin() as connection:
            connection.execute(sa.update(answers).where(answers.c.key == key).values(used=answers.c.used + 1))
        return Answer.from_dict({**json.loads(body), "cached": True})

    def put(self, key: str, known: Registered, answer: Answer) -> None:
        """Keep an answer that a model wrote, or a refusal; what stands in for a model that did not answer is not kept."""
        if not self._seconds or (answer.reply is None and not answer.refused):
            return
        now = time.time()
        with self._storage.begin() as connection:
            connection.execute(sa.delete(answers).where(sa.or_(answers.c.key == key, answers.c.expires <= now)))
            connection.execute(sa.insert(answers).values(key=key, collection=known.name, body=json.dumps(answer.to_dict(), ensure_ascii=False),
                                                         created=now, used=0, expires=now + self._seconds))
            count = connection.execute(sa.select(sa.func.count()).select_from(answers)).scalar_one()
            if count > MOST:
                oldest = sa.select(answers.c.key).order_by(answers.c.created).limit(count - MOST)
                connection.execute(sa.delete(answers).where(answers.c.key.in_(oldest.scalar_subquery())))

    def stats(self) -> dict[str, Any]:
        """How many answers are kept, how many of them count and have expired, and how often one was used on average."""
        now = time.time()
        live = sa.func.coalesce(sa.func.sum(sa.case((answers.c.expires > now, 1), else_=0)), 0)
        query = sa.select(sa.func.count(), live, sa.func.coalesce(sa.func.avg(answers.c.used), 0.0)).select_from(answers)
        with self._storage.read() as connection:
            total, active, used = connection.execute(query).one()
        return {"total_entries": int(total), "avg_access_count": round(float(used), 4), "active_entries": int(active),
                "expired_entries": int(total) - int(active)}

    def clear(self, expired: bool = False) -> int:
        """Forget all answers, or those that have expired; return how many there were."""
        which = answers.c.expires <= time.time() if expired else sa.true()
        with self._storage.begin() as connection:
            return int(connection.execute(sa.delete(answers).where(which)).rowcount)

    def forget(self, collection: str) -> None:
        """Forget the answers from a collection."""
        with self._storage.begin() as connection:
            connection.execute(sa.delete(answers).where(answers.c.collection == collection))


def key(known: Registered, question: str, *parts: Any) -> str:
    """The key of an answer: the question, the collection and its version, and whatever else the answer depends on."""
    return sha256(json.dumps([known.name, known.version, known.embedder, question, *parts], ensure_ascii=False).encode()).hexdigest()
