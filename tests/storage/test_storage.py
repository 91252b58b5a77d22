"""The database: migrated, durable, and one clear sentence for what goes wrong."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import suite.access.table
import suite.knowledge.table
import suite.maintainer.table
import suite.memory.table
import suite.usage.table  # noqa: F401  (each adds its tables to the metadata)
from suite.errors import StorageError
from suite.storage.engine import open_storage
from suite.storage.tables import metadata


def test_the_migrations_give_exactly_the_tables_the_parts_describe(tmp_path: Path) -> None:
    storage = open_storage("", tmp_path)
    with storage.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [each for each in compare_metadata(context, metadata) if "memory_words" not in str(each) and "memory_vocabulary" not in str(each)] == []
    storage.close()


def test_opening_twice_changes_nothing_and_keeps_the_rows(tmp_path: Path) -> None:
    storage = open_storage("", tmp_path)
    with storage.begin() as connection:
        connection.execute(sa.text("INSERT INTO jobs (name, runs, error) VALUES ('x', 1, '')"))
    storage.close()
    storage = open_storage("", tmp_path)
    with storage.begin() as connection:
        assert connection.execute(sa.text("SELECT name FROM jobs")).scalars().all() == ["x"]
    storage.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_storage("", tmp_path).close()
    with sqlite3.connect(tmp_path / "suite.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StorageError, match="schema 9999, which this version of the suite does not know"):
        open_storage("", tmp_path)
    connection = sqlite3.connect(tmp_path / "suite.db")
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "suite.db").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StorageError, match=r"suite\.db refused: file is not a database"):
        open_storage("", tmp_path)


def test_damage_inside_the_file_is_found(tmp_path: Path) -> None:
    storage = open_storage("", tmp_path)
    with storage.begin() as connection:
        for number in range(400):
            connection.execute(sa.text("INSERT INTO jobs (name, runs, error) VALUES (:name, 0, :error)"), {"name": f"job {number}", "error": "x" * 900})
    storage.close()
    file = tmp_path / "suite.db"
    data = bytearray(file.read_bytes())
    data[-200_000:-100_000] = b"\xaa" * 100_000
    file.write_bytes(data)
    storage = open_storage("", tmp_path)
    with pytest.raises(StorageError, match=r"damaged|malformed"):
        storage.check()
    storage.close()


def test_a_locked_database_is_an_error_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.storage.engine.BUSY_SECONDS", 0.05)
    storage = open_storage("", tmp_path)
    other = sqlite3.connect(tmp_path / "suite.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match=r"database is locked.*end that process"), storage.begin() as connection:
        connection.execute(sa.text("DELETE FROM jobs"))
    other.close()
    storage.close()


def test_a_reader_waits_for_no_writer_and_sees_what_was_committed(tmp_path: Path) -> None:
    storage = open_storage("", tmp_path)
    with storage.begin() as writer:
        writer.execute(sa.text("INSERT INTO jobs (name, runs, error) VALUES ('new', 0, '')"))
        with storage.read() as reader:
            assert reader.execute(sa.text("SELECT count(*) FROM jobs")).scalar_one() == 0
    with storage.read() as reader:
        assert reader.execute(sa.text("SELECT count(*) FROM jobs")).scalar_one() == 1
    storage.close()


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    storage = open_storage("", tmp_path)
    with storage.begin() as connection:
        connection.execute(sa.text("INSERT INTO jobs (name, runs, error) VALUES ('count', 0, '')"))

    def add() -> None:
        for _ in range(20):
            with storage.begin() as connection:
                runs = connection.execute(sa.text("SELECT runs FROM jobs")).scalar_one()
                connection.execute(sa.text("UPDATE jobs SET runs = :runs"), {"runs": runs + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with storage.begin() as connection:
        assert connection.execute(sa.text("SELECT runs FROM jobs")).scalar_one() == 80
    storage.close()


def test_an_unknown_kind_of_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="DATABASE_URL is not a database address"):
        open_storage("::nonsense", tmp_path)
    with pytest.raises(StorageError, match=r"asks for 'mysql', but the suite keeps its data in a SQLite file or in PostgreSQL"):
        open_storage("mysql://x/y", tmp_path)
    with pytest.raises(StorageError, match=r"asks for 'sqlite' without a file or name"):
        open_storage("sqlite://", tmp_path)
    with pytest.raises(StorageError, match=r"No driver for postgresql\+nosuch"):
        open_storage("postgresql+nosuch://x/y", tmp_path)
