"""The disk under the embedded store: nothing is begun without room, and copies keep the holes of the engine's files."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite.errors import StorageError
from suite.vectors import disk, shard
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point


def free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))


@pytest.mark.parametrize("where", [(0, 3), (3, 10), (5_000_000, 5_000_007), (0, 9 << 20)])
def test_a_copy_is_the_same_hole_for_hole_and_private(tmp_path: Path, where: tuple[int, int]) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    with (tmp_path / "old" / "deep" / "file").open("wb") as file:
        file.truncate(9 << 20)
        file.seek(where[0])
        file.write(b"x" * (where[1] - where[0]))
    (tmp_path / "old" / "empty").touch()
    disk.copy_folder(tmp_path / "old", tmp_path / "new" / "copy")
    for name in ("deep/file", "empty"):
        old, new = tmp_path / "old" / name, tmp_path / "new" / "copy" / name
        assert new.read_bytes() == old.read_bytes() and stat.S_IMODE(new.stat().st_mode) == 0o600
        assert new.stat().st_blocks <= old.stat().st_blocks + 8
    assert disk.used(tmp_path / "new") > 0


def test_what_needs_room_is_refused_before_the_engine_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    store.create("there", 2)
    store.upsert("there", [Point("a", [1.0, 0.0], None, {"k": "v"})])
    free_bytes(monkeypatch, 3 << 20)
    steps: dict[str, Any] = {"create": lambda: store.create("fresh", 2), "upsert": lambda: store.upsert("there", [Point("b", [0.0, 1.0])]),
                             "delete": lambda: store.delete("there", ["a"]), "alter": lambda: store.alter("there", lambda point: point, ["a"]),
                             "snapshot": lambda: store.snapshots.create("there")}
    for name, step in steps.items():
        with pytest.raises(StorageError, match=r"^The disk is full \(3 MiB free, \d+ needed\) where the collection .* is kept; free some space"):
            step()
            pytest.fail(name)
    assert store.count("there", {"k": "v"}) == 1 and store.snapshots.kept("there") == []
    assert [point.id for point in store.get("there", ["a", "b"])] == ["a"] and not (tmp_path / "vectors" / "fresh").exists()
    store.close()
    with pytest.raises(StorageError, match="40 needed"):
        store.open()
    monkeypatch.undo()
    store.open()
    assert store.delete("there", ["a"]) == 1
    store.close()


def test_a_large_batch_needs_more_room_than_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    store.create("there", 2)
    free_bytes(monkeypatch, 33 << 20)
    store.upsert("there", [Point("small", [1.0, 0.0])])
    with pytest.raises(StorageError, match="The disk is full"):
        store.upsert("there", [Point("large", [1.0, 0.0], None, {"text": "x" * 1_000_000})])
    store.close()


def test_a_filter_works_without_the_index_that_there_is_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "INDEX_FROM", 1)
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    store.create("there", 2)
    store.upsert("there", [Point("a", [1.0, 0.0], None, {"k": "v"})])
    with monkeypatch.context() as full:
        free_bytes(full, 3 << 20)
        assert store.count("there", {"k": "v"}) == 1 and store.info("there").indexing.fields == {}
    assert store.count("there", {"k": "v"}) == 1 and store.info("there").indexing.fields == {"k": ("keyword", 1)}
    store.close()
