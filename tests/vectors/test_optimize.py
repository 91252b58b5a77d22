"""Indexes made in the background: in a copy, by a child process, while everybody reads and writes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import SIZE, clustered, until
from prometheus_client import CollectorRegistry, generate_latest

from suite.errors import NotReady, StorageError
from suite.vectors import shard
from suite.vectors.apart import Apart
from suite.vectors.edge import EdgeStore
from suite.vectors.series import VectorSeries
from suite.vectors.store import Point

MANY = 2600
POINTS = clustered(MANY + 200)
EXTRA = POINTS[MANY:]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeStore]:
    """A store that indexes collections from 100 KB of vectors on."""
    monkeypatch.setattr(shard, "INDEXED_FROM_KB", 100)
    store = EdgeStore(tmp_path / "vectors", optimize_after=1000)
    store.open()
    store.create("c", SIZE)
    yield store
    store.close()


class Gate:
    """Stands before the child's work: `entered` when a run has begun, and `open` lets it go on; `fails` is raised instead where it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.open, self.fails, self.runs = threading.Event(), threading.Event(), None, 0
        real = Apart.run

        def run(apart: Apart, verb: str, place: Path) -> bool:
            self.runs += 1
            self.entered.set()
            assert self.open.wait(60)
            if self.fails is not None:
                raise self.fails
            return real(apart, verb, place)

        monkeypatch.setattr(Apart, "run", run)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def state(store: EdgeStore) -> dict[str, Any]:
    """All points of `c` as plain values."""
    found: dict[str, Any] = {}
    last = None
    while page := store.scroll("c", limit=1000, offset=last):
        found |= {point.id: (None if point.vector is None else tuple(round(value, 5) for value in point.vector), dict(point.sparse or {}), point.payload)
                  for point in page}
        last = page[-1].id
    return found


def indexed(store: EdgeStore) -> bool:
    seen = store.info("c").indexing
    return not seen.optimizing and seen.waiting < 1000 and seen.segments > 1


def test_what_has_grown_is_indexed_and_found_the_same(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert("c", POINTS[:MANY])
    before = state(store)
    until(lambda: indexed(store))
    assert state(store) == before and store.info("c").indexing.error == ""
    assert [store.query("c", vector=point.vector, limit=1)[0].id for point in POINTS[:MANY:100]] == [point.id for point in POINTS[:MANY:100]]
    assert sorted(path.name for path in (tmp_path / "vectors" / "c").iterdir()) == ["meta.json", "shard-1"]
    store.close()
    store.open()
    assert state(store) == before and store.info("c").indexing.waiting < 1000


def test_reads_and_writes_go_on_and_all_of_them_are_kept(store: EdgeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.vectors.shard.INDEX_FROM", 1)
    store.upsert("c", POINTS[:MANY])
    assert gate.entered.wait(60) and store.info("c").indexing.optimizing
    store.upsert("c", [*EXTRA, Point(POINTS[0].id, None, {7: 1.0}, {"new": True})])
    assert store.delete("c", [POINTS[1].id, POINTS[2].id]) == 2
    assert store.delete("c", where={"cluster": 3}) == sum(point.payload["cluster"] == 3 for point in POINTS)
    assert store.alter("c", lambda point: Point(point.id, point.vector, None, {"altered": True}), where={"cluster": 4}) > 300
    assert store.count("c", {"document": "doc-2.md"}) > 0
    expected, fields = state(store), store.info("c").indexing.fields
    gate.open.set()
    until(lambda: indexed(store))
    assert state(store) == expected and store.info("c").indexing.fields == fields and "document" in fields
    assert store.get("c", [POINTS[0].id])[0] == Point(POINTS[0].id, None, {7: 1.0}, {"new": True})
    store.close()
    store.open()
    assert state(store) == expected


def test_no_reader_ever_meets_a_closed_engine(store: EdgeStore) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read(part: int) -> None:
        while not done.wait(0.001):
            try:
                point = POINTS[part]
                assert store.query("c", vector=point.vector, limit=1)[0].id == point.id
                assert store.get("c", [point.id])[0].id == point.id and store.count("c", {"document": point.payload["document"]})
                assert store.scroll("c", limit=3)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells it
                failures.append(error)
                return

    store.upsert("c", POINTS[:50])
    readers = [threading.Thread(target=read, args=(part,)) for part in range(2)]
    for reader in readers:
        reader.start()
    try:
        for round in range(2):
            store.upsert("c", POINTS[:MANY])
            until(lambda round=round: store.stats()["c"]["done"] > round or failures)
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert failures == [] and store.stats()["c"]["failed"] == 0


def test_a_run_that_fails_is_told_and_counted_and_nothing_is_lost(store: EdgeStore, gate: Gate, tmp_path: Path) -> None:
    gate.fails = StorageError("The engine gave up.")
    gate.open.set()
    store.upsert("c", POINTS[:MANY])
    until(lambda: store.info("c").indexing.error != "")
    store.upsert("c", EXTRA[:1])
    seen = store.info("c").indexing
    assert (seen.error, seen.optimizing, seen.waiting) == ("The engine gave up.", False, MANY + 1) and store.count("c") == MANY + 1
    assert (store.stats()["c"]["failed"], store.stats()["c"]["done"], gate.runs) == (1, 0, 1)  # not tried again for every single write
    assert sorted(path.name for path in (tmp_path / "vectors" / "c").iterdir()) == ["meta.json", "shard"]
    gate.fails = None
    store.upsert("c", POINTS[:2000])
    until(lambda: indexed(store))
    assert store.info("c").indexing.error == "" and store.stats()["c"]["done"] == 1


def test_a_child_that_dies_is_an_error_with_its_signal(store: EdgeStore) -> None:
    store.upsert("c", POINTS[:10])
    place = store._shards["c"].copy_aside()
    (place / "edge_config.json").write_text("{")
    with pytest.raises(StorageError, match="could not optimize the files"):
        Apart().run("optimize", place)
    apart, seen = Apart(), []

    def kill() -> None:
        until(lambda: apart._process is not None)
        seen.append(apart._process)
        apart.interrupt()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StorageError, match="died of SIGKILL"):
        apart.run("open", place)
    killer.join()
    store._shards["c"].forget(place, 0)
    assert store.count("c") == 10 and seen[0].returncode == -signal.SIGKILL


def test_closing_ends_a_run_at_once_and_it_is_made_up_for_after_opening(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert("c", POINTS[:MANY])
    until(lambda: (tmp_path / "vectors" / "c" / "shard-1").exists())
    store.close()
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]  # zombies of other tests have no command
    assert [child for child in running if "edge_child" in " ".join(child.cmdline())] == []
    store.open()
    until(lambda: indexed(store))
    assert store.count("c") == MANY


def test_dropping_ends_a_run(store: EdgeStore, gate: Gate) -> None:
    store.upsert("c", POINTS[:MANY])
    assert gate.entered.wait(60)
    store.drop("c")
    gate.open.set()
    store.create("c", SIZE)
    store.upsert("c", POINTS[:20])
    until(lambda: store._optimizer._current is None)
    assert store.count("c") == 20 and store.info("c").indexing.error == "" and store.stats()["c"]["failed"] == 0


def test_a_copy_and_a_snapshot_during_a_run_are_whole(store: EdgeStore, gate: Gate, tmp_path: Path) -> None:
    store.upsert("c", POINTS[:MANY])
    assert gate.entered.wait(60)
    store.upsert("c", EXTRA)
    store.copy_to(tmp_path / "copy")
    snapshot = store.snapshots.create("c")
    gate.open.set()
    until(lambda: indexed(store))
    store.snapshots.recover("again", store.snapshots.path("c", snapshot.name))
    assert store.count("again") == MANY + 200
    copy = EdgeStore(tmp_path / "copy")
    copy.open()
    assert copy.count("c") == MANY + 200 and state(copy) == state(store)
    copy.close()


def test_what_a_killed_run_left_is_cleared_and_the_described_files_are_used(store: EdgeStore, tmp_path: Path) -> None:
    store.upsert("c", POINTS[:MANY])
    until(lambda: indexed(store))
    expected, folder = state(store), tmp_path / "vectors" / "c"
    store.close()
    shutil.copytree(folder / "shard-1", folder / "shard")  # killed before the old files were removed
    shutil.copytree(folder / "shard-1", folder / "shard-2")  # killed while a copy was at work
    (folder / "shard-2" / "edge_config.json").unlink()
    store.open()
    assert store.ready().ok and state(store) == expected
    assert sorted(path.name for path in folder.iterdir()) == ["meta.json", "shard-1"]


KILLED = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from clusters import SIZE, clustered
from suite.vectors import shard
from suite.vectors.edge import EdgeStore
shard.INDEXED_FROM_KB = 100
store = EdgeStore(Path(sys.argv[1]), optimize_after=1000)
store.open()
store.create("c", SIZE)
points = clustered(4000)
for start in range(0, len(points), 100):
    store.upsert("c", points[start:start + 100])
    print(start + 100, flush=True)
while True:
    for point in points:
        store.upsert("c", [point])
"""


@pytest.mark.parametrize("moment", [0.0, 0.15, 0.4, 0.8])
def test_a_process_killed_while_it_indexes_keeps_every_point(tmp_path: Path, moment: float) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "v"), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
    written = 0
    try:
        while written < 4000:
            line = child.stdout.readline()
            assert line, "the writer ended early"
            written = int(line)
        threading.Event().wait(moment)  # not for a condition: any moment will do
    finally:
        children = psutil.Process(child.pid).children()
        child.kill()
        child.wait()
        child.stdout.close()
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children))  # the run dies with its process
    store = EdgeStore(tmp_path / "v")
    store.open()
    assert store.ready().ok and store.count("c") == 4000
    points = clustered(4000)
    assert [point.id for point in store.get("c", [point.id for point in points])] == [point.id for point in points]
    store.close()


def test_small_collections_are_left_alone(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "vectors", optimize_after=100)
    store.open()
    store.create("c", SIZE)
    for _ in range(3):
        store.upsert("c", POINTS[:500])
    assert store.info("c").indexing.waiting == 1500 and store.stats()["c"]["done"] == 0  # the engine searches so few exactly
    store.close()


def test_a_full_disk_is_told_and_no_copy_is_begun(store: EdgeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from suite.vectors import optimize

    def full(place: Path, name: str, room: int = 0) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(optimize, "require_room", full)
    store.upsert("c", POINTS[:MANY])
    until(lambda: store.info("c").indexing.error == "The disk is full.")
    assert not (tmp_path / "vectors" / "c" / "shard-1").exists() and store.count("c") == MANY


def test_the_numbers_are_metrics_by_collection(store: EdgeStore, gate: Gate) -> None:
    registry = CollectorRegistry()
    registry.register(VectorSeries(store.stats))

    def seen() -> dict[str, float]:
        lines = (line.rpartition(" ") for line in generate_latest(registry).decode().splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    store.upsert("c", POINTS[:MANY])
    assert gate.entered.wait(60)
    store.upsert("c", EXTRA)
    during = seen()
    assert during['suite_vectors_points{collection="c"}'] == MANY + 200 and during['suite_vectors_optimizing{collection="c"}'] == 1
    assert during['suite_vectors_unoptimized_points{collection="c"}'] == 200
    gate.open.set()
    until(lambda: indexed(store))
    after = seen()
    assert after['suite_vectors_optimizing{collection="c"}'] == 0 and after['suite_vectors_indexed_vectors{collection="c"}'] >= MANY
    assert after['suite_vectors_optimizations_total{collection="c",outcome="done"}'] == 1
    assert after['suite_vectors_optimizations_total{collection="c",outcome="failed"}'] == 0
    assert after['suite_vectors_optimize_seconds_total{collection="c"}'] > 0
    store.close()
    assert seen() == {}


def test_the_index_counts_as_waiting_after_opening_what_it_does_not_hold(store: EdgeStore, gate: Gate) -> None:
    gate.fails = StorageError("Not now.")
    gate.open.set()
    store.upsert("c", POINTS[:MANY])
    until(lambda: store.info("c").indexing.error != "")
    store.close()
    store.open()
    until(lambda: store.info("c").indexing.waiting == MANY)
    with pytest.raises(NotReady, match="was closed"):
        opened = store._shards["c"]
        store.close()
        opened.copy_aside()


def test_a_read_that_meets_a_replaced_engine_is_made_again_with_the_new_one(store: EdgeStore) -> None:
    store.upsert("c", POINTS[:10])
    opened = store._shards["c"]
    engine = opened._engine

    class Closed:
        def count(self, request: Any) -> int:
            opened._engine = engine  # another thread has put the new one in its place
            raise Exception("Shard is not initialized")

    opened._engine = Closed()
    assert store.count("c") == 10

    class Gone:
        def count(self, request: Any) -> int:
            raise Exception("Shard is not initialized")

    opened._engine = Gone()
    with pytest.raises(NotReady, match="closed or dropped meanwhile"):
        store.count("c")
    opened._engine = engine


def test_a_failure_after_the_change_of_files_does_not_take_the_new_ones_away(store: EdgeStore) -> None:
    store.upsert("c", POINTS[:10])
    opened = store._shards["c"]
    place = opened.copy_aside()
    opened.adopt(place)
    opened.forget(place, 0)
    store.close()
    store.open()
    assert store.ready().ok and store.count("c") == 10


def test_closing_waits_for_the_reads_that_are_under_way() -> None:
    class Busy:
        tries = 0

        def close(self) -> None:
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError("Already borrowed")

    engine = Busy()
    shard.release(engine, "c")
    assert engine.tries == 3

    class Broken:
        def close(self) -> None:
            raise Exception("Input/output error")

    with pytest.raises(StorageError, match="Input/output error"):
        shard.release(Broken(), "c")
