"""kill -9 at random moments of mixed saves, edits, deletes and syncs: what was acknowledged is there after, what was deleted stays deleted.

After each kill everything is opened again and counted: rows; then, after one sync, search terms, the numbers kept of the project, and vectors.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from suite.benchmark.durability_child import SAVES, SHORT, Parts
from suite.errors import RunFailed, StorageError
from suite.memory.postings import postings
from suite.memory.record import store_name
from suite.memory.words import marked
from suite.text.terms import terms

START_SECONDS = 120.0
LONGEST = 0.8  # seconds of work before a kill, at most
PAGE = 1_000
NEAR = 1e-5  # by how much two vectors of one text may differ


@dataclass(frozen=True)
class Turn:
    """A turn as it was acknowledged."""

    question: str
    reply: str
    importance: int
    tags: tuple[str, ...] = ()
    superseded_by: str = ""


@dataclass
class Ledger:
    """What was acknowledged: `turns` by id, ids that are `gone`, and the deed that was begun and not done, if there is one."""

    turns: dict[str, Turn] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    begun: list[Any] | None = None
    done: int = 0

    def note(self, row: list[Any]) -> None:
        """Take a line of the process."""
        if row[0] == "begin":
            self.begun = row[1:]
        elif row[0] == "done":
            self.begun, self.done = None, self.done + 1
            self._apply(row[1], row[2:])

    def _apply(self, deed: str, about: list[Any]) -> None:
        if deed in SAVES:
            self.turns[about[-1]] = Turn(*about[:3])
            if deed == "superseding":
                self.turns[about[3]] = replace(self.turns[about[3]], superseded_by=about[-1])
        elif deed == "edit":
            self.turns[about[0]] = replace(self.turns[about[0]], reply=about[1])
        elif deed == "tag":
            self.turns[about[0]] = replace(self.turns[about[0]], tags=(about[1],))
        elif deed in ("delete", "expire"):
            ids = about if deed == "delete" else [identity for identity, turn in self.turns.items() if turn.importance == SHORT]
            for identity in ids:
                del self.turns[identity]
            self.gone.update(ids)

    def outcomes(self, rows: dict[str, Turn]) -> list[dict[str, Turn]]:
        """What may be there now: all that was acknowledged, without the deed that was begun or with it."""
        begun, after = self.begun, Ledger(dict(self.turns))
        if begun is None or begun[0] in ("sync", "recall"):
            return [self.turns]
        if begun[0] in SAVES:
            new = [identity for identity, turn in rows.items() if turn.question == begun[1] and identity not in self.turns]
            if not new:
                return [self.turns]
            after._apply(begun[0], [*begun[1:], new[0]])
        else:
            after._apply(begun[0], begun[1:])
        return [self.turns, after.turns]

    def settle(self, rows: dict[str, Turn]) -> None:
        """Go on from what is there."""
        self.gone |= self.turns.keys() - rows.keys()
        self.turns, self.begun = rows, None


@dataclass(frozen=True)
class Round:
    """One kill: deeds that were acknowledged before it, then what was found wrong.

    `lost` turns, `returned` ones that were deleted, `altered` ones that are no acknowledged state, `strange` ones that nobody saved, differences
    between rows and search terms (`words`) and between rows and vectors (`vectors`), both after one sync.
    """

    done: int
    busy: bool
    lost: int = 0
    returned: int = 0
    altered: int = 0
    strange: int = 0
    words: int = 0
    vectors: int = 0

    @property
    def whole(self) -> bool:
        """Nothing was found wrong."""
        return not any(self.wrong().values())

    def wrong(self) -> dict[str, int]:
        """What was found wrong, by name."""
        return {name: value for name, value in asdict(self).items() if name not in ("done", "busy")}


def rounds(number: int, seed: int, folder: Path, url: str = "", told: Callable[[str], None] = lambda text: None) -> list[Round]:
    """So many kills, one after the other in the same data directory below `folder`, on the database at `url` (empty: SQLite).

    Raises RunFailed when the process ends by itself.
    """
    chance, ledger, found = random.Random(seed), Ledger(), []
    for which in range(number):
        before = ledger.done
        _killed(folder / "data", url, seed * 100_000 + which, chance.random() * LONGEST, ledger)
        busy = ledger.begun is not None
        found.append(replace(examined(folder / "data", url, ledger), done=ledger.done - before, busy=busy))
        if not found[-1].whole:
            told(f"round {which + 1}: {found[-1]}")
        elif (which + 1) % 20 == 0:
            told(f"{which + 1} of {number} rounds")
    return found


def _killed(data: Path, url: str, seed: int, moment: float, ledger: Ledger) -> None:
    """Let the process work for so many seconds, and kill it; the ledger takes what it said."""
    command = [sys.executable, "-m", "suite.benchmark.durability_child", str(data), url, str(seed)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        lines: list[bytes] = []
        begun = threading.Event()

        def read(pipe: Any) -> None:
            for line in pipe:
                lines.append(line)
                begun.set()
            begun.set()

        reader = threading.Thread(target=read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            if begun.wait(START_SECONDS) and lines:
                process.wait(moment)  # it never ends by itself
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.wait()
        reader.join(START_SECONDS)
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    if process.returncode != -9 or not lines:
        raise RunFailed(f"The process that should be killed ended by itself with status {process.returncode}: {said[-1] if said else 'no message'}")
    for line in lines:
        if line.endswith(b"\n"):  # half a line was not said
            ledger.note(json.loads(line))


def examined(data: Path, url: str, ledger: Ledger) -> Round:
    """Open everything and count; the ledger goes on from what is there."""
    parts = Parts(data, url)
    try:
        with parts.storage.begin():  # on a server the last transaction of the killed one may still be on its way
            pass
        rows = stored(parts.storage)
        found = compared(ledger, rows)
        parts.memory.sync()  # makes the search terms and vectors that were still queued; what else is wrong with them it leaves
        words = words_wrong(parts.storage, parts.project)
        vectors = vectors_wrong(parts, rows)
        ledger.settle(rows)
    finally:
        parts.close()
    return replace(found, words=words, vectors=vectors)


def stored(storage: Any) -> dict[str, Turn]:
    """Every turn in the database, by id."""
    with storage.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, question, reply, importance, tags, superseded_by FROM memories").all()
    return {row.id: Turn(row.question, row.reply, row.importance, tuple(json.loads(row.tags)), row.superseded_by) for row in rows}


def compared(ledger: Ledger, rows: dict[str, Turn]) -> Round:
    """What is wrong with the rows, under that outcome of the last deed that fits them best."""
    found = []
    for turns in ledger.outcomes(rows):
        found.append(Round(0, False, lost=len(turns.keys() - rows.keys()), returned=len(rows.keys() & ledger.gone),
                           altered=sum(rows[identity] != turns[identity] for identity in turns.keys() & rows.keys()),
                           strange=len(rows.keys() - turns.keys() - ledger.gone)))
    return min(found, key=lambda one: sum(one.wrong().values()))


def words_wrong(storage: Any, project: str) -> int:
    """In how many ways rows and search terms differ: rows without their terms, terms without a row, tags, the project's numbers, a damaged index."""
    sqlite = storage.engine.dialect.name == "sqlite"
    with storage.read() as connection:
        rows = connection.exec_driver_sql("SELECT seq, question, reply, length, tags FROM memories").all()
        held = postings(storage.engine.dialect.name).terms_of(connection, [row.seq for row in rows])
        count = connection.exec_driver_sql("SELECT count(*) FROM memory_words").scalar()
        projects = connection.exec_driver_sql("SELECT number, id, turns, length FROM memory_projects").all()
        tags = {(seq, tag) for seq, tag in connection.exec_driver_sql("SELECT seq, tag FROM memory_tags")}
    [mine] = [row for row in projects if row.id == project]
    wrong = abs(count - len(rows)) + (mine.turns != len(rows)) + (mine.length != sum(row.length for row in rows))
    for row in rows:
        expected = [marked(mine.number, term) for term in terms(f"{row.question}\n{row.reply}")]
        wrong += held.get(row.seq) != expected or row.length != len(expected)
    wrong += len(tags ^ {(row.seq, tag) for row in rows for tag in json.loads(row.tags)})
    if sqlite:
        try:
            with storage.begin() as connection:
                connection.exec_driver_sql("INSERT INTO memory_words (memory_words) VALUES ('integrity-check')")
        except StorageError:
            wrong += 1
    return wrong


def vectors_wrong(parts: Parts, rows: dict[str, Turn]) -> int:
    """How many points are missing, too many or of other words than their turn's, and what still waits though a sync was just made."""
    with parts.storage.read() as connection:
        waiting = connection.exec_driver_sql("SELECT (SELECT count(*) FROM memories WHERE sync <> 'synced') + (SELECT count(*) FROM memory_removals)")
        wrong = int(waiting.scalar() or 0)
    points: dict[str, Any] = {}
    name, last = store_name(parts.project), None
    if any(info.name == name for info in parts.store.collections()):
        wrong += abs(parts.store.count(name) - len(rows))
        while page := parts.store.scroll(name, limit=PAGE, offset=last):
            points.update((point.id, point.vector) for point in page)
            last = page[-1].id
    wrong += len(points.keys() ^ rows.keys())
    both = sorted(points.keys() & rows.keys())
    if both:
        expected = parts.embedder.embed([f"{rows[identity].question}\n{rows[identity].reply}" for identity in both])
        held = np.array([points[identity] for identity in both], np.float32)
        wrong += int((np.abs(held - expected).max(axis=1) > NEAR).sum())
    return wrong
