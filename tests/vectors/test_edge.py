"""The embedded store: what it keeps through kills, second processes, damage and copies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from clusters import SIZE, clustered, until

from suite.errors import BadRequest, NotFound, NotReady, StorageError, SuiteError
from suite.settings import load
from suite.vectors.edge import EdgeStore
from suite.vectors.part import open_store
from suite.vectors.store import CollectionInfo, Point

WRITER = """
import sys
from pathlib import Path
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point
store = EdgeStore(Path(sys.argv[1]))
store.open()
store.create("c", 4)
for number in range(1_000_000):
    store.upsert("c", [Point(f"p{number}", [1.0, number, 0.0, 1.0], {number: 1.0}, {"number": number})])
    print(number, flush=True)
"""


def filled(folder: Path, n: int = 40) -> EdgeStore:
    store = EdgeStore(folder)
    store.open()
    store.create("c", SIZE)
    store.upsert("c", clustered(n))
    return store


def test_everything_is_there_after_closing_and_opening(tmp_path):
    filled(tmp_path).close()
    again = EdgeStore(tmp_path)
    again.open()
    assert again.collections() == [CollectionInfo("c", SIZE, "Cosine", 40)]
    assert again.count("c", {"even": True}) == 20 and again.get("c", ["doc/0#조각"])[0].payload["document"] == "doc-0.md"
    again.close()


def test_a_killed_writer_loses_no_acknowledged_point(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    acknowledged = -1
    try:
        while acknowledged < 300:
            line = child.stdout.readline()
            assert line, "the writer ended early"
            acknowledged = int(line)
    finally:
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
    whole = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    acknowledged = max([acknowledged, *whole])
    store = EdgeStore(tmp_path)
    store.open()
    assert store.ready().ok
    found = store.get("c", [f"p{number}" for number in range(acknowledged + 1)])
    assert [point.payload["number"] for point in found] == list(range(acknowledged + 1))
    assert store.query("c", sparse={acknowledged: 1.0})[0].id == f"p{acknowledged}"
    store.close()


def test_a_second_process_is_told_who_has_the_store(tmp_path):
    store = filled(tmp_path)
    program = ("import sys; from pathlib import Path; from suite.vectors.edge import EdgeStore; from suite.errors import StorageError\n"
               "try: EdgeStore(Path(sys.argv[1])).open()\nexcept StorageError as error: print(error)")
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60).stdout
    assert f"in use by the process {os.getpid()}" in told and "DATA_DIR" in told
    assert store.count("c") == 40
    store.close()


def test_a_second_store_in_the_same_process_is_refused_and_a_part_remembers_why(tmp_path):
    store = filled(tmp_path / "vectors")
    with pytest.raises(StorageError, match="in use by the process"):
        EdgeStore(tmp_path / "vectors").open()
    part = open_store(load({"data_dir": tmp_path}, environ={}, cwd=tmp_path), tmp_path / "vectors")
    assert not part.ready().ok and "in use by the process" in part.ready().reasons[0] and not part.deep().ok
    with pytest.raises(NotReady, match="in use by the process") as caught:
        part.count("c")
    assert caught.value.facts["part"] == "qdrant" and caught.value.facts["retry_after"]
    store.close()
    part.start()
    assert part.ready().ok and part.count("c") == 40
    part.close()


def test_a_copy_of_an_open_store_opens_with_the_same_answers(tmp_path):
    store = filled(tmp_path / "vectors")
    store.create("empty", 8)
    store.copy_to(tmp_path / "backup" / "vectors")
    store.upsert("c", [Point("later", None, {1: 1.0})])
    copy = EdgeStore(tmp_path / "backup" / "vectors")
    copy.open()
    assert copy.collections() == [CollectionInfo("c", SIZE, "Cosine", 40), CollectionInfo("empty", 8, "Cosine", 0)]
    query = clustered(1)[0]
    assert copy.query("c", vector=query.vector, sparse=query.sparse)[0].id == query.id
    copy.close()
    assert store.count("c") == 41
    store.close()


def test_a_copy_made_under_writes_holds_what_was_acknowledged_before(tmp_path):
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    store.create("c", SIZE)
    points, acknowledged, stop = clustered(4000), [], threading.Event()

    def write() -> None:
        for point in points:
            if stop.is_set():
                return
            store.upsert("c", [point])
            acknowledged.append(point.id)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(acknowledged) >= 100)
    before = list(acknowledged)
    store.copy_to(tmp_path / "copy")
    stop.set()
    writer.join(60)
    copy = EdgeStore(tmp_path / "copy")
    copy.open()
    assert {point.id for point in copy.get("c", before)} == set(before)
    assert len(copy.scroll("c", limit=5000)) == copy.count("c")
    copy.close()
    store.close()


def test_collections_that_others_drop_disturb_neither_a_flush_nor_a_copy(tmp_path):
    store, done = filled(tmp_path / "store"), threading.Event()
    rounds = {"flush": 0, "copy": 0}

    def come_and_go(name: str) -> None:
        while not done.is_set():
            store.create(name, SIZE)
            store.upsert(name, clustered(2))
            store.drop(name)

    others = [threading.Thread(target=come_and_go, args=(f"other-{number}",)) for number in range(2)]
    for thread in others:
        thread.start()
    try:
        while rounds["flush"] < 150:
            store.flush()
            rounds["flush"] += 1
        while rounds["copy"] < 15:
            store.copy_to(tmp_path / f"copy-{rounds['copy']}")
            rounds["copy"] += 1
    finally:
        done.set()
        for thread in others:
            thread.join()
    for number in range(rounds["copy"]):
        copied = EdgeStore(tmp_path / f"copy-{number}")
        copied.open()
        assert copied.ready().ok and copied.count("c") == 40
        copied.close()
    store.close()


def test_a_copy_into_a_folder_with_something_in_it_is_refused(tmp_path):
    store = filled(tmp_path / "vectors")
    with pytest.raises(BadRequest, match="is not empty"):
        store.copy_to(tmp_path)
    store.close()


def test_a_damaged_collection_is_named_and_the_others_work(tmp_path):
    store = filled(tmp_path)
    store.create("other", 4)
    store.close()
    (tmp_path / "c" / "shard" / "edge_config.json").write_text("{")
    store = EdgeStore(tmp_path)
    store.open()
    state = store.ready()
    assert not state.ok and "collection c" in state.reasons[0] and "backup" in state.reasons[0]
    for use in (lambda: store.count("c"), lambda: store.create("c", SIZE), lambda: store.copy_to(tmp_path.parent / "copy")):
        with pytest.raises(StorageError, match="collection c"):
            use()
    assert store.count("other") == 0
    store.drop("c")
    assert store.ready().ok and not (tmp_path / "c").exists()
    store.close()


@pytest.mark.parametrize("meta", ["{", "{}", '{"format": 99, "size": 4, "distance": "Cosine"}'])
def test_an_unreadable_or_newer_description_is_not_guessed(tmp_path, meta):
    filled(tmp_path).close()
    (tmp_path / "c" / "meta.json").write_text(meta)
    store = EdgeStore(tmp_path)
    store.open()
    assert not store.ready().ok and (tmp_path / "c" / "shard").exists()
    store.close()


def test_what_killed_creates_drops_and_probes_left_is_cleared(tmp_path):
    store = filled(tmp_path)
    store.create("suite-deep-probe-123", 4)
    store.close()
    (tmp_path / "half" / "shard").mkdir(parents=True)
    shutil.copytree(tmp_path / "c", tmp_path / ".dropped-old")
    store = EdgeStore(tmp_path)
    store.open()
    assert store.ready().ok and [info.name for info in store.collections()] == ["c"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["c"]
    store.close()


def test_a_dropped_collection_frees_its_name_and_its_folder(tmp_path):
    store = filled(tmp_path)
    store.drop("c")
    assert not (tmp_path / "c").exists()
    with pytest.raises(NotFound):
        store.count("c")
    store.create("c", 4)
    assert store.info("c") == CollectionInfo("c", 4, "Cosine", 0)
    store.close()


def test_many_threads_write_read_and_delete_without_losing_a_point(tmp_path):
    store = EdgeStore(tmp_path, optimize_after=200)
    store.open()
    store.create("c", SIZE)
    points, failures = clustered(800), []

    def work(part: int) -> None:
        try:
            for index, point in enumerate(points[part::4]):
                store.upsert("c", [point])
                assert store.get("c", [point.id])[0].id == point.id
                if index % 10 == 9:
                    assert store.query("c", vector=point.vector, where={"cluster": point.payload["cluster"]}, limit=3)
                    assert store.delete("c", [point.id]) == 1
        except (AssertionError, SuiteError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == [] and store.count("c") == 720
    store.close()


def test_closing_ends_the_background_thread(tmp_path):
    before = set(threading.enumerate())
    store = filled(tmp_path)
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"suite-vectors-optimize"}
    store.close()
    assert set(threading.enumerate()) <= before


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = EdgeStore(tmp_path / "file" / "vectors")
    with pytest.raises(StorageError, match="cannot be used"):
        store.open()
    store.start()
    assert not store.ready().ok and "cannot be used" in store.ready().reasons[0]


def test_deep_turns_bad_when_a_written_point_is_not_found(tmp_path):
    class Forgetful(EdgeStore):
        def upsert(self, name, points):
            super().upsert(name, [])

    store = Forgetful(tmp_path)
    store.open()
    state = store.deep()
    assert not state.ok and "found [] by vector" in state.reasons[0]
    assert store.collections() == [] and not any(path.is_dir() for path in tmp_path.iterdir())
    store.close()


def test_a_collection_is_described_by_a_small_file(tmp_path):
    filled(tmp_path).close()
    assert json.loads((tmp_path / "c" / "meta.json").read_text()) == {"format": 1, "name": "c", "size": SIZE, "distance": "Cosine"}
