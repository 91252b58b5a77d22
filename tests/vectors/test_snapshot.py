"""Snapshots of the embedded store: whole or not there at all, whatever is killed, sent or full."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import SIZE, clustered, until

from suite.errors import BadRequest, NotFound, NotReady, StorageError
from suite.vectors import archive, disk
from suite.vectors.edge import EdgeStore
from suite.vectors.snapshot import ALL
from suite.vectors.store import Naming, Point


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    store.create("c", SIZE)
    store.upsert("c", clustered(300))
    yield store
    store.close()


def state(store: EdgeStore, name: str) -> dict[str, Any]:
    return {point.id: (list(point.vector or ()), dict(point.sparse or {}), point.payload) for point in store.scroll(name, limit=1000)}


def made(store: EdgeStore, name: str = "c") -> Path:
    return store.snapshots.path(name, store.snapshots.create(name).name)


def test_a_snapshot_holds_the_collection_and_its_checksum_is_that_of_the_file(store: EdgeStore) -> None:
    before = state(store, "c")
    path = made(store)
    (kept,) = store.snapshots.kept("c")
    assert (kept.name, kept.bytes, kept.sha256) == (path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.delete("c", where={"even": True})
    store.snapshots.recover("c", path)
    store.snapshots.recover("other", path)
    assert state(store, "c") == state(store, "other") == before
    store.upsert("other", [Point("new", None, {5: 1.0})])
    store.close()
    store.open()
    assert state(store, "c") == before and store.count("other") == 301 and store.ready().ok


def test_an_archive_leaves_out_the_holes_and_any_tar_can_read_it(store: EdgeStore, tmp_path: Path) -> None:
    path = made(store)
    place = store._shards["c"].place
    assert path.stat().st_size < disk.used(place) + (1 << 20) < sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 10
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    for file in place.rglob("*"):
        if file.is_file():
            assert (tmp_path / "out" / "shard" / file.relative_to(place)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("filled", [[], [(0, 3)], [(0, 3), (8 << 20, (8 << 20) + 7)], [((9 << 20) - 1, 9 << 20)], [(0, 9 << 20)]], ids=str)
def test_files_come_back_hole_for_hole(tmp_path: Path, filled: list[tuple[int, int]]) -> None:
    (tmp_path / "shard").mkdir()
    source = tmp_path / "shard" / ("ä" * 70)  # a name that is neither short nor ASCII
    with source.open("wb") as file:
        file.truncate(9 << 20)
        for start, end in filled:
            file.seek(start)
            file.write(b"x" * (end - start))
    from suite.vectors.meta import Meta

    with (tmp_path / "archive").open("wb") as file:
        archive.pack(archive.Digest(file), Meta("c", 3, "Dot", Naming("", None)), tmp_path / "shard")
    assert archive.unpack(tmp_path / "archive", tmp_path / "out") == Meta("", 3, "Dot", Naming("", None))
    copy = tmp_path / "out" / "shard" / source.name
    assert copy.read_bytes() == source.read_bytes() and copy.stat().st_blocks <= source.stat().st_blocks + 16
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def rewritten(path: Path, change: Callable[[tarfile.TarInfo], Any], extra: tuple[str, bytes, bytes] | None = None) -> Path:
    """An archive like another one: `change` may alter a member or leave it out by False; `extra` is a name, a type and contents to add."""
    target = path.with_name("changed.snapshot")
    with tarfile.open(path) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            contents = old.extractfile(member) if member.isfile() else None
            data = contents.read() if contents is not None else b""
            fresh = tarfile.TarInfo(member.name)
            fresh.type, fresh.size = tarfile.DIRTYPE if member.isdir() else tarfile.REGTYPE, len(data)
            result = change(fresh)
            if result is not False:
                data = result if isinstance(result, bytes) else data
                fresh.size = len(data)
                new.addfile(fresh, io.BytesIO(data))
        if extra is not None:
            entry = tarfile.TarInfo(extra[0])
            entry.type, entry.size = extra[1], len(extra[2]) if extra[1] == tarfile.REGTYPE else 0
            entry.linkname = "" if extra[1] == tarfile.REGTYPE else extra[2].decode()
            new.addfile(entry, io.BytesIO(extra[2]))
    return target


@pytest.mark.parametrize(("change", "extra", "reason"), [
    (lambda entry: entry.name != "meta.json", None, "no snapshot of a collection of ours"),
    (lambda entry: b"{" if entry.name == "meta.json" else None, None, "no snapshot of a collection of ours"),
    (lambda entry: b'{"format": 9}' if entry.name == "meta.json" else None, None, "has format 9"),
    (lambda entry: b"x" * 70_000 if entry.name == "meta.json" else None, None, "no small file"),
    (lambda entry: json.dumps({"format": 1, "name": "c", "size": 0, "distance": "Dot"}).encode() if entry.name == "meta.json" else None, None, "vector size of 0"),
    (lambda entry: json.dumps({"format": 2, "size": 3, "distance": "Dot", "shard": "../../x", "naming": {}}).encode() if entry.name == "meta.json" else None,
     None, "no collection does"),
    (lambda entry: None, ("../escaped", tarfile.REGTYPE, b"x"), "it holds '../escaped'"),
    (lambda entry: None, ("shard/../../escaped", tarfile.REGTYPE, b"x"), "it holds 'shard/../../escaped'"),
    (lambda entry: None, ("/tmp/escaped", tarfile.REGTYPE, b"x"), "it holds '/tmp/escaped'"),
    (lambda entry: None, ("shard/link", tarfile.SYMTYPE, b"/etc/passwd"), "it holds 'shard/link'"),
    (lambda entry: None, ("shard/link", tarfile.LNKTYPE, b"meta.json"), "it holds 'shard/link'"),
    (lambda entry: None, ("shard/pipe", tarfile.FIFOTYPE, b""), "it holds 'shard/pipe'"),
    (lambda entry: None, ("other", tarfile.REGTYPE, b"x"), "it holds 'other'"),
])
def test_an_archive_of_another_make_is_refused_and_writes_nothing(store: EdgeStore, tmp_path: Path, change: Any, extra: Any, reason: str) -> None:
    sent, before = rewritten(made(store), change, extra), state(store, "c")
    for name in ("c", "new"):
        with pytest.raises(BadRequest, match=reason.replace(".", r"\.")):
            store.snapshots.recover(name, sent)
    assert state(store, "c") == before and [info.name for info in store.collections()] == ["c"]
    assert sorted(path.name for path in (tmp_path / "vectors").iterdir() if path.is_dir()) == [".snapshots", "c"] and not list(tmp_path.rglob("escaped*"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_damaged_engine_files_are_met_by_a_child_and_the_collection_stays(store: EdgeStore, damage: str) -> None:
    def break_it(entry: tarfile.TarInfo) -> Any:
        if "id_tracker.mappings" in entry.name or "payload_storage/page_0" in entry.name:
            return {"cut": b"\x01" * 10, "flipped": b"\xff" * entry.size, "missing": False}[damage]
        return None

    sent, before = rewritten(made(store), break_it), state(store, "c")
    with pytest.raises(BadRequest, match=r"The engine cannot open what the snapshot changed\.snapshot holds"):
        store.snapshots.recover("c", sent)
    assert state(store, "c") == before and store.ready().ok and store.deep().ok


def test_a_snapshot_of_another_shape_does_not_replace_a_collection(store: EdgeStore) -> None:
    path = made(store)
    store.create("small", 4, "Dot")
    store.create("named", SIZE, "Cosine", Naming("text", None))
    for name, reason in (("small", "holds Dot vectors of 4"), ("named", "other vector names")):
        with pytest.raises(BadRequest, match=reason):
            store.snapshots.recover(name, path)
        assert store.count(name) == 0
    with pytest.raises(BadRequest, match="no collection name"):
        store.snapshots.recover("../up", path)


def test_a_checksum_is_compared_when_it_is_given_or_kept(store: EdgeStore) -> None:
    path = made(store)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    store.snapshots.recover("c", path, right.upper())
    with pytest.raises(BadRequest, match="has not the checksum 0000"):
        store.snapshots.recover("c", path, "0" * 64)
    with path.open("r+b") as file:
        file.seek(2000)
        file.write(b"changed")
    with pytest.raises(BadRequest, match="has not the checksum"):
        store.snapshots.recover("c", path)


def test_snapshots_outlive_their_collection_and_bring_it_back(store: EdgeStore) -> None:
    path, before = made(store), state(store, "c")
    store.drop("c")
    store.close()
    store.open()
    assert [kept.name for kept in store.snapshots.kept("c")] == [path.name]
    store.snapshots.recover("c", path)
    assert state(store, "c") == before
    store.snapshots.delete("c", path.name)
    store.drop("c")
    assert list(path.parent.iterdir()) == []
    with pytest.raises(NotFound, match="no collection c"):
        store.snapshots.kept("c")


def test_a_damaged_collection_is_mended_by_a_snapshot(store: EdgeStore, tmp_path: Path) -> None:
    path, before = made(store), state(store, "c")
    store.close()
    (tmp_path / "vectors" / "c" / "shard" / "edge_config.json").write_text("{")
    store.open()
    assert not store.ready().ok
    store.snapshots.recover("c", path)
    assert store.ready().ok and state(store, "c") == before


def test_a_snapshot_of_all_holds_each_collection(store: EdgeStore, tmp_path: Path) -> None:
    store.create("d", 4)
    store.create("suite-deep-probe-1", 4)
    kept = store.snapshots.create_full()
    assert store.snapshots.kept(ALL) == [kept] and store.snapshots.kept("c") == []
    path = store.snapshots.path(ALL, kept.name)
    assert archive.sha256(path) == kept.sha256
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["c.snapshot", "d.snapshot"]
        tar.extractall(tmp_path / "all", filter="data")
    store.snapshots.recover("again", tmp_path / "all" / "c.snapshot")
    assert store.count("again") == 300
    store.snapshots.delete(ALL, kept.name)
    assert store.snapshots.kept(ALL) == []


def test_writers_wait_for_a_snapshot_and_readers_do_not(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    packing, go_on, real = threading.Event(), threading.Event(), archive.add

    def slow(*given: Any) -> None:
        packing.set()
        assert go_on.wait(60)
        real(*given)

    monkeypatch.setattr(archive, "add", slow)
    names: list[str] = []
    maker = threading.Thread(target=lambda: names.append(store.snapshots.create("c").name))
    maker.start()
    assert packing.wait(60)
    writer = threading.Thread(target=lambda: store.upsert("c", [Point("late", None, {1: 1.0})]))
    writer.start()
    assert store.count("c") == 300 and store.query("c", sparse={1: 1.0}, limit=3)
    assert writer.is_alive() and store.get("c", ["late"]) == []
    go_on.set()
    maker.join(60)
    writer.join(60)
    store.snapshots.recover("then", store.snapshots.path("c", names[0]))
    assert (store.count("c"), store.count("then")) == (301, 300)


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_killed_between_the_renames_one_of_both_is_there(store: EdgeStore, tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "vectors"
    store.upsert("c", [Point("old", None, {1: 1.0})])
    store.create("new", SIZE)
    store.close()
    shutil.copytree(folder / "c", folder / ".recovering-0123")
    if moment != "before":
        (folder / "c").rename(folder / ".replaced-c")
    if moment == "after":
        shutil.rmtree(folder / ".recovering-0123")
        (folder / "new").rename(folder / "c")
    store.open()
    assert store.count("c") == (0 if moment == "after" else 301) and store.ready().ok
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == (["c"] if moment == "after" else ["c", "new"])


def test_half_written_archives_are_cleared_away(store: EdgeStore) -> None:
    path = made(store)
    for half in (path.with_name("c-1.snapshot.part"), store.snapshots.folder / "received-1.part"):
        half.write_bytes(b"half")
    store.close()
    store.open()
    assert sorted(file.name for file in store.snapshots.folder.rglob("*") if file.is_file()) == [path.name, path.name + ".checksum"]


def test_a_full_disk_stops_snapshots_and_recoveries_before_they_begin(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path, before = made(store), state(store, "c")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: SimpleNamespace(free=10 << 20))
    for use in (lambda: store.snapshots.create("c"), store.snapshots.create_full, lambda: store.snapshots.recover("c", path)):
        with pytest.raises(StorageError, match=r"^The disk is full \(10 MiB free"):
            use()
    with store.snapshots.receiving() as (write, _), pytest.raises(StorageError, match="The disk is full"):
        write(b"x")
    monkeypatch.undo()
    assert [kept.name for kept in store.snapshots.kept("c")] == [path.name] and state(store, "c") == before
    assert sorted(file.name for file in store.snapshots.folder.rglob("*") if file.is_file()) == [path.name, path.name + ".checksum"]


def test_a_write_that_fails_in_the_middle_leaves_nothing(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "add", full)
    with pytest.raises(StorageError, match=r"No space left on device.*free some space"):
        store.snapshots.create("c")
    monkeypatch.undo()
    assert store.snapshots.kept("c") == [] and not [file for file in store.snapshots.folder.rglob("*") if file.is_file()]
    store.upsert("c", [Point("on", None, {1: 1.0})])


def test_a_recovery_that_fails_at_the_end_brings_the_old_collection_back(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.vectors.shard import Shard

    path = made(store)
    store.upsert("c", [Point("later", None, {1: 1.0})])
    real, tries = Shard.load, []

    def load(folder: Path) -> Shard:
        tries.append(folder)
        if len(tries) == 1:
            raise StorageError("The engine changed its mind.")
        return real(folder)

    monkeypatch.setattr(Shard, "load", staticmethod(load))
    with pytest.raises(StorageError, match="changed its mind"):
        store.snapshots.recover("c", path)
    assert store.count("c") == 301 and store.ready().ok


def test_reads_and_writes_during_a_recovery_are_served_or_told_to_come_again(store: EdgeStore) -> None:
    path, done, failures = made(store), threading.Event(), []

    def use() -> None:
        while not done.wait(0.001):
            try:
                assert store.count("c") >= 300
                store.upsert("c", [Point("extra", None, {1: 1.0})])
            except (NotReady, NotFound):
                continue
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells it
                failures.append(error)

    user = threading.Thread(target=use)
    user.start()
    for _ in range(5):
        store.snapshots.recover("c", path)
    done.set()
    user.join(60)
    until(lambda: not user.is_alive())
    assert failures == [] and store.count("c") in (300, 301)
