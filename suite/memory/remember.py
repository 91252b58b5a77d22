"""Write turns with their tags in one transaction; change them; delete them; and read what is stored.

Search terms of a single turn, which take a Korean one milliseconds, are made from a queue like its vector (see renew.py): a row of another recipe
than ours is in it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest, NotFound
from suite.memory import project as projecting
from suite.memory.importance import KEPT_DAYS, expiry, importance
from suite.memory.postings import postings
from suite.memory.record import KINDS, MAX_NAME, Remembered, absent, checked_context, checked_text, from_row, is_text
from suite.memory.table import memories, memory_removals, memory_tags, projects
from suite.memory.words import marked
from suite.text.terms import RECIPE, terms

MAX_TAGS = 32
NO_TERMS = 0  # the recipe of a turn whose terms are still to be made
ERASED_AT_ONCE = 500  # turns that are deleted in one: others may write in between
_COLUMNS = ("id", "project", "kind", "question", "reply", "model", "session", "tokens", "seconds", "importance", "favourite", "created", "edited",
            "expires", "valid_from", "valid_until", "superseded_by", "sync")


@dataclass(frozen=True)
class Draft:
    """What is to be remembered, as the caller gave it; `level` None leaves the importance to the rules."""

    question: Any
    reply: Any
    project: Any
    kind: str = "turn"
    model: Any = ""
    tags: tuple[Any, ...] = ()
    session: Any = ""
    level: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    context: Any = None
    valid_from: float | None = None
    coder: bool = False
    saved: bool = False
    important: bool = False


def prepare(draft: Draft) -> Remembered:
    """The record of a new turn, checked; raises BadRequest for a value that cannot be stored."""
    if draft.kind not in KINDS:
        raise BadRequest(f"There is no kind of memory {draft.kind!r}; use {', '.join(KINDS)}.", param="kind")
    question, reply = checked_text(draft.question, "question", blank=draft.kind != "turn"), checked_text(draft.reply, "reply")
    level, rules = _importance(draft, question, reply)
    created = time.time()
    return Remembered(
        str(uuid.uuid4()), checked_text(draft.project, "project", MAX_NAME), question, reply,
        checked_text(draft.model, "model", MAX_NAME, blank=True),
        checked_text(draft.session, "session", MAX_NAME, blank=True), checked_tags(draft.tags), level, created, expiry(level, created), "pending",
        draft.kind, rules, valid_from=created if draft.valid_from is None else draft.valid_from, tokens=_count(draft.tokens, "tokens"),
        seconds=_count(draft.seconds, "seconds"), context=checked_context({} if draft.context is None else draft.context))


def _importance(draft: Draft, question: str, reply: str) -> tuple[int, tuple[str, ...]]:
    if draft.level is not None:
        return checked_level(draft.level), (f"said to be {draft.level}",)
    if draft.kind != "turn":
        return 10, (f"a {draft.kind} that was written: 10",)
    found = importance(question, reply, coder=draft.coder, saved=draft.saved, important=draft.important)
    return found.level, found.rules


def checked_level(level: Any) -> int:
    """The importance as given; raises BadRequest when it is not a whole number from 1 to 10."""
    if isinstance(level, bool) or not isinstance(level, int) or level not in KEPT_DAYS:
        raise BadRequest(f"The importance is {level!r}; it must be a whole number from 1 to 10.", param="importance")
    return level


def checked_tags(tags: Iterable[Any]) -> tuple[str, ...]:
    """The tags, each once; raises BadRequest for too many, or one that cannot be stored."""
    tags = tuple(dict.fromkeys(checked_text(tag, "tag", MAX_NAME) for tag in tags))
    if len(tags) > MAX_TAGS:
        raise BadRequest(f"There are {len(tags)} tags; at most {MAX_TAGS} are allowed.", param="tags")
    return tags


def _count(value: Any, what: str) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9):
        raise BadRequest(f"The number of {what} is {value!r}; pass a number from 0 on, or nothing.", param=what)
    return None if value is None else int(value) if what == "tokens" else float(value)


def save(storage: Any, turn: Remembered, supersedes: str = "") -> None:
    """Write one turn of a known project, its search terms left to the queue; the turn `supersedes`, if there is one, holds until this one begins to.

    Raises NotFound for a turn to supersede that is not in the same project.
    """
    with storage.begin() as connection:
        seq = connection.execute(_INSERT, [{**_values(turn), "length": 0, "recipe": NO_TERMS}]).scalars().one()
        _tag(connection, [(seq, turn.tags)])
        projecting.grown(connection, turn.project, 1, 0)
        if supersedes:
            _supersede(connection, supersedes, turn)


def insert(storage: Any, turns: Sequence[Remembered], stored: Sequence[Sequence[str]] | None = None) -> None:
    """Write many turns of known projects with their search terms, all or none of them; `stored` are the terms where the caller has them already."""
    stored = [terms(turn.text) for turn in turns] if stored is None else stored  # before the transaction: others may write meanwhile
    index = postings(storage.engine.dialect.name)
    with storage.begin() as connection:
        numbers = project_numbers(connection, {turn.project for turn in turns})
        values = [{**_values(turn), "length": len(found), "recipe": RECIPE} for turn, found in zip(turns, stored, strict=True)]
        seqs = connection.execute(_INSERT, values).scalars().all()  # one statement for many: each alone takes three times as long
        index.add(connection, [(seq, [marked(numbers[turn.project], term) for term in found])
                               for seq, turn, found in zip(seqs, turns, stored, strict=True)])
        _tag(connection, [(seq, turn.tags) for seq, turn in zip(seqs, turns, strict=True)])
        for name in numbers:
            mine = [len(found) for turn, found in zip(turns, stored, strict=True) if turn.project == name]
            projecting.grown(connection, name, len(mine), sum(mine))


_INSERT = sa.insert(memories).returning(memories.c.seq, sort_by_parameter_order=True)


def _values(turn: Remembered) -> dict[str, Any]:
    return {**{name: getattr(turn, name) for name in _COLUMNS}, "tags": json.dumps(turn.tags, ensure_ascii=False),
            "rules": json.dumps(turn.rules, ensure_ascii=False), "context": json.dumps(turn.context, ensure_ascii=False)}


def project_numbers(connection: Any, names: set[str]) -> dict[str, int]:
    """The numbers of these projects, which mark their search terms."""
    rows = connection.execute(sa.select(projects.c.id, projects.c.number).where(projects.c.id.in_(names))).all()
    return {row.id: row.number for row in rows}


def _tag(connection: Any, tagged: Iterable[tuple[int, Sequence[str]]]) -> None:
    rows = [{"seq": seq, "tag": tag} for seq, tags in tagged for tag in tags]
    if rows:
        connection.execute(sa.insert(memory_tags), rows)


def _supersede(connection: Any, old: str, turn: Remembered) -> None:
    mine = sa.and_(memories.c.id == old, memories.c.project == turn.project)
    ended = sa.update(memories).where(mine).values(valid_until=turn.valid_from, superseded_by=turn.id)
    if not is_text(old) or connection.execute(ended).rowcount == 0:
        raise NotFound(f"There is no memory {old!r} in the project {turn.project!r} that could be superseded.", param="supersedes")


def change(storage: Any, identity: str, edit: Any) -> Remembered:
    """Replace a turn by `edit` of it, and return what it became; its terms and its vector are made anew when its words changed. Raises NotFound."""
    index = postings(storage.engine.dialect.name)
    with storage.begin() as connection:
        row = None if not is_text(identity) else connection.execute(sa.select(memories).where(memories.c.id == identity)).first()
        if row is None:
            raise absent(identity)
        before = from_row(row)
        after = edit(before)
        values = _values(after)
        if after.text != before.text:
            after = replace(after, sync="pending")
            index.remove(connection, [row.seq])
            projecting.grown(connection, row.project, 0, -row.length)
            values |= {"sync": "pending", "version": row.version + 1, "length": 0, "recipe": NO_TERMS}
        if after.tags != before.tags:
            connection.execute(sa.delete(memory_tags).where(memory_tags.c.seq == row.seq))
            _tag(connection, [(row.seq, after.tags)])
        connection.execute(sa.update(memories).where(memories.c.seq == row.seq).values(**values))
    return after


def fetch(storage: Any, ids: list[str], condition: Any = None) -> dict[str, Remembered]:
    """The turns with these ids that meet a condition on `memories` (None: whatever they are), by id."""
    ids = [identity for identity in ids if is_text(identity)]  # a database refuses even to look for anything else
    if not ids:
        return {}
    query = sa.select(memories).where(memories.c.id.in_(ids))
    if condition is not None:
        query = query.where(condition)
    with storage.read() as connection:
        return {row.id: from_row(row) for row in connection.execute(query)}


def fetch_known(storage: Any, ids: Sequence[str]) -> set[str]:
    """Those of the ids that are those of a turn."""
    found: set[str] = set()
    with storage.read() as connection:
        for start in range(0, len(ids), ERASED_AT_ONCE):
            part = list(ids[start:start + ERASED_AT_ONCE])
            found.update(connection.execute(sa.select(memories.c.id).where(memories.c.id.in_(part))).scalars())
    return found


def alive(now: float) -> Any:
    """The condition that a turn has not expired."""
    return sa.or_(memories.c.expires.is_(None), memories.c.expires > now)


def erase(storage: Any, which: Any) -> list[tuple[int, str]]:
    """Delete the turns that meet a condition on `memories`, queue the removal of their vectors, and return number and id of each.

    A few hundred to a transaction, each of them whole: what a transaction deleted stays deleted whatever becomes of the next.
    """
    gone: list[tuple[int, str]] = []
    index = postings(storage.engine.dialect.name)
    while True:
        with storage.begin() as connection:
            columns = (memories.c.seq, memories.c.id, memories.c.project, memories.c.length)
            doomed = connection.execute(sa.select(*columns).where(which).limit(ERASED_AT_ONCE)).all()
            seqs, now = [row.seq for row in doomed], time.time()
            if doomed:
                connection.execute(sa.insert(memory_removals), [{"memory": row.id, "project": row.project, "at": now} for row in doomed])
                index.remove(connection, seqs)
                connection.execute(sa.delete(memory_tags).where(memory_tags.c.seq.in_(seqs)))
                connection.execute(sa.delete(memories).where(memories.c.seq.in_(seqs)))
            for name in {row.project for row in doomed}:
                mine = [row.length for row in doomed if row.project == name]
                projecting.grown(connection, name, -len(mine), -sum(mine))
        gone += [(row.seq, row.id) for row in doomed]
        if len(doomed) < ERASED_AT_ONCE:
            return gone
