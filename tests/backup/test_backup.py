"""Snapshots: what is in them, what never is, and that a broken or interrupted one is never kept."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from backup_stage import SECRET, TURNS
from disks import fill, free, mounted

from suite.backup import source
from suite.backup.create import create
from suite.backup.listing import listing, standing
from suite.backup.snapshot import MANIFEST, SEAL, Snapshot, Source
from suite.backup.source import everything
from suite.backup.verification import Verification
from suite.backup.verify import verify
from suite.errors import StorageError
from suite.storage.migrate import HERE

Made = Callable[..., Snapshot]


def test_the_manifest_says_what_is_saved_with_digests_counts_versions_and_what_was_asked(made: Made, data: Path) -> None:
    snapshot = made()
    body = json.loads(Path(snapshot.path, MANIFEST).read_text(encoding="utf-8"))
    assert all(len(entry["sha256"]) == 64 for entry in body["files"])
    assert {"database/suite.db", "files/settings.json", "files/policy.toml"} <= {entry["path"] for entry in body["files"]}
    assert body["tables"]["memories"] == len(TURNS) and body["tables"]["actors"] == 4
    assert body["collections"] == {"memory-default": 4, "notes": 40}
    assert body["schema"] == max(path.name[:4] for path in (HERE / "versions").glob("0*.py"))
    assert {"suite", "python", "sqlite", "qdrant-edge-py"} <= set(body["versions"]) and body["host"]["platform"] and body["created"] > 1e9
    assert body["started_at"] < body["ended_at"]
    assert body["asked"] == {"searches": 10, "decisions": 2} and [row["outcome"] for row in body["decisions"]] == ["allow", "deny"]
    kinds = [search["kind"] for search in body["searches"]]
    assert kinds.count("words") == kinds.count("vector") == 5 and all(search["hits"] for search in body["searches"])
    assert {search["collection"] for search in body["searches"] if search["kind"] == "vector"} == set(body["collections"])
    assert {oct(path.stat().st_mode & 0o777) for path in [Path(snapshot.path), *Path(snapshot.path).rglob("*")]} == {"0o700", "0o600"}
    assert [path.name for path in (data / "backups").iterdir()] == [snapshot.name]


def test_a_secret_is_in_no_file_and_is_named_as_left_out(made: Made, settings: Any) -> None:
    settings.reports_dir.mkdir(parents=True)
    (settings.reports_dir / "drills.json").write_text("{}")
    (settings.reports_dir / "ledger.key").write_text(SECRET)
    snapshot = made()
    for path in Path(snapshot.path).rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    told = json.loads(Path(snapshot.path, "files/settings.json").read_text(encoding="utf-8"))
    assert told["rag_topk"] == settings.rag_topk and "qdrant_api_key" not in told
    left = {row["what"] for row in snapshot.manifest["left_out"]}
    assert {"QDRANT_API_KEY", "run/", "*.key, *.token"} <= left
    names = {entry.path for entry in snapshot.files}
    assert "files/drills.json" in names and "files/ledger.key" not in names


def test_a_database_address_with_a_password_is_left_out(tmp_path: Path) -> None:
    from suite.settings import load

    secret = load({"data_dir": str(tmp_path), "database_url": f"postgresql://me:{SECRET}@127.0.0.1/x"}, environ={})
    facts = source.files(secret).write(tmp_path)
    assert SECRET not in (tmp_path / "settings.json").read_text() + json.dumps(facts) and "DATABASE_URL" in {row["what"] for row in facts["left_out"]}


def test_a_backup_taken_while_others_write_is_consistent_and_verifies(opened: Any, settings: Any, data: Path) -> None:
    from suite.vectors.store import Point

    storage, store = opened
    stop, wrote = threading.Event(), [0, 0]

    def rows() -> None:
        while not stop.is_set():
            with storage.begin() as connection:  # always two rows together
                for half in "ab":
                    connection.execute(sa.text("INSERT INTO actors VALUES (:name, 'viewer', 1, 0)"), {"name": f"w{wrote[0]}{half}"})
            wrote[0] += 1

    def points() -> None:
        while not stop.is_set():
            store.upsert("notes", [Point(f"w{wrote[1]}", [1.0, *[0.1 * wrote[1]] * 7])])
            wrote[1] += 1

    threads = [threading.Thread(target=work) for work in (rows, points)]
    for thread in threads:
        thread.start()
    try:
        snapshots = [create(data / "backups", everything(*opened, settings)) for _ in range(2)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert min(wrote) > 0
    for snapshot in snapshots:
        found = verify(snapshot.path)
        assert found.ok, found.problems
        connection = sqlite3.connect(f"{snapshot.path}/database/suite.db")
        assert connection.execute("SELECT count(*) FROM actors WHERE name LIKE 'w%'").fetchone()[0] % 2 == 0
        connection.close()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), StorageError("broken"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_nothing_behind(storage: Any, tmp_path: Path, failure: BaseException) -> None:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("x")
        raise failure

    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else StorageError
    with pytest.raises(expected):
        create(tmp_path / "backups", [source.database(storage), Source("bad", write)])
    assert list((tmp_path / "backups").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from suite.backup.create import create
from suite.backup.snapshot import Source

def die(folder):
    (folder / "half").write_bytes(b"x" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)

create(Path(sys.argv[1]), [Source("bad", die)])
"""


def test_a_process_killed_while_it_makes_a_backup_leaves_none_and_the_next_one_clears_away(made: Made, data: Path) -> None:
    folder = data / "backups"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.suffix for path in folder.iterdir()] == [".partial"]
    assert listing(folder) == [] and standing(folder).left_over == tuple(os.listdir(folder))
    snapshot = made()
    assert os.listdir(folder) == [snapshot.name] and standing(folder).left_over == ()


def test_a_full_disk_is_one_sentence_and_nothing_of_the_backup_is_kept(storage: Any, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs") as disk:
        folder = disk / "backups"
        good = create(folder, [source.database(storage)])
        fill(disk, leave=100_000)
        with pytest.raises(StorageError, match=r"The backup in .* failed: .*full.*Nothing of it was kept; free space") as caught:
            create(folder, [source.database(storage)])
        assert "\n" not in str(caught.value) and os.listdir(folder) == [good.name]
        with pytest.raises(StorageError, match=r"^The disk is full for restoring the backup: 0 MiB are free .*; free some space\.$"):
            verify(good.path)
        assert os.listdir(folder) == [good.name]
        free(disk)
        assert create(folder, [source.database(storage)]).name in os.listdir(folder)


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(storage: Any, tmp_path: Path) -> None:
    storage.close()
    damaged = bytearray(storage.file.read_bytes())
    damaged[4096 * 2:4096 * 12] = bytes([255]) * 4096 * 10
    storage.file.write_bytes(bytes(damaged))
    with pytest.raises(StorageError):
        create(tmp_path / "backups", [source.database(storage)])
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_data_directory_of_any_name_can_be_backed_up(tmp_path: Path) -> None:
    from suite.storage.engine import open_storage

    folder = tmp_path / "100% {name} ?x#y 한글"
    folder.mkdir()
    storage = open_storage("", folder)
    snapshot = create(folder / "backups", [source.database(storage)])
    storage.close()
    assert verify(snapshot.path).ok


def test_a_missing_folder_and_no_source_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        create(tmp_path / "backups", [source.tree("notes", tmp_path / "absent")])
    with pytest.raises(StorageError, match="nothing to back up"):
        create(tmp_path / "backups", [])


def test_records_survive_json(made: Made) -> None:
    snapshot = made()
    assert Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict()))) == snapshot
    found = verify(snapshot.path)
    assert Verification.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert SEAL in os.listdir(snapshot.path) and snapshot.name in snapshot._repr_html_() and "restored and compared" in repr(found)
