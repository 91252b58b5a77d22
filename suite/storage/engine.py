"""One database for all parts: SQLite in WAL mode by default, PostgreSQL by URL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from suite.errors import StorageError
from suite.storage import migrate
from suite.storage.quick import Quick
from suite.text.secret import masked_text

BUSY_SECONDS = 10  # how long a writer waits for another, and a start for a server's answer, before it is an error
WRITING = 0x5017E  # PostgreSQL's advisory lock that whoever writes holds: one writer at a time, as in SQLite
_REFUSED = (sa.exc.DBAPIError, sa.exc.TimeoutError)  # the latter: every connection of the pool is in use


class Storage:
    """An open, migrated database. `file` is the SQLite file, or None for another database."""

    def __init__(self, url: str, engine: Engine, file: Path | None) -> None:
        self.url, self.engine, self.file = url, engine, file
        self.quick = Quick(self, lambda error: _sentence(error, engine.url), BUSY_SECONDS)

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
        except _REFUSED as error:
            raise StorageError(_sentence(error, self.engine.url)) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: it sees one state of the database and waits for no writer; raises StorageError like `begin`."""
        try:
            with self.engine.connect().execution_options(read_only=True) as connection, connection.begin():
                yield connection
        except _REFUSED as error:
            raise StorageError(_sentence(error, self.engine.url)) from error

    def check(self) -> None:
        """Raise StorageError when the database does not answer or is damaged."""
        with self.read() as connection:
            if self.file is None:
                connection.execute(sa.text("SELECT 1"))
                return
            answer = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar()
        if answer != "ok":
            raise StorageError(f"The database {self.file} is damaged ({answer}); stop the suite and restore the newest backup.")

    def compact(self) -> None:
        """Give the space of deleted rows back; StorageError as in `begin`."""
        try:
            connection = self.engine.raw_connection()  # outside of any transaction, as no other statement here
            try:
                if self.file is None:
                    connection.driver_connection.autocommit = True
                connection.driver_connection.execute("VACUUM")
                if self.file is not None:  # the log holds pages as they were
                    connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.invalidate()  # not given back with other settings than the others have
        except (*_REFUSED, self.engine.dialect.dbapi.Error) as error:
            raise StorageError(f"The space of deleted rows was not given back: {str(error).strip()[:200]}; try again when nothing writes.") from error

    def close(self) -> None:
        """Close every connection; a SQLite file is left without a write-ahead log."""
        self.quick.close()
        self.engine.dispose()


def open_storage(url: str, folder: Path, keep: Callable[[Engine, str], None] | None = None) -> Storage:
    """Open the database at `url`, or `suite.db` in `folder` when `url` is empty, and migrate it to our schema; `keep` backs an older one up first.

    Raises StorageError when it cannot be reached, is damaged, or has a newer schema than this version knows.
    """
    file = folder / "suite.db" if not url else None
    if file is not None:
        with contextlib.suppress(OSError):  # where it cannot be made, SQLite says so below; its other files take over this one's mode
            file.touch(mode=0o600)
    try:
        # the file as it is, not as part of an address: a folder's name may hold `%` or `?`
        parsed = make_url(url) if url else sa.engine.URL.create("sqlite", database=str(file))
    except (sa.exc.ArgumentError, ValueError):  # its own words may hold a piece of the password
        raise StorageError("DATABASE_URL is not a database address such as postgresql://user:password@host:5432/name, with @ : / % in the password "
                           "written as %40 %3A %2F %25; leave it empty for SQLite.") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")  # the driver that we install
    if parsed.get_backend_name() not in ("sqlite", "postgresql") or (parsed.get_backend_name() == "sqlite" and not parsed.database):
        asked = repr(parsed.get_backend_name()) + ("" if parsed.database else " without a file or name")
        raise StorageError(f"DATABASE_URL asks for {asked}, but the suite keeps its data in a SQLite file or in PostgreSQL; "
                           "correct it, or leave it empty for SQLite.")
    try:
        engine = _engine(parsed)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise StorageError(f"No driver for {parsed.drivername} ({error}); install local-ai-suite[postgres].") from error
    if parsed.get_backend_name() == "sqlite":
        file = Path(parsed.database)
    try:
        migrate.upgrade(engine, keep)
    except _REFUSED as error:
        engine.dispose()
        raise StorageError(_sentence(error, parsed)) from error
    except StorageError:
        engine.dispose()
        raise
    return Storage(url or f"sqlite:///{file}", engine, file)


def _engine(url: sa.engine.URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return _postgres(url)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say (below), not where the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # two writers wait for each other at the beginning instead of failing midway; a reader waits for nobody
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE")

    return engine


def _postgres(url: sa.engine.URL) -> Engine:
    """An engine whose transactions mean what SQLite's do: one writer at a time, and readers that see one state and wait for nobody."""
    timeout = {"connect_timeout": max(2, int(BUSY_SECONDS))} if "psycopg" in url.drivername and "connect_timeout" not in url.query else {}
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args=timeout)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.close()
        connection.commit()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY" if reading
                                   else f"SELECT pg_advisory_xact_lock({WRITING})")

    return engine


def _sentence(error: Exception, url: sa.engine.URL) -> str:
    where = masked_text(url.render_as_string())  # a password may also stand behind the question mark
    lines = str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__]
    return f"The database {where} refused: {masked_text(lines[0]).rstrip('.')}. {_advice(' '.join(lines))}"


def _advice(text: str) -> str:
    if "locked" in text or "busy" in text or "lock timeout" in text:
        return f"Another process held it for {BUSY_SECONDS} s; end that process and try again."
    if "full" in text or "No space left" in text:
        return "The disk is full: free space and try again; nothing of this step was kept."
    if "malformed" in text or "not a database" in text:
        return "It is damaged: stop the suite and restore the newest backup."
    if "readonly" in text or "unable to open" in text:
        return "Make the data directory writable, or set DATA_DIR to another."
    if "authentication failed" in text or "no password" in text or (text.startswith("connection") and "does not exist" in text):
        return "Mend the user, the password or the name in DATABASE_URL."
    if text.startswith(("connection failed", "connection timeout", "failed to resolve")):
        return "Start that server, or mend the address in DATABASE_URL."
    return "Look at the database's own log."
