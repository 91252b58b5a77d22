"""Usage on its way into the database: noted in memory, written by one thread, never in a request's way."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from suite.errors import StorageError
from suite.usage.record import CANCELLED, FALLBACK, OK, Usage
from suite.usage.table import usage as rows

if TYPE_CHECKING:
    from suite.storage.engine import Storage

MOST_WAITING = 10_000  # rows kept while the database takes none; what comes then is counted, and lost
BATCH = 500
PAUSE_SECONDS = 1.0  # rows of one second share a transaction
RETRY_SECONDS = 5.0
CLOSE_SECONDS = 15.0
LENGTHS = {column.name: column.type.length for column in rows.columns if isinstance(column.type, sa.String)}
log = logging.getLogger("suite.usage")


@dataclass(frozen=True)
class Total:
    """What one actor used of one model since some moment: requests by their outcome, tokens, seconds."""

    who: str
    alias: str
    model: str
    requests: int
    fallbacks: int
    cancelled: int
    failed: int
    prompt_tokens: int
    cached: int
    tokens: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dict(vars(self))


class Ledger:
    """The usage of one stack. `record` never waits and never raises; `lost` counts what could not be kept."""

    def __init__(self, storage: Storage, most_waiting: int = MOST_WAITING) -> None:
        self.storage, self.most_waiting, self.lost = storage, most_waiting, 0
        # a SimpleQueue: a stream that is collected while this thread is inside `put` records its usage too, and must not wait for itself
        self._waiting: queue.SimpleQueue[Usage] = queue.SimpleQueue()
        self._wake, self._turn = threading.Event(), threading.Lock()
        self._closing = threading.Event()
        self._held: list[dict[str, Any]] = []  # taken from the queue, not written yet
        self._thread = threading.Thread(target=self._run, name="suite-usage", daemon=True)
        self._thread.start()

    def record(self, usage: Usage) -> None:
        """Note one request."""
        if self._waiting.qsize() >= self.most_waiting:
            self.lost += 1
            return
        self._waiting.put(usage)
        self._wake.set()

    def flush(self) -> None:
        """Write what is noted, now. Raises StorageError; the rows are then kept for the next time."""
        with self._turn:
            while self._take():
                with self.storage.begin() as connection:
                    connection.execute(rows.insert(), self._held)
                self._held = []

    def close(self) -> None:
        """Write what is noted and end the thread; what the database does not take is counted in the log."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 - the stack goes on closing, whatever the database says
            self.lost += len(self._held) + self._waiting.qsize()
            log.error("usage of %d requests could not be kept: %s", len(self._held) + self._waiting.qsize(), error)
        if self.lost:
            log.warning("usage of %d requests was lost since the start", self.lost)

    def _take(self) -> bool:
        """Fill up what is held; gives whether there is anything to write."""
        while len(self._held) < BATCH:
            try:
                self._held.append(_row(self._waiting.get_nowait()))
            except queue.Empty:
                break
        return bool(self._held)

    def _run(self) -> None:
        refused = False
        while not self._closing.is_set():
            self._wake.wait(RETRY_SECONDS if refused else None)
            self._closing.wait(RETRY_SECONDS if refused else PAUSE_SECONDS)
            self._wake.clear()
            try:
                self.flush()
                refused = False
            except StorageError as error:
                if not refused:
                    log.warning("usage is kept in memory until the database takes it: %s", error)
                refused = True
            except Exception:  # one row that cannot be written must not end the thread
                log.exception("usage of %d requests was dropped", len(self._held))
                self.lost += len(self._held)
                self._held = []


def totals(storage: Storage, since: float = 0.0) -> list[Total]:
    """The usage since that moment (UTC seconds) by actor and model, most tokens first. What was noted within the last second may be missing."""
    counts = {name: sa.func.sum(sa.case((condition, 1), else_=0)) for name, condition in (
        ("fallbacks", rows.c.outcome == FALLBACK), ("cancelled", rows.c.outcome == CANCELLED),
        ("failed", rows.c.outcome.not_in((OK, FALLBACK, CANCELLED))))}
    keys = (rows.c.who, rows.c.alias, rows.c.model)
    sums = [sa.func.sum(rows.c[name]).label(name) for name in ("prompt_tokens", "cached", "tokens", "seconds")]
    asked = sa.select(*keys, sa.func.count().label("requests"), *(count.label(name) for name, count in counts.items()), *sums)
    with storage.read() as connection:
        found = connection.execute(asked.where(rows.c.at >= since).group_by(*keys)).mappings().all()
    made = [Total(**{name: row[name] if name in ("who", "alias", "model") else float(row[name]) if name == "seconds" else int(row[name])
                     for name in Total.__dataclass_fields__}) for row in found]
    return sorted(made, key=lambda total: (-total.tokens - total.prompt_tokens, total.who, total.alias, total.model))


def _row(usage: Usage) -> dict[str, Any]:
    row = usage.to_dict()
    for name, length in LENGTHS.items():
        row[name] = str(row[name]).encode("utf-8", "replace").decode().replace("\0", "")[:length]
    return row

