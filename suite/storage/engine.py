"""One database for all parts: SQLite in WAL mode by default, PostgreSQL by URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from suite.errors import StorageError
from suite.storage import migrate

BUSY_SECONDS = 10  # how long a writer waits for another before it is an error


class Storage:
    """An open, migrated database. `file` is the SQLite file, or None for another database."""

    def __init__(self, url: str, engine: Engine, file: Path | None) -> None:
        self.url, self.engine, self.file = url, engine, file

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back when it raises.

        Raises StorageError for what the database itself refuses (locked, full, corrupt).
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DBAPIError as error:
            raise StorageError(_sentence(error, self.engine.url.render_as_string())) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the database and waits for no writer; raises StorageError like `begin`."""
        try:
            with self.engine.connect().execution_options(read_only=True) as connection, connection.begin():
                yield connection
        except sa.exc.DBAPIError as error:
            raise StorageError(_sentence(error, self.engine.url.render_as_string())) from error

    def check(self) -> None:
        """Raise StorageError when the database does not answer or is damaged."""
        with self.read() as connection:
            if self.file is None:
                connection.execute(sa.text("SELECT 1"))
                return
            answer = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar()
        if answer != "ok":
            raise StorageError(f"The database {self.file} is damaged ({answer}); stop the suite and restore the newest backup.")

    def close(self) -> None:
        """Close every connection; a SQLite file is left without a write-ahead log."""
        self.engine.dispose()


def open_storage(url: str, folder: Path) -> Storage:
    """Open the database at `url`, or `suite.db` in `folder` when `url` is empty, and migrate it to our schema.

    Raises StorageError when it cannot be reached, is damaged, or has a newer schema than this version knows.
    """
    file = folder / "suite.db" if not url else None
    url = url or f"sqlite:///{file}"
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise StorageError(f"DATABASE_URL is not a database address ({error}); leave it empty for SQLite.") from error
    try:
        engine = _engine(parsed)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise StorageError(f"No driver for {parsed.drivername} ({error}); install local-ai-suite[postgres].") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        file = Path(parsed.database)
    try:
        migrate.upgrade(engine)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        raise StorageError(_sentence(error, parsed.render_as_string())) from error
    except StorageError:
        engine.dispose()
        raise
    return Storage(url, engine, file)


def _engine(url: sa.engine.URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say (below), not where the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # two writers wait for each other at the beginning instead of failing midway; a reader waits for nobody
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE")

    return engine


def _sentence(error: sa.exc.DBAPIError, where: str) -> str:
    text = str(error.orig)
    advice = "Look at the database's own log."
    if "locked" in text or "busy" in text:
        advice = f"Another process held it for {BUSY_SECONDS} s; end that process and try again."
    elif "full" in text:
        advice = "The disk is full: free space and try again; nothing of this step was kept."
    elif "malformed" in text or "not a database" in text:
        advice = "It is damaged: stop the suite and restore the newest backup."
    elif "readonly" in text or "unable to open" in text:
        advice = "Make the data directory writable, or set DATA_DIR to another."
    return f"The database {where} refused: {text.splitlines()[0]}. {advice}"
