"""The audit trail: a chain in which every entry holds the digest of the one before."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import IntegrityError

from suite.access.event import Event, digest_of, writable
from suite.access.table import audit as rows
from suite.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from suite.storage.engine import Storage

START = "0" * 64  # what the first entry has before it
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


class Audit:
    """The trail in one database. Safe for threads and for several processes."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._turn = threading.Lock()  # threads of this process queue here, not in the database's retry loop
        self._head: tuple[int, str] | None = None  # the last entry that this process wrote

    def record(self, event: Event) -> Event:
        """Append an event and return it as stored.

        Raises StorageError when it cannot be written, or when the end of the chain was cut off since this process last wrote.
        """
        values = writable(event)
        with self._turn:
            try:
                with self.storage.begin() as connection:
                    row = self._append(connection, {"at": event.at or time.time(), **values})
            except IntegrityError as error:
                raise StorageError(f"The audit trail did not take an entry ({str(error.orig).splitlines()[0]}); nothing was done without it: "
                                   "look at the database, then try again.") from error
            self._head = (row["seq"], row["digest"])
        return replace(event, **{**row, "detail": json.loads(row["detail"])})

    def _append(self, connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
        if connection.dialect.name == "postgresql":  # SQLite's transactions already begin with the write lock
            connection.exec_driver_sql("LOCK TABLE audit IN EXCLUSIVE MODE")
        last = connection.execute(rows.select().order_by(rows.c.seq.desc()).limit(1)).first()
        self._refuse_cut(last)
        row = {"seq": last.seq + 1 if last else 1, **values, "previous": last.digest if last else START}
        row["digest"] = digest_of(row)
        connection.execute(rows.insert().values(**row))
        return row

    def tail(self, n: int = 20) -> list[Event]:
        """The last `n` entries, oldest of them first."""
        with self.storage.read() as connection:
            found = connection.execute(rows.select().order_by(rows.c.seq.desc()).limit(max(0, n))).all()
        return [_event(dict(row._mapping)) for row in reversed(found)]

    def get(self, seq: int) -> Event | None:
        """The entry of that number; None when there is none."""
        with self.storage.read() as connection:
            row = connection.execute(rows.select().where(rows.c.seq == seq)).first()
        return None if row is None else _event(dict(row._mapping))

    def verify(self, newest: int | None = None) -> Verification:
        """Read the chain, all of it or its `newest` entries, and say where it was edited, shortened or put in another order.

        Entries cut off at the very end are noticed by the process that wrote them, and by nobody who starts later.
        """
        remembered, findings = self._head, []
        count, head, expected = 0, *self._before(newest)
        while batch := self._after(expected - 1):
            for row in batch:
                count += 1
                findings += _flaws(row, expected, head)
                if remembered and row["seq"] == remembered[0] and row["digest"] != remembered[1]:
                    findings.append(f"Entry {row['seq']} is not the one that this process wrote.")
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

    def _refuse_cut(self, last: Any) -> None:
        if self._head and (last is None or last.seq < self._head[0] or (last.seq == self._head[0] and last.digest != self._head[1])):
            raise StorageError(f"The audit trail ends before entry {self._head[0]}, which was written: somebody cut or changed it; "
                               "stop the suite, keep a copy of the database and restore the newest backup.")


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
