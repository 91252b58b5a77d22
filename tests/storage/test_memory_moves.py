"""A database of an earlier version: it is copied first, then changed, and nothing that was remembered is lost."""

from __future__ import annotations

import json
import sqlite3
import stat
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from suite.backup.listing import listing
from suite.backup.migration import before_migration
from suite.errors import StorageError
from suite.memory.memory import Memory
from suite.settings import load
from suite.storage import migrate
from suite.storage.engine import open_storage
from suite.testing import MemoryStore, StandInEmbedder

OLD = [
    {"id": f"0000000{number}-0000-4000-8000-000000000000", "project": project, "question": question, "reply": reply, "model": "m", "session": "s",
     "tags": json.dumps(tags, ensure_ascii=False), "importance": 6, "length": 3, "created": 1e9 + number, "expires": None, "sync": "synced", "recipe": 3}
    for number, (project, question, reply, tags) in enumerate([
        ("default-project", "When does the backup start?", "At 03:15.", ["work", "work", "한국어"]), ("handbook", "파일을 어디에 저장하나요?", "공유 폴더에.", []),
        ("default-project", "And where to?", "To the tower.", ["work"])])]


def make_old(address: str) -> None:
    """A database as version 0.3.0 left it."""
    engine = sa.create_engine(address.replace("postgresql://", "postgresql+psycopg://"))
    config = Config()
    config.set_main_option("script_location", str(migrate.HERE))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        table = sa.Table("memories", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(table), OLD)
        connection.execute(sa.text("INSERT INTO memory_terms VALUES (:memory, 'backup', 1)"), {"memory": OLD[0]["id"]})
        connection.execute(sa.text("INSERT INTO memory_removals VALUES ('gone', 'handbook', 1)"))
    engine.dispose()


def test_what_was_remembered_is_found_after_the_first_start(address: str, tmp_path: Path) -> None:
    make_old(address)
    storage = open_storage(address, tmp_path, keep=partial(before_migration, tmp_path / "backups"))
    memory = Memory(storage, MemoryStore(), StandInEmbedder(), load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path))
    memory.sync()
    for row in OLD:
        kept = memory.get(row["id"])
        assert (kept.question, kept.reply, kept.project, kept.created, kept.valid_from) == (
            row["question"], row["reply"], row["project"], row["created"], row["created"])
    assert [row.id for row in memory.recall("backup", how="words")] == [OLD[0]["id"]]
    assert [row.id for row in memory.recall("파일", how="words", project="handbook")] == [OLD[1]["id"]]
    assert [row.id for row in memory.turns(tags=["work"])] == [OLD[2]["id"], OLD[0]["id"]]
    assert [(row.id, row.memories) for row in memory.projects()] == [("default-project", 2), ("handbook", 1)]
    [kept] = (tmp_path / "backups").iterdir()
    assert kept.name.startswith("schema-0003-") and [file.name for file in kept.iterdir()] in (["suite.db"], ["suite.dump"])
    storage.close()


def test_the_copy_is_whole_private_and_made_once(tmp_path: Path) -> None:
    make_old(f"sqlite:///{tmp_path / 'suite.db'}")
    keep = partial(before_migration, tmp_path / "backups")
    open_storage("", tmp_path, keep=keep).close()
    open_storage("", tmp_path, keep=keep).close()
    [folder] = (tmp_path / "backups").iterdir()
    assert listing(tmp_path / "backups") == [], "it is no snapshot"
    assert stat.S_IMODE((folder / "suite.db").stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    with sqlite3.connect(folder / "suite.db") as copy:
        assert copy.execute("SELECT COUNT(*) FROM memories").fetchone() == (3,)
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
    copy.close()


def test_a_database_that_cannot_be_copied_is_not_changed(tmp_path: Path) -> None:
    make_old(f"sqlite:///{tmp_path / 'suite.db'}")
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(StorageError, match=r"older schema 0003, and its copy .* was not changed"):
        open_storage("", tmp_path, keep=partial(before_migration, tmp_path / "backups"))
    with sqlite3.connect(tmp_path / "suite.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
    connection.close()


def test_a_fresh_database_needs_no_copy(tmp_path: Path) -> None:
    open_storage("", tmp_path, keep=partial(before_migration, tmp_path / "backups")).close()
    assert not (tmp_path / "backups").exists()
