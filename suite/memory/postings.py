"""The word index on each database: FTS5 on SQLite, an array with a GIN index on PostgreSQL.

(PostgreSQL's tsvector ends at one megabyte, which a long Korean turn exceeds; an array holds the same terms under the same kind of index.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from suite.memory.words import Postings

AT_ONCE = 5_000  # values in one statement


def postings(dialect: str) -> Postings:
    """The index of a database, by SQLAlchemy's name for its kind."""
    return _Fts5() if dialect == "sqlite" else _Gin()


class _Fts5:
    """`memory_words(terms)` without positions (`detail=none`), its rowid being `seq`; `memory_vocabulary` counts its terms."""

    def add(self, connection: Any, turns: Sequence[tuple[int, Sequence[str]]]) -> None:
        if turns:
            connection.execute(_ADD, [{"seq": seq, "terms": " ".join(marked)} for seq, marked in turns])

    def remove(self, connection: Any, seqs: Sequence[int]) -> None:
        if seqs:
            connection.execute(_REMOVE, [{"seq": seq} for seq in seqs])

    def spread(self, connection: Any, term: str) -> int:
        found = connection.connection.driver_connection.execute(_SPREAD, (term,)).fetchone()
        return found[0] if found else 0

    def having(self, connection: Any, any_of: Sequence[str], also: str = "") -> Any:
        match = " OR ".join(f'"{term}"' for term in any_of)
        driver = connection.connection.driver_connection
        [[joined]] = driver.execute(_HAVING, (f'({match}) AND "{also}"' if also else match,))
        return np.fromstring(joined or "", np.int64, sep=",")

    def terms_of(self, connection: Any, seqs: Sequence[int]) -> dict[int, list[str]]:
        driver, found = connection.connection.driver_connection, {}
        for start in range(0, len(seqs), AT_ONCE):
            part = seqs[start:start + AT_ONCE]
            found.update(driver.execute(_TERMS.format(",".join("?" * len(part))), part).fetchall())
        return {seq: terms.split(" ") if terms else [] for seq, terms in found.items()}


_ADD = sa.text("INSERT INTO memory_words (rowid, terms) VALUES (:seq, :terms)")
_REMOVE = sa.text("DELETE FROM memory_words WHERE rowid = :seq")
# by the driver itself, and the numbers of turns as one text: there may be 50,000, which take three times as long as rows
_SPREAD = "SELECT doc FROM memory_vocabulary WHERE term = ?"
_HAVING = "SELECT group_concat(rowid) FROM memory_words WHERE memory_words MATCH ?"
_TERMS = "SELECT rowid, terms FROM memory_words WHERE rowid IN ({})"


class _Gin:
    """`memory_words(seq, terms)`: the terms as an array, repeats included."""

    def add(self, connection: Any, turns: Sequence[tuple[int, Sequence[str]]]) -> None:
        if turns:
            connection.execute(_PG_ADD, [{"seq": seq, "terms": list(marked)} for seq, marked in turns])

    def remove(self, connection: Any, seqs: Sequence[int]) -> None:
        if seqs:
            connection.execute(_PG_REMOVE, {"seqs": list(seqs)})

    def spread(self, connection: Any, term: str) -> int:
        return connection.execute(_PG_SPREAD, {"terms": [term]}).scalar() or 0

    def having(self, connection: Any, any_of: Sequence[str], also: str = "") -> Any:
        found = connection.execute(_PG_BOTH if also else _PG_HAVING, {"terms": list(any_of), **({"also": [also]} if also else {})}).scalar()
        return np.array(found or (), np.int64)

    def terms_of(self, connection: Any, seqs: Sequence[int]) -> dict[int, list[str]]:
        return {row.seq: list(row.terms) for row in connection.execute(_PG_TERMS, {"seqs": list(seqs)})}


_PG_ADD = sa.text("INSERT INTO memory_words (seq, terms) VALUES (:seq, CAST(:terms AS text[]))")
_PG_REMOVE = sa.text("DELETE FROM memory_words WHERE seq = ANY(CAST(:seqs AS integer[]))")
_PG_SPREAD = sa.text("SELECT count(*) FROM memory_words WHERE terms @> CAST(:terms AS text[])")
_PG_HAVING = sa.text("SELECT array_agg(seq) FROM memory_words WHERE terms && CAST(:terms AS text[])")
_PG_BOTH = sa.text("SELECT array_agg(seq) FROM memory_words WHERE terms && CAST(:terms AS text[]) AND terms @> CAST(:also AS text[])")
_PG_TERMS = sa.text("SELECT seq, terms FROM memory_words WHERE seq = ANY(CAST(:seqs AS integer[]))")
