"""Statements on the driver's own connection, for what every tool call does: SQLAlchemy would take several times as long as the database."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from suite.errors import StorageError

if TYPE_CHECKING:
    from suite.storage.engine import Storage

Run = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


class Quick:
    """One connection to SQLite that threads take turns at; on PostgreSQL the engine's own ones. Values stand for `?` in a statement.

    What is committed here survives the death of this process at any moment. It is not forced to the disk at once, so that a power cut may take the
    last of it (never a part of a transaction); SQLAlchemy's transactions are.
    """

    def __init__(self, storage: Storage, sentence: Callable[[Exception], str], busy: float) -> None:
        self._storage, self._sentence, self._busy = storage, sentence, busy
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds; raises StorageError."""
        if self._storage.file is None:
            with self._storage.read() as connection:
                return _on_server(connection)(statement, values)
        with self._turn, self._told():
            return self._open().execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Statements that are committed together at the end of the block, and none of them when it raises; raises StorageError."""
        if self._storage.file is None:
            with self._storage.begin() as connection:
                yield _on_server(connection)
            return
        with self._turn, self._told():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")  # another writer is waited for at the beginning
            try:
                yield lambda statement, values: connection.execute(statement, values).fetchall()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            assert self._storage.file is not None
            self._connection = sqlite3.connect(self._storage.file, timeout=self._busy, check_same_thread=False, isolation_level=None)
            for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
        return self._connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(self._sentence(error)) from error


def _on_server(connection: Any) -> Run:
    def run(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        found = connection.exec_driver_sql(statement.replace("?", "%s"), tuple(values))
        return [tuple(row) for row in found] if found.returns_rows else []

    return run
