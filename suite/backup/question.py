"""What a copy is asked when it is made, and again when it was restored: rows, points, searches, and two decisions of access.

A saved search is `{"kind": "words", "project", "query", …}` or `{"kind": "vector", "collection", "point", …}` with `limit` and `hits`: ids and
scores, best first. Scores that are equal but for rounding may come in any order, and at the end of the list any of them may be the one left out.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from suite.access.actor import Actors
from suite.access.audit import Audit
from suite.access.decide import decide
from suite.access.permission import Permission, Sensitivity
from suite.access.policy import Policy
from suite.memory.recall import by_words
from suite.vectors.shard import Shard
from suite.vectors.store import Point

SEARCHES = 10  # saved in a snapshot; more only where there are more collections than that
HITS = 10
LOOKED_AT = 50  # turns of a project among which a query is chosen
MOST_PROJECTS = 100
LONGEST = 200  # characters of a query
STRANGER = "nobody-backup"
Hits = Sequence[Sequence[Any]]


def sqlite_rows(file: Path) -> dict[str, int]:
    """Rows by table of a SQLite file that nobody writes; a search index's own tables are not counted."""
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        listed = connection.execute("PRAGMA main.table_list").fetchall()
        names = [name for schema, name, kind, *_ in listed if schema == "main" and kind == "table" and not name.startswith("sqlite_")]
        return {name: connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0] for name in sorted(names)}


def server_rows(connection: Any) -> dict[str, int]:
    """Rows by table of the schema in which a PostgreSQL connection works."""
    found = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename").all()
    return {row[0]: connection.exec_driver_sql(f"SELECT count(*) FROM {_quoted(row[0])}").scalar() for row in found}


def word_searches(storage: Any, at: float, number: int = SEARCHES) -> list[dict[str, Any]]:
    """Searches by the words of stored questions, as many projects as there are taking turns; `at` is the moment, which decides what has expired."""
    found = []
    for project, query in _queries(storage, number):
        hits = [list(hit) for hit in by_words(storage, project, query, HITS, now=at)]
        found.append({"kind": "words", "project": project, "query": query, "limit": HITS, "at": at, "hits": hits})
    return found


def vector_searches(shard: Shard, number: int) -> list[dict[str, Any]]:
    """Searches for what is nearest to stored points, the first ones that have a vector."""
    points = [point for point in shard.scroll(None, max(number, 1) * 5, None) if _searchable(point, shard)][:number]
    return [{"kind": "vector", "collection": shard.name, "point": point.id, "limit": HITS, "hits": _nearest(shard, point)} for point in points]


def decisions(storage: Any, policy: Policy) -> list[dict[str, Any]]:
    """One allowed and one denied decision on the actors of a database; fewer only where nobody may do anything.

    The denied one is that of a known actor where one lacks a permission, else of one whom nobody knows.
    """
    found: dict[str, dict[str, Any]] = {}
    for actor in Actors(storage, policy).list():
        for tool in sorted(policy.tools):
            outcome = decide(actor, policy.tools[tool], policy).outcome
            found.setdefault(outcome, {"actor": actor.name, "tool": tool, "outcome": outcome})
    tool = next(iter(sorted(policy.tools)), "read_file")
    found.setdefault("deny", {"actor": STRANGER, "tool": tool, "outcome": "deny"})
    return [found[outcome] for outcome in ("allow", "deny") if outcome in found]


def audit_head(storage: Any) -> dict[str, Any]:
    """The end of the audit trail: number and digest of its last entry, to which the copy has to lead again."""
    entries, digest = Audit(storage).head()
    return {"entries": entries, "digest": digest}


def different_audit(storage: Any, saved: Mapping[str, Any]) -> list[str]:
    """One sentence for each place in which the audit trail of a restored database is not whole, or does not end as it did."""
    found = Audit(storage).verify()
    problems = [f"The audit trail of the restored database: {finding}" for finding in found.findings]
    if audit_head(storage) != dict(saved):
        problems.append(f"The audit trail of the restored database ends with another entry than {saved.get('entries')}, which was its last.")
    return problems


def different_words(storage: Any, searches: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each saved search by words that a restored database answers otherwise."""
    return [f"The search for {str(saved['query'])[:60]!r} in the project {saved['project']!r} finds other turns than when the backup was made."
            for saved in searches
            if not same(saved["hits"], by_words(storage, saved["project"], saved["query"], saved["limit"], now=saved["at"]), saved["limit"])]


def different_vectors(shard: Shard, searches: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each saved search of a collection that the restored one answers otherwise."""
    found = []
    for saved in searches:
        points = shard.get([saved["point"]])
        if not points or not same(saved["hits"], _nearest(shard, points[0]), saved["limit"]):
            found.append(f"The search near the point {saved['point']!r} of the collection {shard.name} finds others than when the backup was made.")
    return found


def different_decisions(storage: Any, policy: Policy, saved: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each saved decision that is another on a restored database."""
    actors, found = Actors(storage, policy), []
    for row in saved:
        permission = policy.permission(row["tool"]) or Permission(row["tool"], "", Sensitivity.CRITICAL)
        outcome = decide(actors.find(row["actor"]), permission, policy, asked=row["actor"]).outcome
        if outcome != row["outcome"]:
            found.append(f"Whether {row['actor']!r} may use {row['tool']} is decided {outcome!r}, and was {row['outcome']!r} before.")
    return found


def same(then: Hits, now: Hits, limit: int) -> bool:
    """Whether two lists of (id, score) are the same top of a ranking, but for the order of what scores the same."""
    if len(then) != len(now) or not all(_close(old[1], new[1]) for old, new in zip(then, now, strict=True)):
        return False
    before, after = ({str(row[0]): row[1] for row in hits} for hits in (then, now))
    if not all(_close(before[identity], after[identity]) for identity in before.keys() & after.keys()):
        return False
    edge = then[-1][1] if len(then) >= limit else None  # of those at the end that score the same, any may have been left out
    odd = [before.get(identity, after.get(identity)) for identity in before.keys() ^ after.keys()]
    return all(edge is not None and _close(score, edge) for score in odd)


def chosen(words: Sequence[dict[str, Any]], vectors: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """SEARCHES of both kinds, half and half where there are enough; every collection keeps one, whatever their number."""
    firsts, more, seen = [], [], set()
    for search in vectors:
        (more if search["collection"] in seen else firsts).append(search)
        seen.add(search["collection"])
    near = firsts + more[:max(0, SEARCHES - min(len(words), SEARCHES // 2) - len(firsts))]
    return [*words[:max(SEARCHES - len(near), min(len(words), SEARCHES // 2))], *near]


def _queries(storage: Any, number: int) -> list[tuple[str, str]]:
    """(project, query) of stored turns: the projects in order, of each the turn whose question has the least digest, then the next."""
    mark = "%s" if storage.file is None else "?"
    with storage.read() as connection:
        found = connection.exec_driver_sql(f"SELECT DISTINCT project FROM memories ORDER BY project LIMIT {MOST_PROJECTS}")
        projects = sorted(row[0] for row in found)
        asked = f"SELECT question FROM memories WHERE project = {mark} LIMIT {LOOKED_AT}"
        of = {project: [row[0] for row in connection.exec_driver_sql(asked, (project,))] for project in projects[:number]}
    ranked = {project: sorted(set(questions), key=lambda text: sha256(text.encode("utf-8", "replace")).digest()) for project, questions in of.items()}
    rounds = [(project, ranked[project][turn][:LONGEST]) for turn in range(number) for project in ranked if turn < len(ranked[project])]
    return rounds[:number]


def _searchable(point: Point, shard: Shard) -> bool:
    return point.vector is not None and (shard.meta.distance != "Cosine" or any(point.vector))


def _nearest(shard: Shard, point: Point) -> list[list[Any]]:
    return [[hit.id, hit.score] for hit in shard.query(point.vector, None, HITS, None, 60, None)]


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-6)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
