from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from suite.backup.create import create, database, tree
from suite.backup.snapshot import MANIFEST, Snapshot, Source
from suite.backup.verify import Verification, verify
from suite.errors import StorageError
from suite.storage.engine import open_storage


@pytest.fixture
def storage(tmp_path):
    opened = open_storage("", tmp_path)
    with opened.begin() as connection:
        connection.execute(sa.text("INSERT INTO actors VALUES ('ana', 'developer', 1, 0)"))
    yield opened
    opened.close()


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "deep" / "비.txt").write_text("둘")
    (folder / "link").symlink_to("/etc/passwd")
    return tree("notes", folder)


@pytest.fixture
def snapshot(storage, notes, tmp_path):
    return create(tmp_path / "backups", [database(storage), notes])


def test_a_backup_of_an_open_database_can_be_read_and_verifies(snapshot, tmp_path):
    folder = tmp_path / "backups"
    assert [path.name for path in folder.iterdir()] == [snapshot.path.rsplit("/", 1)[1]]
    connection = sqlite3.connect(f"{snapshot.path}/database/suite.db")
    assert connection.execute("SELECT name FROM actors").fetchall() == [("ana",)]
    connection.close()
    found = verify(snapshot.path)
    assert found.ok and found.files == 3, found
    found.check()


def test_a_backup_taken_while_others_write_is_consistent(storage, tmp_path):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            with storage.begin() as connection:  # always two rows together
                for half in "ab":
                    connection.execute(sa.text("INSERT INTO actors VALUES (:name, 'viewer', 1, 0)"), {"name": f"{number}{half}"})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        paths = [create(tmp_path / "backups", [database(storage)]).path for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    for path in paths:
        connection = sqlite3.connect(f"{path}/database/suite.db")
        assert connection.execute("SELECT count(*) FROM actors WHERE name != 'ana'").fetchone()[0] % 2 == 0
        connection.close()


def test_files_are_private_and_the_manifest_lists_each_with_its_digest(snapshot):
    body = json.loads(Path(snapshot.path, MANIFEST).read_text(encoding="utf-8"))
    assert sorted(entry["path"] for entry in body["files"]) == ["database/suite.db", "notes/a.txt", "notes/deep/비.txt"]
    assert all(len(entry["sha256"]) == 64 and entry["bytes"] > 0 for entry in body["files"])
    assert body["sources"]["database"]["schema"] == "0003"
    assert {oct(path.stat().st_mode & 0o777) for path in Path(snapshot.path).rglob("*")} == {"0o700", "0o600"}


def damage_change(folder):
    (folder / "notes/a.txt").write_text("eno")


def damage_size(folder):
    (folder / "notes/a.txt").write_text("one more")


def damage_missing(folder):
    (folder / "notes/a.txt").unlink()


def damage_extra(folder):
    (folder / "notes/b.txt").write_text("")


def damage_link(folder):
    (folder / "notes/a.txt").unlink()
    (folder / "notes/a.txt").symlink_to("/etc/hostname")


def damage_folder(folder):
    (folder / "notes/a.txt").unlink()
    (folder / "notes/a.txt").mkdir()


def damage_manifest_escape(folder):
    file = folder / MANIFEST
    file.write_text(file.read_text().replace("notes/a.txt", "../../notes/a.txt"))


@pytest.mark.parametrize(("damage", "word"), [
    (damage_change, "notes/a.txt has other content"), (damage_size, "bytes instead of 3"), (damage_missing, "notes/a.txt is missing"),
    (damage_extra, "notes/b.txt is not in the manifest"), (damage_link, "not an ordinary file"), (damage_folder, "not an ordinary file"),
    (damage_manifest_escape, "points outside"),
])
def test_every_kind_of_damage_is_found(snapshot, damage, word):
    damage(Path(snapshot.path))
    found = verify(snapshot.path)
    assert not found.ok and any(word in problem for problem in found.problems), found.problems
    with pytest.raises(StorageError, match="not as it was written"):
        found.check()


def test_all_problems_are_listed_and_not_only_the_first(snapshot):
    damage_missing(Path(snapshot.path))
    damage_extra(Path(snapshot.path))
    assert len(verify(snapshot.path).problems) == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 9, "files": [], "sources": {}, "created": 0}'])
def test_a_damaged_manifest_is_an_error_of_its_own(snapshot, text):
    with open(f"{snapshot.path}/{MANIFEST}", "w", encoding="utf-8") as file:
        file.write(text)
    with pytest.raises(StorageError):
        verify(snapshot.path)


def test_a_folder_that_is_no_backup_is_refused(tmp_path):
    with pytest.raises(StorageError, match="is no backup"):
        verify(tmp_path)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), StorageError("broken"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_nothing_behind(storage, tmp_path, failure):
    def write(folder):
        (folder / "half").write_text("x")
        raise failure

    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else StorageError
    with pytest.raises(expected):
        create(tmp_path / "backups", [database(storage), Source("bad", write)])
    assert list((tmp_path / "backups").iterdir()) == []


def test_an_unfinished_backup_never_verifies(snapshot):
    partial = Path(snapshot.path).rename(snapshot.path + ".partial")
    assert any("never finished" in problem for problem in verify(partial).problems)


def test_a_postgres_that_cannot_be_dumped_is_an_error_that_keeps_nothing_and_shows_no_password(tmp_path, monkeypatch):
    url = sa.engine.make_url("postgresql+psycopg://me:hunter2@127.0.0.1:9/none")
    elsewhere = SimpleNamespace(file=None, engine=SimpleNamespace(url=url))
    with pytest.raises(StorageError, match=r"pg_dump (ended with status 1|, which backs it up, is not installed)") as caught:
        create(tmp_path / "backups", [database(elsewhere)])
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StorageError, match="install your system's postgresql-client"):
        create(tmp_path / "backups", [database(elsewhere)])
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(storage, tmp_path):
    storage.close()
    data = bytearray(storage.file.read_bytes())
    data[4096 * 2:4096 * 12] = bytes([255]) * 4096 * 10
    storage.file.write_bytes(bytes(data))
    with pytest.raises(StorageError):
        create(tmp_path / "backups", [database(storage)])
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_missing_folder_and_no_source_at_all_are_refused(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        create(tmp_path / "backups", [tree("notes", tmp_path / "absent")])
    with pytest.raises(StorageError, match="nothing to back up"):
        create(tmp_path / "backups", [])


def test_records_survive_json(snapshot):
    assert Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict()))) == snapshot
    found = verify(snapshot.path)
    assert Verification.from_dict(json.loads(json.dumps(found.to_dict()))) == found
