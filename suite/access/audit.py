"""The audit trail: a chain in which every entry holds the digest of the one before."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from suite.access.checkpoint import Checkpoint
from suite.access.event import Event, digest_of, writable
from suite.access.table import audit as rows
from suite.errors import StorageError

if TYPE_CHECKING:
    from suite.storage.engine import Storage

START = "0" * 64  # what the first entry has before it
COLUMNS = ("seq", "at", "actor", "kind", "subject", "outcome", "reason", "detail", "previous", "digest")
_INSERT = f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
BATCH = 500  # entries read at once by `verify`: a reader must not keep writers waiting


@dataclass(frozen=True)
class Verification:
    """What a look at the whole chain found: how many entries, and one sentence per finding."""

    entries: int
    findings: tuple[str, ...]
    head: str

    @property
    def ok(self) -> bool:
        """Whether the chain is whole."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"ok": self.ok, "entries": self.entries, "findings": list(self.findings), "head": self.head}


@dataclass
class _Waiting:
    """An event on its way into the database, the one that follows it in the same transaction, if any, and what became of them."""

    event: Event
    values: dict[str, Any]
    then: Callable[[int], Event] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    failure: BaseException | None = None


class Audit:
    """The trail in one database. Safe for threads and for several processes."""

    def __init__(self, storage: Storage, checkpoint: Checkpoint | None = None) -> None:
        self.storage, self._checkpoint = storage, checkpoint
        self._turn = threading.Lock()  # threads of this process queue here, not in the database's retry loop
        self._waiting: deque[_Waiting] = deque()
        self.failures = 0  # events that could not be written since the start
        self._head = checkpoint.read() if checkpoint is not None else None  # the last entry that we know to have been written

    def record(self, event: Event) -> Event:
        """Append an event and return it as stored; raises as `note` does."""
        row = self._append(event)[0]
        return replace(event, settled={}, **{**row, "detail": json.loads(row["detail"])})

    def note(self, event: Event) -> int:
        """Append an event and return its number. Events that come while another is being written go into one transaction together.

        Raises StorageError when it cannot be written, or when the end of the chain was cut off since this process last wrote.
        """
        return int(self._append(event)[0]["seq"])

    def note_both(self, event: Event, then: Callable[[int], Event]) -> int:
        """Append an event and the one that follows from its number, both or neither, and return the number of the second; raises as `note` does."""
        return int(self._append(event, then)[1]["seq"])

    def _append(self, event: Event, then: Callable[[int], Event] | None = None) -> list[dict[str, Any]]:
        mine = _Waiting(event, writable(event), then)
        self._waiting.append(mine)
        with self._turn:
            if not mine.rows and mine.failure is None:  # else whoever had the turn before has written it
                self._write_waiting()
        if mine.failure is not None:
            raise StorageError(str(mine.failure)) from mine.failure  # one of its own for each: several threads raise it
        return mine.rows

    @property
    def waiting(self) -> int:
        """How many events wait for the one that is being written now."""
        return len(self._waiting)

    def _write_waiting(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            written = self._written(batch)
            if self._checkpoint is not None:
                self._checkpoint.write(*self._head)
        except BaseException as error:
            self.failures += len(batch)
            for one in batch:
                one.failure = error
            if not isinstance(error, StorageError):
                raise
            return
        for one, made in zip(batch, written, strict=True):
            one.rows = made

    def _written(self, batch: list[_Waiting]) -> list[list[dict[str, Any]]]:
        written = []
        with self.storage.quick.transaction() as run:
            last = run("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1", ())
            seq, previous = last[0] if last else (0, START)
            self._refuse_cut(seq, previous)
            for one in batch:
                made = [_linked(one.event, one.values, seq + 1, previous)]
                if one.then is not None:
                    second = one.then(seq + 1)
                    made.append(_linked(second, writable(second), seq + 2, made[0]["digest"]))
                seq, previous = made[-1]["seq"], made[-1]["digest"]
                for row in made:
                    run(_INSERT, [row[name] for name in COLUMNS])
                written.append(made)
        self._head = (seq, previous)
        return written

    def head(self) -> tuple[int, str]:
        """Number and digest of the last entry in the database; (0, START) when there is none."""
        found = self.storage.quick.rows("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1")
        return (int(found[0][0]), str(found[0][1])) if found else (0, START)

    def tail(self, n: int = 20) -> list[Event]:
        """The last `n` entries, oldest of them first."""
        with self.storage.read() as connection:
            found = connection.execute(rows.select().order_by(rows.c.seq.desc()).limit(max(0, n))).all()
        return [_event(dict(row._mapping)) for row in reversed(found)]

    def find(self, n: int = 20, actor: str = "", kind: str = "", subject: str = "", outcome: str = "") -> list[Event]:
        """The newest `n` entries that are of an actor, a kind, a subject, an outcome, where these are given; the oldest of them first."""
        query = rows.select().order_by(rows.c.seq.desc()).limit(max(0, n))
        for column, value in ((rows.c.actor, actor), (rows.c.kind, kind), (rows.c.subject, subject), (rows.c.outcome, outcome)):
            if value:
                query = query.where(column == value)
        with self.storage.read() as connection:
            found = connection.execute(query).all()
        return [_event(dict(row._mapping)) for row in reversed(found)]

    def every(self) -> Iterator[Event]:
        """Every entry from the first one on; a few are read at a time."""
        last = 0
        while batch := self._after(last):
            yield from map(_event, batch)
            last = int(batch[-1]["seq"])

    def get(self, seq: int) -> Event | None:
        """The entry of that number; None when there is none."""
        with self.storage.read() as connection:
            row = connection.execute(rows.select().where(rows.c.seq == seq)).first()
        return None if row is None else _event(dict(row._mapping))

    def verify(self, newest: int | None = None) -> Verification:
        """Read the chain, all of it or its `newest` entries, and say where it was edited, shortened or put in another order.

        Entries cut off at the very end are noticed by the process that wrote them and, after it, by the checkpoint, unless that was changed too.
        """
        remembered, findings = self._head, []
        count, head, expected = 0, *self._before(newest)
        while batch := self._after(expected - 1):
            for row in batch:
                count += 1
                findings += _flaws(row, expected, head)
                if remembered and row["seq"] == remembered[0] and row["digest"] != remembered[1]:
                    findings.append(f"Entry {row['seq']} is not the one that was written.")
                head, expected = row["digest"], row["seq"] + 1
        if remembered and expected <= remembered[0]:
            findings.append(f"Entries {expected} to {remembered[0]} are missing at the end.")
        return Verification(count, tuple(findings), head)

    def _before(self, newest: int | None) -> tuple[str, int]:
        """The digest before the first entry to be read, and that entry's number."""
        last = self.tail(1) if newest is not None else []
        anchor = self.get(last[0].seq - newest) if last and newest is not None and last[0].seq > newest else None
        return (anchor.digest, anchor.seq + 1) if anchor else (START, 1)

    def _after(self, seq: int) -> list[dict[str, Any]]:
        with self.storage.read() as connection:
            found = connection.execute(rows.select().where(rows.c.seq > seq).order_by(rows.c.seq).limit(BATCH)).all()
        return [dict(row._mapping) for row in found]

    def _refuse_cut(self, seq: int, digest: str) -> None:
        if self._head and (seq < self._head[0] or (seq == self._head[0] and digest != self._head[1])):
            raise StorageError(f"The audit trail ends before entry {self._head[0]}, which was written: somebody cut or changed it; "
                               "stop the suite, keep a copy of the database and restore the newest backup.")


def _linked(event: Event, values: dict[str, Any], seq: int, previous: str) -> dict[str, Any]:
    row = {"seq": seq, "at": event.at or time.time(), **values, "previous": previous}
    row["digest"] = digest_of(row)
    return row


def _flaws(row: dict[str, Any], expected: int, head: str) -> list[str]:
    found = []
    if row["seq"] != expected:
        found.append(f"Entries {expected} to {row['seq'] - 1} are missing.")
    elif row["previous"] != head:
        found.append(f"Entry {row['seq']} does not follow the one before it: one of the two was replaced or moved.")
    if digest_of(row) != row["digest"]:
        found.append(f"Entry {row['seq']} was changed after it was written.")
    return found


def _event(row: dict[str, Any]) -> Event:
    try:
        detail = json.loads(row["detail"])
    except ValueError:
        detail = {"unreadable": row["detail"]}  # an edited row is shown as it is; verify() names it
    return Event(**{**row, "detail": detail})
