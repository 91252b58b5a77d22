"""Vectors that were computed before, in one SQLite file of bounded size: the least recently used go first.

A cache may lose anything and must never be wrong: every vector is kept with a digest of its key and its numbers, and what does not match is
computed anew. Whatever is the matter with the file, the answer is "not there"; a damaged file is thrown away and begun again.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

PAGE = 8192  # bytes; five vectors of 384 numbers
KEPT = 0.9  # of the limit is left when vectors have to go, so that they do not go one by one
AT_ONCE = 500  # keys in one statement
DIGEST = 8  # bytes before each vector
FREE = 256 << 20  # bytes that stay free on the disk: a cache is no reason to fill it
WAIT = 1.0  # seconds for another process that writes
UNIT_TOLERANCE = 1e-3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, used INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS vectors_used ON vectors (used);
"""
_log = logging.getLogger("suite.embedding")


def key_of(fingerprint: str, text: str) -> bytes:
    """The key of a text, prefix included, under a model (Encoder.fingerprint): 16 bytes."""
    return blake2b(text.encode(), key=bytes.fromhex(fingerprint)[:32], digest_size=16).digest()


class VectorCache:
    """Unit vectors by key, in `file`, which grows to about `limit` bytes. Any thread may call; `hits` and `misses` count the keys asked for.

    `damaged` counts vectors that did not match their digest, `failures` the times that the file could not be read or written.
    """

    def __init__(self, file: Path, limit: int) -> None:
        self.file, self.limit = file, limit
        self.hits = self.misses = self.damaged = self.failures = 0
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._clock = 0  # counts the calls: what was used by a later one was used more recently
        self._touched: set[bytes] = set()

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, np.ndarray]:
        """The vectors of `dim` float32 numbers that are there, by key; never raises."""
        with self._lock:
            rows = self._safely(lambda connection: _select(connection, keys)) or {}
            found = {key: vector for key, data in rows.items() if (vector := _unpacked(key, data, dim)) is not None}
            self.damaged += len(rows) - len(found)
            there = sum(key in found for key in keys)
            self.hits += there
            self.misses += len(keys) - there
            self._touched.update(found)
            if len(self._touched) >= AT_ONCE:
                self._write({})
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep these unit vectors; never raises."""
        with self._lock:
            self._write(vectors)

    def size(self) -> int:
        """Bytes of the file that are in use; 0 where it cannot be read."""
        with self._lock:
            return int(self._safely(_size) or 0)

    def close(self) -> None:
        """Write down what was used, and close the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None and self._touched:
                self._write({})
            self._let_go()

    def _write(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """One transaction: what was used since the last one, and what is new; then the oldest go if there are too many."""
        touched, self._touched = self._touched, set()

        def work(connection: sqlite3.Connection) -> None:
            if shutil.disk_usage(self.file.parent).free < FREE:
                return
            self._clock += 1
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("UPDATE vectors SET used = ? WHERE key = ?", [(self._clock, key) for key in touched])
            connection.executemany("INSERT OR REPLACE INTO vectors (key, used, data) VALUES (?, ?, ?)",
                                   [(key, self._clock, _packed(key, vector)) for key, vector in vectors.items()])
            connection.execute("COMMIT")
            while vectors and (size := _size(connection)) > self.limit and _evict(connection, 1 - KEPT * self.limit / size):
                pass

        if touched or vectors:
            self._safely(work)

    def _safely(self, work: Any) -> Any:
        """The result of some work with the open file, or None where that failed; a damaged file is thrown away."""
        try:
            return work(self._open())
        except sqlite3.Error as error:
            self.failures += 1
            damaged = not isinstance(error, sqlite3.OperationalError)  # those are a full disk, a lock, a folder that cannot be written
            _log.warning("the cache of vectors %s is of no use now: %s%s", self.file, error, "; it begins anew" if damaged else "")
            if self._connection is not None and self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            if damaged:
                self._throw_away()
        except OSError as error:
            self.failures += 1
            _log.warning("the cache of vectors %s cannot be used: %s", self.file, error)
        return None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would take the umask's mode
            if self.file.stat().st_size > 1.5 * self.limit + PAGE * 100:  # the limit was lowered
                self._throw_away()
                os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            # set only once it is whole: every thread holds the lock
            connection = sqlite3.connect(self.file, timeout=WAIT, isolation_level=None, check_same_thread=False)
            try:
                for pragma in (f"page_size = {PAGE}", "journal_mode = WAL", "synchronous = NORMAL", f"journal_size_limit = {PAGE * 1000}"):
                    connection.execute(f"PRAGMA {pragma}").fetchall()
                connection.executescript(_SCHEMA)
                self._clock = connection.execute("SELECT coalesce(max(used), 0) FROM vectors").fetchone()[0]
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _throw_away(self) -> None:
        self._let_go()
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                self.file.with_name(self.file.name + suffix).unlink()

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for part in _parts(list(dict.fromkeys(keys))):
        found.update(connection.execute(f"SELECT key, data FROM vectors WHERE key IN ({','.join('?' * len(part))})", part))
    return found


def _parts(keys: list[bytes]) -> Iterable[list[bytes]]:
    return (keys[start:start + AT_ONCE] for start in range(0, len(keys), AT_ONCE))


def _size(connection: sqlite3.Connection) -> int:
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return (pages - free) * PAGE


def _evict(connection: sqlite3.Connection, share: float) -> int:
    """Delete the least recently used share of the vectors, at least one; gives how many."""
    count = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
    oldest = "SELECT id FROM vectors ORDER BY used, id LIMIT ?"
    return connection.execute(f"DELETE FROM vectors WHERE id IN ({oldest})", (max(1, int(count * share)),)).rowcount


def _packed(key: bytes, vector: np.ndarray) -> bytes:
    numbers = np.ascontiguousarray(vector, "<f4").tobytes()
    return blake2b(numbers, key=key, digest_size=DIGEST).digest() + numbers


def _unpacked(key: bytes, data: Any, dim: int) -> np.ndarray | None:
    """The vector, or None unless it is exactly what was kept under this key: digest, dimension and length."""
    if not isinstance(data, bytes) or len(data) != DIGEST + 4 * dim or blake2b(data[DIGEST:], key=key, digest_size=DIGEST).digest() != data[:DIGEST]:
        return None
    vector = np.frombuffer(data, "<f4", offset=DIGEST).astype(np.float32)
    return vector if abs(float(np.linalg.norm(vector)) - 1) <= UNIT_TOLERANCE else None
