"""The same deeds on SQLite and on PostgreSQL: every answer must be the same."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from suite.benchmark.durability_child import TOPICS, Parts
from suite.errors import SuiteError

DEEDS = 60
MOST = 100  # turns that a recall gives at most
DAY = 86_400.0
QUERIES = ("harbour archive", "backup", "보관 창고",
           "C++ NEAR( \"lantern\" OR *", "100% 'quarry'; DROP TABLE memories; --", "nothing of the kind", "🙂")
ODD = ("백업은 새벽에 시작하고 창고에 보관합니다.",
       "Use std::vector in C++; it's 100% of \"quotes\" \\ and %s :name ? stay.", "🙂 emoji 👩‍👩‍👧 and é",
       "NEAR(harbour archive) AND NOT tunnel*", "x" * 3_000)


def answers(url: str, folder: Path, seed: int) -> list[Any]:
    """What memory says to the same deeds, with the numbers of turns instead of ids and without moments."""
    parts = Parts(folder, url)
    try:
        return _Told(parts, seed).all()
    finally:
        parts.close()


def differences(one: Sequence[Any], other: Sequence[Any]) -> list[int]:
    """The places at which two lists of answers differ."""
    return [place for place in range(max(len(one), len(other))) if one[place:place + 1] != other[place:place + 1]]


class _Told:
    """Does the deeds and writes the answers down."""

    def __init__(self, parts: Parts, seed: int) -> None:
        self._memory, self._chance = parts.memory, random.Random(seed)
        self._ids: list[str] = []
        self._projects = ("", "팀/연구", "Älpha")
        for name in self._projects[1:]:
            self._memory.create_project(name)
        self._memory.project()
        self._found: list[Any] = []

    def all(self) -> list[Any]:
        """The answers, in order."""
        for number in range(DEEDS):
            self._found.append(self._tried(self._deed(number)))
            if number % 12 == 11:
                self._look()
        self._look()
        return self._found

    def _tried(self, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except SuiteError as error:
            return type(error).__name__

    def _deed(self, number: int) -> Callable[[], Any]:
        memory, chance = self._memory, self._chance
        what, identity = chance.random(), chance.choice(self._ids) if self._ids else "nobody"
        text, project = self._text(number), chance.choice(self._projects)
        if what < 0.5:
            importance, tags = chance.choice([None, 1, 5, 10]), chance.sample(["work", "한국어", "A", "a"], chance.randrange(3))
            old = identity if chance.random() < 0.2 else ""
            return lambda: self._saved(text, project, importance, tags, old)
        if what < 0.65:
            return lambda: self._plain(memory.edit(identity, reply=text))
        if what < 0.75:
            return lambda: self._plain(memory.edit(identity, tags=["b", "가"], favourite=bool(number % 2)))
        if what < 0.88:
            return lambda: {name: value for name, value in memory.forget(identity).to_dict().items() if name != "id"}
        if what < 0.92:
            return lambda: memory.expire(time.time() + DAY)
        return lambda: memory.recall(text, project="nowhere") if number % 2 else memory.remember("q\0", text)

    def _saved(self, text: str, project: str, importance: int | None, tags: list[str], old: str) -> Any:
        turn = self._memory.remember(f"question {len(self._ids)}", text, project=project, importance=importance, tags=tags, supersedes=old)
        self._ids.append(turn.id)
        return self._plain(turn)

    def _look(self) -> None:
        """Write down all that can be asked."""
        memory = self._memory
        self._found.append(memory.sync())
        for project in self._projects:
            stats = memory.stats(project)
            self._found.append({name: value for name, value in stats.items() if name not in ("oldest", "newest")})
            self._found.append([self._plain(turn) for turn in memory.turns(project, limit=MOST)])
            self._found.append([self._plain(turn) for turn in memory.turns(project, limit=MOST, tags=["work"], importance_min=5, order="important")])
            self._found.append([self._exported(line) for line in memory.export(project)])
            for query in QUERIES:
                self._found += [self._tried(lambda query=query, how=how, project=project: self._recalled(query, how, project))  # type: ignore[misc]
                                for how in ("words", "vector", "hybrid")]
        self._found.append([(row.id, row.name, row.memories, row.importance_mean) for row in memory.projects()])

    def _recalled(self, query: str, how: Any, project: str) -> Any:
        """Turns with their scores; of hybrid only which they are, because ranks of turns with equal scores follow their ids."""
        found = self._memory.recall(query, how=how, limit=MOST, project=project)
        rows = [(0.0 if how == "hybrid" else -round(row.score, 6), self._number(row.id), row.arm) for row in found]
        return [sorted(rows), found.note]

    def _plain(self, turn: Any) -> Any:
        body = turn.to_dict()
        ends = None if turn.expires is None else round(turn.expires - turn.created)
        moments = {"expires": ends, "valid_until": turn.valid_until is not None, "edited": turn.edited is not None}
        kept = {name: value for name, value in body.items() if name not in ("created", "valid_from")}
        return {**kept, **moments, "id": self._number(turn.id), "superseded_by": self._number(turn.superseded_by)}

    def _exported(self, line: str) -> Any:
        body = json.loads(line)
        return (body.get("format"), body.get("version"), body.get("question"), body.get("reply"), body.get("tags"), body.get("importance"))

    def _number(self, identity: str) -> int | None:
        return self._ids.index(identity) if identity in self._ids else None if not identity else -1

    def _text(self, number: int) -> str:
        if number % 6 == 5:
            return f"{ODD[number // 6 % len(ODD)]} {number}"
        return " ".join(self._chance.choice(TOPICS) for _ in range(self._chance.randint(3, 30)))
