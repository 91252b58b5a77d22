"""Samples on disk: as they were scraped for two days, thinned out to one in five minutes for thirty, in one file of bounded size.

Each hour of a series is one row, and later each day, its numbers packed; what was scraped since the hour began lies in rows of one scrape each,
so that a kill loses none of it.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite.errors import StorageError
from suite.monitoring.rule import Matcher
from suite.monitoring.sample import Sample
from suite.monitoring.samples import Series

FILE = "history.db"
HOUR, DAY = 3600, 86_400
FINE_SECONDS = 2 * DAY  # how long every sample is kept
THIN = 300  # seconds between samples that are kept longer
MOST_BYTES = 200 << 20
MOST_SERIES = 20_000
log = logging.getLogger("suite.monitoring")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, UNIQUE (name, labels));
CREATE TABLE IF NOT EXISTS scraped (id INTEGER PRIMARY KEY, at REAL NOT NULL, packed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunk (series INTEGER NOT NULL, step INTEGER NOT NULL, begin INTEGER NOT NULL, packed BLOB NOT NULL,
                                  PRIMARY KEY (series, step, begin)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunk_begin ON chunk (step, begin);
"""


class History:
    """The file in `folder`. Safe for threads of one process. `days` is how long the thinned samples are kept.

    A file that is damaged is put aside under another name, and begun anew; what cannot be written, e.g. on a full disk, is counted in `lost`.
    """

    def __init__(self, folder: Path, days: float = 30.0, most_bytes: int = MOST_BYTES) -> None:
        """Open the file; raises StorageError when none can be made there."""
        self.file, self.days, self.most_bytes, self.lost = folder / FILE, days, most_bytes, 0
        self._turn = threading.Lock()
        self._full = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"The history {self.file} cannot be opened ({error}); free space, mend its mode, or move it away.") from error

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()

    def append(self, at: float, samples: Sequence[Sample]) -> None:
        """Write samples of one moment (UTC seconds); never raises."""
        with self._turn:
            try:
                self._append(at, samples)
                self._full = False
            except sqlite3.DatabaseError as error:
                self._failed(error, len(samples))

    def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
        """Series of a metric that meet all matchers, with their samples from `begin` to `end`; those without any are left out.

        Raises StorageError when the file cannot be read.
        """
        with self._turn:
            try:
                return self._select(metric, matchers, begin, end)
            except sqlite3.DatabaseError as error:
                raise StorageError(f"The history {self.file} cannot be read ({error}); move it away, and a new one is begun.") from error

    def names(self) -> list[str]:
        """The metrics of which anything is kept."""
        with self._turn:
            return [name for (name,) in self._connection.execute("SELECT DISTINCT name FROM series ORDER BY name")]

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return sum(path.stat().st_size for path in self.file.parent.glob(FILE + "*") if path.name in (FILE, FILE + "-wal"))

    # ---- opening ----

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._begin_anew(error)

    def _connect(self) -> None:
        self.file.touch(mode=0o600)
        self._connection = sqlite3.connect(self.file, check_same_thread=False, isolation_level=None)
        # what was written survives the death of this process; a power cut may take the last scrapes
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=250", "journal_size_limit=1000000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        self._ids = {(name, labels): id for id, name, labels in self._connection.execute("SELECT id, name, labels FROM series")}
        found = self._connection.execute("SELECT MIN(at) FROM scraped").fetchone()[0]
        self._hour = None if found is None else _floor(found, HOUR)

    def _begin_anew(self, error: Exception) -> None:
        self._connection.close()
        number = next(n for n in range(1, 1000) if not self.file.with_name(f"{FILE}.damaged-{n}").exists())
        aside = self.file.with_name(f"{FILE}.damaged-{number}")
        os.replace(self.file, aside)
        for tail in ("-wal", "-shm"):
            self.file.with_name(FILE + tail).unlink(missing_ok=True)
        log.error("the history of metrics was damaged (%s) and lies in %s now; a new one is begun", error, aside)
        self._connect()

    def _failed(self, error: sqlite3.DatabaseError, count: int) -> None:
        self.lost += count
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if not isinstance(error, sqlite3.OperationalError):
            self._begin_anew(error)
        elif not self._full:
            self._full = True  # said once, until it works again
            log.error("the history of metrics takes nothing now: %s", error)

    # ---- writing ----

    def _append(self, at: float, samples: Sequence[Sample]) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        hour = _floor(at, HOUR)
        if self._hour is not None and hour != self._hour:  # also when the clock went back
            self._pack(at)
        ids, values = [], []
        for sample in samples:
            labels = json.dumps(sample.labels)
            id = self._ids.get((sample.name, labels))
            if id is None:
                if len(self._ids) >= MOST_SERIES:
                    self.lost += 1
                    continue
                id = int(run("INSERT INTO series (name, labels) VALUES (?, ?) RETURNING id", (sample.name, labels)).fetchone()[0])
                self._ids[(sample.name, labels)] = id
            ids.append(id)
            values.append(sample.value)
        packed = zlib.compress(np.array(ids, "<u4").tobytes() + np.array(values, "<f8").tobytes(), 1)
        run("INSERT INTO scraped (at, packed) VALUES (?, ?)", (at, packed))
        run("COMMIT")
        self._hour = hour

    def _pack(self, at: float) -> None:
        """What was scraped becomes a row for each series and hour; old rows are thinned out, older ones go."""
        run = self._connection.execute
        for id, times, values in self._scraped(None):
            for hour in np.unique(times // HOUR):
                mine = times // HOUR == hour
                self._put(id, 0, int(hour) * HOUR, times[mine], values[mine])
        run("DELETE FROM scraped")
        self._thin(_floor(at - FINE_SECONDS, DAY))
        run("DELETE FROM chunk WHERE step = ? AND begin <= ?", (THIN, at - (self.days + 1) * DAY))  # a day goes when all of it is too old
        run("DELETE FROM series WHERE id NOT IN (SELECT series FROM chunk)")
        self._ids = {(name, labels): id for id, name, labels in run("SELECT id, name, labels FROM series")}
        self._shrink()

    def _thin(self, before: int) -> None:
        run = self._connection.execute
        rows = run("SELECT series, begin, packed FROM chunk WHERE step = 0 AND begin < ? ORDER BY series, begin", (before,)).fetchall()
        days: dict[tuple[int, int], list[tuple[Any, Any]]] = {}
        for id, begin, packed in rows:
            days.setdefault((id, _floor(begin, DAY)), []).append(_unpacked(packed))
        for (id, day), parts in days.items():
            times, values = (np.concatenate(column) for column in zip(*parts, strict=True))
            last = np.append(np.diff(times // THIN) != 0, True)  # the last sample of each five minutes
            self._put(id, THIN, day, times[last], values[last])
        run("DELETE FROM chunk WHERE step = 0 AND begin < ?", (before,))

    def _put(self, id: int, step: int, begin: int, times: Any, values: Any) -> None:
        found = self._connection.execute("SELECT packed FROM chunk WHERE series = ? AND step = ? AND begin = ?", (id, step, begin)).fetchone()
        if found:  # the clock went back into an hour that was packed
            before = _unpacked(found[0])
            times, values = np.concatenate((before[0], times)), np.concatenate((before[1], values))
        order = np.argsort(times, kind="stable")
        self._connection.execute("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?)", (id, step, begin, _packed(times[order], values[order])))

    def _shrink(self) -> None:
        """Give pages back; while it is too large, the oldest day goes."""
        run = self._connection.execute
        page = run("PRAGMA page_size").fetchone()[0]
        while (run("PRAGMA page_count").fetchone()[0] - run("PRAGMA freelist_count").fetchone()[0]) * page > self.most_bytes:
            oldest = run("SELECT MIN(begin) FROM chunk").fetchone()[0]
            if oldest is None:
                break
            run("DELETE FROM chunk WHERE begin < ?", (_floor(oldest, DAY) + DAY,))
            log.warning("the history of metrics is over %d bytes; a day of it was deleted", self.most_bytes)
        run("PRAGMA incremental_vacuum").fetchall()

    # ---- reading ----

    def _scraped(self, wanted: set[int] | None, begin: float = -np.inf, end: float = np.inf) -> list[tuple[int, Any, Any]]:
        """Samples that are not packed yet, by series."""
        found: dict[int, tuple[list[float], list[float]]] = {}
        for at, packed in self._connection.execute("SELECT at, packed FROM scraped WHERE at BETWEEN ? AND ? ORDER BY at, id", (begin, end)):
            data = zlib.decompress(packed)
            count = len(data) // 12
            ids, values = np.frombuffer(data, "<u4", count), np.frombuffer(data, "<f8", count, 4 * count)
            which = range(count) if wanted is None else np.flatnonzero(np.isin(ids, list(wanted)))
            for place in which:
                times, numbers = found.setdefault(int(ids[place]), ([], []))
                times.append(at)
                numbers.append(values[place])
        return [(id, np.array(times), np.array(numbers)) for id, (times, numbers) in found.items()]

    def _select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
        run, found = self._connection.execute, []
        ids = {}
        for id, labels in run("SELECT id, labels FROM series WHERE name = ?", (metric,)):
            named = dict(json.loads(labels))
            if all(matcher.matches(named) for matcher in matchers):
                ids[id] = named
        fresh = {id: (times, values) for id, times, values in self._scraped(set(ids), begin, end)}
        for id, named in ids.items():
            rows = run("SELECT packed FROM chunk WHERE series = ? AND begin > ? - CASE step WHEN 0 THEN ? ELSE ? END AND begin <= ? "
                       "ORDER BY begin, step DESC", (id, begin, HOUR, DAY, end))
            parts = [_unpacked(packed) for (packed,) in rows] + ([fresh[id]] if id in fresh else [])
            if not parts:
                continue
            times, values = (np.concatenate(column) for column in zip(*parts, strict=True))
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
            mine = (times >= begin) & (times <= end)
            if mine.any():
                found.append(Series(named, times[mine], values[mine]))
        return found


def _floor(at: float, step: int) -> int:
    return int(at // step) * step


def _packed(times: Any, values: Any) -> bytes:
    """Milliseconds since the sample before, and values; bytes of one weight lie together, which zlib can use."""
    steps = np.diff(np.round(times * 1000).astype("<i8"), prepend=0)
    both = np.concatenate((steps.view("u1").reshape(-1, 8), values.astype("<f8").view("u1").reshape(-1, 8)))
    return zlib.compress(both.T.tobytes(), 6)


def _unpacked(packed: bytes) -> tuple[Any, Any]:
    both = np.frombuffer(zlib.decompress(packed), "u1").reshape(8, -1).T
    half = len(both) // 2
    steps, values = (np.ascontiguousarray(part).view(kind)[:, 0] for part, kind in ((both[:half], "<i8"), (both[half:], "<f8")))
    return np.cumsum(steps) / 1000, values
