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
    """A connection to SQLite for reading and one for writing, which threads take turns at; on PostgreSQL the engine's own ones.

    Values stand for `?` in a statement. Who reads waits for no writer.

    What is committed here survives the death of this process at any moment. It is not forced to the disk at once, so that a power cut may take the
    last of it (never a part of a transaction); SQLAlchemy's transactions are.
    """

    def __init__(self, storage: Storage, sentence: Callable[[Exception], str], busy: float) -> None:
        self._storage, self._sentence, self._busy = storage, sentence, busy
        self._turns = {False: threading.Lock(), True: threading.RLock()}  # by whether it is for writing
        self._connections: dict[bool, sqlite3.Connection] = {}

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds; raises StorageError."""
        if self._storage.file is None:
            with self._storage.read() as connection:
                return _on_server(connection)(statement, values)
        with self._turns[False], self._told():
            return self._open(writing=False).execute(statement, values).fetchall()

    @property
    def local(self) -> bool:
        """Whether reading is a matter of microseconds, and not of a server's answer."""
        return self._storage.file is not None

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        """Statements that are committed together at the end of the block, and none of them when it raises; raises StorageError."""
        if self._storage.file is None:
            with self._storage.begin() as connection:
                yield _on_server(connection)
            return
        with self._turns[True], self._told():
            connection = self._open(writing=True)
            connection.execute("BEGIN IMMEDIATE")  # another writer is waited for at the beginning
            try:
                yield lambda statement, values: connection.execute(statement, values).fetchall()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        for writing, turn in self._turns.items():
            with turn:
                if writing in self._connections:
                    self._connections.pop(writing).close()

    def _open(self, writing: bool) -> sqlite3.Connection:
        if writing not in self._connections:
            assert self._storage.file is not None
            connection = sqlite3.connect(self._storage.file, timeout=self._busy, check_same_thread=False, isolation_level=None)
            for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON") if writing else ("query_only=ON",):
                connection.execute(f"PRAGMA {pragma}")
            self._connections[writing] = connection
        return self._connections[writing]

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
