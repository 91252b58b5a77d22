"""One project as JSON lines, and back: a line that says what this is, then a line for each turn in the order of time. Vectors are computed anew."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from suite.errors import BadRequest
from suite.memory.record import KINDS, MAX_NAME, Imported, Remembered, checked_context, checked_text, from_row
from suite.memory.remember import checked_level, checked_tags, fetch_known, insert
from suite.memory.table import memories, projects

FORMAT = "local-ai-suite memory"
VERSION = 1
AT_ONCE = 200


def export(storage: Any, project: str) -> Iterator[str]:
    """The lines of a known project, each without its line break."""
    with storage.read() as connection:
        row = connection.execute(sa.select(projects).where(projects.c.id == project)).one()
    yield json.dumps({"format": FORMAT, "version": VERSION, "project": row.id, "name": row.name, "created": row.created}, ensure_ascii=False)
    last = 0
    while True:
        query = sa.select(memories).where(memories.c.project == project, memories.c.seq > last).order_by(memories.c.seq).limit(AT_ONCE)
        with storage.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            body = from_row(row).to_dict()
            yield json.dumps({name: value for name, value in body.items() if name not in ("sync", "smoke", "project")}, ensure_ascii=False)
        if len(rows) < AT_ONCE:
            return
        last = rows[-1].seq


def read(lines: Iterable[str]) -> tuple[str, list[Remembered]]:
    """The project's id and the turns of an export; raises BadRequest with the number of the first line that is none of one."""
    head, turns = None, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
            if head is None:
                head = _head(body)
            else:
                turns.append(_turn(body, head))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadRequest) as error:
            raise BadRequest(f"Line {number} of the export cannot be used ({type(error).__name__}: {error}); nothing was imported.") from error
    if head is None:
        raise BadRequest("The export is empty: its first line must say what it is; nothing was imported.")
    return head, turns


def bring(storage: Any, project: str, turns: Iterable[Remembered]) -> Imported:
    """Write the turns of an export into a known project, in portions; one whose id is there already is left as it is."""
    turns, new = [replace(turn, project=project) for turn in turns], 0
    known = fetch_known(storage, [turn.id for turn in turns])
    fresh = [turn for turn in turns if turn.id not in known]
    for start in range(0, len(fresh), AT_ONCE):
        insert(storage, fresh[start:start + AT_ONCE])
        new += len(fresh[start:start + AT_ONCE])
    return Imported(project, new, len(turns) - new)


def _head(body: dict[str, Any]) -> str:
    if body.get("format") != FORMAT:
        raise ValueError(f"the first line must have the format {FORMAT!r}")
    if body["version"] != VERSION:
        raise ValueError(f"it has version {body['version']!r}, this suite reads {VERSION}")
    return checked_text(body["project"], "project", MAX_NAME)


def _turn(body: dict[str, Any], project: str) -> Remembered:
    turn = Remembered.from_dict({**body, "project": project, "sync": "pending"})
    if turn.kind not in KINDS or not isinstance(turn.favourite, bool):
        raise ValueError("its kind or its favourite is none of ours")
    for what, limit in (("model", MAX_NAME), ("session", MAX_NAME), ("superseded_by", 36)):
        checked_text(getattr(turn, what), what, limit, blank=True)
    for what in ("created", "valid_from", "expires", "edited", "valid_until", "tokens", "seconds"):
        _checked_number(getattr(turn, what), what, optional=what not in ("created", "valid_from"))
    checked_text(turn.question, "question", blank=turn.kind != "turn")
    checked_text(turn.reply, "reply")
    checked_context(turn.context)
    for rule in turn.rules:
        checked_text(rule, "rule", MAX_NAME * 2)
    return replace(turn, id=str(uuid.UUID(turn.id)), tags=checked_tags(turn.tags), importance=checked_level(turn.importance))


def _checked_number(value: Any, what: str, optional: bool) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e11
    if not number and not (optional and value is None):
        raise ValueError(f"its {what} is {value!r}, which is no number")
