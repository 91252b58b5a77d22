"""A restore takes the place of what is there, keeps that, can be undone, and ends as one of both whatever the moment it is killed at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backup_stage import living

from suite.access.actor import Actors
from suite.backup import journal as journals
from suite.backup import restore as module
from suite.backup.create import create
from suite.backup.restore import finish, restore, undo
from suite.backup.snapshot import Snapshot, read_snapshot
from suite.backup.source import everything
from suite.backup.verification import kept
from suite.errors import NotFound, StorageError
from suite.vectors.disk import copy_folder

HERE = Path(__file__).parent


@pytest.fixture
def saved(data: Path, template: Path, tmp_path: Path) -> Snapshot:
    """A snapshot in another folder; since it was made, an actor and a collection came."""
    with living(data) as (storage, store):
        Actors(storage).add("later", "guest")
        store.create("later", 8)
    copy_folder(template / "snapshot", tmp_path / "elsewhere" / "saved")
    return read_snapshot(tmp_path / "elsewhere" / "saved")


def state(data: Path) -> tuple[list[str], dict[str, int]]:
    """Opened as the suite does: actors, and points by collection."""
    with living(data) as (storage, store):
        return [actor.name for actor in Actors(storage).list()], {info.name: info.points for info in store.collections()}


OLD_ACTORS = ["admin_user", "dev_user", "guest_user", "later", "local-owner"]
NEW_ACTORS = ["admin_user", "dev_user", "guest_user", "local-owner"]


def test_a_restore_puts_the_snapshot_in_place_keeps_what_was_there_and_can_be_undone_and_redone(saved: Snapshot, data: Path) -> None:
    before = state(data)
    assert before[0] == OLD_ACTORS and before[1]["later"] == 0
    done = restore(saved.path, data)
    after = state(data)
    assert after == (NEW_ACTORS, saved.manifest["collections"]) and (done.points, done.what) == (44, saved.path) and done.rows > 6
    assert sorted(os.listdir(done.replaced)) == ["replaced.json", "sqlite", "vectors"] and kept(Path(saved.path)) is not None
    assert [name.split("-")[0] for name in os.listdir(data / "backups")] == ["replaced"]
    assert undo(data).what == f"what {Path(done.replaced).name} holds" and state(data) == before
    undo(data)
    assert state(data) == after
    assert [name.split("-")[0] for name in os.listdir(data / "backups")] == ["replaced"]
    modes = {path.stat().st_mode & 0o077 for path in [data / "sqlite", data / "vectors", *(data / "sqlite").iterdir()]}
    assert modes == {0}


def test_a_restore_into_a_new_place_can_be_undone_to_nothing(saved: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    restore(saved.path, tmp_path / "new")
    assert state(tmp_path / "new")[0] == NEW_ACTORS
    undo(tmp_path / "new")
    assert os.listdir(tmp_path / "new" / "sqlite") == os.listdir(tmp_path / "new" / "vectors") == []


def test_an_encrypted_snapshot_is_restored_with_its_key(data: Path, settings: Any, tmp_path: Path) -> None:
    from suite.backup.cipher import Key

    with living(data) as both:
        snapshot = create(tmp_path / "elsewhere", everything(*both, settings), Key(b"k" * 32))
        Actors(both[0]).add("later", "guest")
    restore(snapshot.path, data, key=Key(b"k" * 32))
    assert state(data) == (NEW_ACTORS, snapshot.manifest["collections"])


def test_a_snapshot_with_a_problem_is_not_restored_and_nothing_is_left_of_the_attempt(saved: Snapshot, data: Path) -> None:
    before = state(data)
    (Path(saved.path) / "files" / "policy.toml").write_text("")
    with pytest.raises(StorageError, match=r"not as it was written: .*policy\.toml"):
        restore(saved.path, data)
    assert os.listdir(data / "backups") == [] and state(data) == before


@pytest.mark.parametrize("seam", ["_settle", "_plan"])
def test_whatever_fails_before_the_exchange_leaves_everything_as_it_was(saved: Snapshot, data: Path, seam: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = state(data)
    monkeypatch.setattr(module, seam, full)
    with pytest.raises(StorageError, match=r"failed \(No space left on device\); everything is as it was\.$"):
        restore(saved.path, data)
    assert os.listdir(data / "backups") == [] and state(data) == before


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(saved: Snapshot, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(data)
    monkeypatch.setattr("suite.backup.folder.shutil.disk_usage", lambda _: usage._replace(free=60 << 20))
    with pytest.raises(StorageError, match=r"^The disk is full for restoring the backup: 60 MiB are free at .* and \d+ are needed; free some space\.$"):
        restore(saved.path, data)
    monkeypatch.undo()
    assert os.listdir(data / "backups") == [] and state(data)[0] == OLD_ACTORS


def test_an_exchange_that_stops_in_the_middle_says_so_and_the_next_call_goes_on(saved: Snapshot, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = os.rename, []

    def fail_third(old: Any, new: Any) -> None:
        calls.append(old)
        if len(calls) == 3:
            raise PermissionError(1, "Operation not permitted", str(old))
        honest(old, new)

    monkeypatch.setattr(journals, "os", SimpleNamespace(rename=fail_third))
    with pytest.raises(StorageError, match=r"stopped in the middle \(Operation not permitted: .*\); mend that, and the next"):
        restore(saved.path, data)
    monkeypatch.undo()
    assert finish(data) == saved.path and state(data) == (NEW_ACTORS, saved.manifest["collections"]) and finish(data) == ""
    undo(data)
    assert state(data)[0] == OLD_ACTORS


def test_data_that_came_into_a_half_restored_directory_is_not_overwritten(saved: Snapshot, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(old: Any, new: Any) -> None:
        honest(old, new)
        raise PermissionError(1, "Operation not permitted", str(old))

    honest = os.rename
    monkeypatch.setattr(journals, "os", SimpleNamespace(rename=stop))
    with pytest.raises(StorageError, match="stopped in the middle"):
        restore(saved.path, data)
    monkeypatch.undo()
    (data / "sqlite").mkdir(exist_ok=True)
    (data / "sqlite" / "suite.db").write_text("somebody's")
    with pytest.raises(StorageError, match="was filled since; move what is in it elsewhere"):
        finish(data)
    assert (data / "sqlite" / "suite.db").read_text() == "somebody's"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"items": [1]}'])
def test_a_journal_that_cannot_be_read_is_left_to_a_person(data: Path, text: str) -> None:
    (data / "backups" / journals.JOURNAL).write_text(text)
    with pytest.raises(StorageError, match=r"its journal .* cannot be read"):
        finish(data)


def test_there_is_nothing_to_undo_where_nothing_was_restored(data: Path) -> None:
    with pytest.raises(NotFound, match="there is nothing to undo"):
        undo(data)


def test_a_backup_of_another_kind_of_database_is_refused(saved: Snapshot, data: Path) -> None:
    with pytest.raises(StorageError, match="holds a sqlite database and the settings ask for PostgreSQL"):
        restore(saved.path, data, server=lambda: pytest.fail("the server was asked"))


def thin(vectors: Path) -> None:
    """Leave one small file of each collection: what is killed is an exchange of folders, whatever they hold."""
    for place in [*vectors.iterdir()]:
        if place.is_dir():
            shutil.rmtree(place / "shard")
        else:
            place.unlink()


def killed(saved: Snapshot, data: Path, tmp_path: Path, verb: str) -> list[dict[str, Any]]:
    for vectors in (data / "vectors", Path(saved.path) / "vectors", *data.glob("backups/replaced-*/vectors")):
        thin(vectors)
    (tmp_path / "copies").mkdir()
    done = subprocess.run([sys.executable, str(HERE / "killed_restore.py"), saved.path, str(data), str(tmp_path / "copies"), verb],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_restore_killed_at_any_step_ends_as_the_old_or_the_new_and_can_be_undone(saved: Snapshot, data: Path, tmp_path: Path) -> None:
    old = [OLD_ACTORS, sorted([*saved.manifest["collections"], "later"])]
    new = [NEW_ACTORS, sorted(saved.manifest["collections"])]
    rows = killed(saved, data, tmp_path, "restore")
    assert [row["ended"] for row in rows] == [-9] * (len(rows) - 1) + [0] and len(rows) > 10
    for row in rows:
        assert row["state"] in (old, new) and row["left"] in ([], ["replaced"]), row
        assert row["state"] == (new if row["left"] else old) and row.get("undone") == (old if row["left"] else None), row
        assert row["finished"] <= (row["state"] == new), row
    assert {row["finished"] for row in rows} == {True, False} and {str(row["state"]) for row in rows} == {str(old), str(new)}


def test_an_undo_killed_at_any_step_ends_as_the_old_or_the_new(saved: Snapshot, data: Path, tmp_path: Path) -> None:
    old = [OLD_ACTORS, sorted([*saved.manifest["collections"], "later"])]
    new = [NEW_ACTORS, sorted(saved.manifest["collections"])]
    restore(saved.path, data)
    rows = killed(saved, data, tmp_path, "undo")
    assert [row["ended"] for row in rows] == [-9] * (len(rows) - 1) + [0] and len(rows) > 10
    for row in rows:
        assert row["state"] in (old, new) and row["undone"] == (new if row["state"] == old else old), row
    assert rows[-1]["state"] == old and rows[0]["state"] == new
