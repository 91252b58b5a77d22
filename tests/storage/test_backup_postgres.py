"""A PostgreSQL database backed up, restored for a moment to verify it, and put back for good; the password is in no file, message or argument."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import postgres_stage
import pytest
import sqlalchemy as sa

from suite.access.actor import Actors
from suite.backup import postgres, source
from suite.backup.create import create
from suite.backup.restore import restore, undo
from suite.backup.snapshot import Snapshot
from suite.backup.verify import verify
from suite.errors import StorageError
from suite.memory.memory import Memory
from suite.settings import load
from suite.storage.engine import Storage
from suite.testing import MemoryStore, StandInEmbedder

pytestmark = pytest.mark.skipif(shutil.which("pg_dump") is None, reason="pg_dump is not there; install postgresql-client")


@pytest.fixture
def storage(opened: Callable[[str], Storage], database: str) -> Storage:
    """A PostgreSQL database with actors and turns, and a table of somebody else's."""
    made = opened(database)
    Actors(made).seed()
    memory = Memory(made, MemoryStore(), StandInEmbedder(), load(environ={}))
    for project in ("p0", "p1"):
        memory.create_project(project)
    for number in range(6):
        memory.remember(f"When does ferry {number} leave the harbour?", f"At {number} o'clock.", project=f"p{number % 2}")
    with made.begin() as connection:
        connection.execute(sa.text("CREATE TABLE somebodys (x int)"))
    return made


@pytest.fixture
def snapshot(storage: Storage, tmp_path: Path) -> Snapshot:
    return create(tmp_path / "backups", [source.database(storage)])


def databases(server: postgres_stage.Server) -> set[str]:
    with server.admin() as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def test_a_dump_is_restored_into_a_database_of_its_own_compared_and_dropped(storage: Storage, snapshot: Snapshot, server: postgres_stage.Server) -> None:
    before = databases(server)
    assert snapshot.sources["database"]["kind"] == "postgresql" and snapshot.manifest["tables"]["memories"] == 6
    assert snapshot.manifest["asked"] == {"searches": 6, "decisions": 2}
    found = verify(snapshot.path, storage=storage)
    assert found.ok and (found.searches, found.decisions) == (6, 2) and found.rows == sum(snapshot.manifest["tables"].values()), found.problems
    assert databases(server) == before
    for path in Path(snapshot.path).rglob("*"):
        assert not path.is_file() or postgres_stage.MARK.encode() not in path.read_bytes(), path


def test_what_is_written_while_the_dump_is_made_is_in_neither_the_dump_nor_the_counts(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = postgres.dump

    def late(*args: Any) -> Any:
        Actors(storage).add("latecomer", "guest")
        return honest(*args)

    monkeypatch.setattr(source, "dump", late)
    snapshot = create(tmp_path / "backups", [source.database(storage)])
    assert snapshot.manifest["tables"]["actors"] == 4 and verify(snapshot.path, storage=storage).ok


def test_no_server_or_one_that_makes_no_databases_is_a_problem_and_no_pass(storage: Storage, snapshot: Snapshot, opened: Any,
                                                                           server: postgres_stage.Server) -> None:
    assert "no server is set" in verify(snapshot.path).problems[0]
    with server.admin() as connection:
        connection.execute("DROP ROLE IF EXISTS humble")
        connection.execute("CREATE ROLE humble LOGIN PASSWORD 'humble-secret'")
        connection.execute(f'GRANT ALL ON DATABASE "{storage.engine.url.database}" TO humble')
    with storage.begin() as connection:
        connection.execute(sa.text("GRANT ALL ON ALL TABLES IN SCHEMA public TO humble"))
    url = storage.engine.url.set(username="humble", password="humble-secret").render_as_string(hide_password=False)
    [problem] = verify(snapshot.path, storage=opened(url)).problems
    assert "permission denied to create database" in problem and "let this user make databases" in problem and "secret" not in problem


def test_a_snapshot_takes_the_place_of_the_database_and_what_was_there_can_be_put_back(storage: Storage, snapshot: Snapshot, opened: Any,
                                                                                       tmp_path: Path) -> None:
    def names() -> list[str]:
        return [actor.name for actor in Actors(storage).list()]

    def server() -> Storage:
        return opened(storage.url)

    Actors(storage).add("later", "guest")
    with storage.begin() as connection:
        connection.execute(sa.text("CREATE TABLE theirs (x int)"))
        connection.execute(sa.text("DROP TABLE jobs"))
    data = tmp_path / "data"
    done = restore(snapshot.path, data, server=server)
    assert names() == ["admin_user", "dev_user", "guest_user", "local-owner"] and done.rows == sum(snapshot.manifest["tables"].values())
    with storage.read() as connection:
        tables = {row[0] for row in connection.execute(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))}
    assert {"jobs", "somebodys", "theirs"} <= tables, "a table that is not ours and not in the dump stays"
    assert [name.split("-")[0] for name in os.listdir(data / "backups")] == ["replaced"]
    undo(data, server=server)
    assert "later" in names()
    undo(data, server=server)
    assert names() == ["admin_user", "dev_user", "guest_user", "local-owner"]


def test_a_restore_that_the_server_refuses_in_the_middle_changes_nothing(storage: Storage, snapshot: Snapshot, tmp_path: Path) -> None:
    def things() -> list[str]:
        with storage.read() as connection:
            return sorted(row[0] for row in connection.execute(sa.text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")))

    Actors(storage).add("later", "guest")
    with storage.begin() as connection:
        connection.execute(sa.text("CREATE VIEW onlooker AS SELECT name FROM actors"))  # without which the table may not be dropped
    before, dumped = things(), shutil.copy(Path(snapshot.path, "database", postgres.FILE), tmp_path / postgres.FILE)
    with pytest.raises(StorageError, match=r"psql ended with status \d .*the database is as it was"):
        postgres.replace(storage.engine.url, Path(dumped), [])
    assert things() == before and "later" in [actor.name for actor in Actors(storage).list()]


def test_programs_that_are_missing_or_refused_are_one_sentence_without_the_password(storage: Storage, tmp_path: Path,
                                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"pg_dump ended with status 1 \(.*\); mend that and back up again") as caught:
        postgres.dump(storage.engine.url.set(password=postgres_stage.MARK), tmp_path)
    assert postgres_stage.MARK not in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StorageError, match="install your system's postgresql-client"):
        create(tmp_path / "backups", [source.database(storage)])
    assert os.listdir(tmp_path / "backups") == []


def test_no_argument_of_a_program_holds_the_password(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    honest = postgres.subprocess.run

    def run(command: list[str], **more: Any) -> Any:
        seen.extend(command)
        return honest(command, **more)

    monkeypatch.setattr(postgres.subprocess, "run", run)
    postgres.dump(storage.engine.url, tmp_path)
    assert seen and not any(postgres_stage.MARK in part for part in seen)
