from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from suite.errors import BadRequest, NotReady, SettingsError
from suite.knowledge import desk, index, scale
from suite.knowledge.desk import Portion, Want
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.prepare import Preparation
from suite.knowledge.progress import quietly
from suite.knowledge.read import Reader, Source
from suite.knowledge.register import store_name
from suite.settings import load
from suite.storage.engine import open_storage
from suite.testing import FixedChat, MemoryStore

ENGLISH = ("The nightly backup of ward {n} starts at three. ", "Restores of shelf {n} are rehearsed in March. ", "Nobody reads ledger {n} on Sundays. ")
KOREAN = ("{n}번 서고의 백업은 새벽 세 시에 시작된다. ", "{n}번 장부는 일요일에 아무도 읽지 않는다. ", "복구 연습은 {n}월에 한다. ")


@contextmanager
def dask(folder, workers, **options):
    """A scheduler and some workers with one thread each."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=str(folder), **options) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, each a process of its own."""
    with dask(tmp_path_factory.mktemp("dask"), 2, processes=True) as made:
        yield made


@pytest.fixture
def inside(tmp_path):
    """One worker that lives in this process; quick to start, to be done away with by a test."""
    with dask(tmp_path / "dask", 1, processes=False, protocol="tcp") as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    """Korean and English documents of several kinds, one of many parts, and files that are none."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(10):
        words = KOREAN if number % 3 == 2 else ENGLISH
        text = "".join(words[at % 3].format(n=f"{number}{at}") for at in range(12))
        (folder / f"doc{number}.md").write_text(f"# Part {number}\n\n{text}\n", encoding="utf-8")
    (folder / "long.txt").write_text("".join(ENGLISH[at % 3].format(n=at) for at in range(60)), encoding="utf-8")
    (folder / "page.html").write_text("<h1>규정</h1><p>휴가는 두 주 전에 신청한다.</p><p>The canteen serves bibimbap on Fridays.</p>", encoding="utf-8")
    (folder / "rows.csv").write_text("name,price\nlamp,12\nchair,40\n", encoding="utf-8")
    (folder / "empty.txt").write_text(" \n")
    (folder / "nul.txt").write_bytes(b"a\0b")
    (folder / "latin.txt").write_bytes("Müller".encode("latin-1"))
    (folder / "pic.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def small(monkeypatch):
    """Everything that bounds memory, so small that a few documents make it work."""
    monkeypatch.setattr(index, "GROUP", 8)
    monkeypatch.setattr(scale, "GROUP", 8)
    monkeypatch.setattr(scale, "PART", 10)
    monkeypatch.setattr(scale, "TASK_BYTES", 1000)
    monkeypatch.setattr(scale, "LOOK_S", 0.05)


class Place:
    """A collection in a database and a store of its own; `url` is that of the scheduler, if it is to be filled by a cluster."""

    def __init__(self, home, models_dir, embedder, url="", **other):
        home.mkdir()
        settings = load({"data_dir": str(home), "models_dir": str(models_dir), "rag_roots": str(home.parent), "rag_chunk_size": 32,
                         "rag_chunk_overlap": 12, "rag_dask_url": url, **other}, environ={}, cwd=home)
        self.storage, self.store, self.cwd = open_storage("", home), MemoryStore(), home.parent
        self.knowledge = Knowledge(self.storage, self.store, embedder, FixedChat("x"), settings)

    def add(self, progress=quietly, docs="docs"):
        return self.knowledge.add("books", [docs], self.cwd, progress)

    def points(self):
        return {point.id: point for point in self.store.scroll(store_name("books"), limit=1000)}

    def documents(self):
        return [(row.path, row.chunks, row.complete) for row in self.knowledge.documents("books")]


@pytest.fixture
def place(tmp_path, models_dir, embedder):
    """Makes a Place by its name."""
    made = []

    def make(name, url="", **other):
        made.append(Place(tmp_path / name, models_dir, embedder, url, **other))
        return made[-1]

    yield make
    for each in made:
        each.knowledge.close()
        each.storage.close()


def same(one, other):
    """Whether two places hold the same points."""
    left, right = one.points(), other.points()
    assert left.keys() == right.keys()
    for key, point in left.items():
        twin = right[key]
        assert point.payload == twin.payload
        assert point.sparse == pytest.approx(twin.sparse)
        assert (point.vector is None) == (twin.vector is None)
        assert point.vector is None or point.vector == pytest.approx(twin.vector, abs=1e-5)
    return True


def soon(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_cluster_gives_what_this_machine_gives(cluster, place, folder, small):
    here, there = place("here"), place("there", cluster.scheduler_address)
    expected, added = here.add(), there.add()
    assert added == expected and added.new == 13 and len(added.skipped) == 4
    assert len(here.points()) > 70 and {point.vector is None for point in here.points().values()} == {True, False}
    assert same(here, there) and here.documents() == there.documents()
    again = there.add()
    assert (again.new, again.changed, again.unchanged, again.skipped) == (0, 0, 13, expected.skipped)
    for name, text in (("doc1.md", "The ledger is closed."), ("long.txt", ENGLISH[0].format(n=1) * 40), ("rows.csv", "")):
        (folder / name).write_text(text)
    assert there.add() == here.add() and same(here, there) and here.documents() == there.documents()


@pytest.mark.parametrize("patience", [3, 0])  # deaths after which Dask gives a task up; then we ask again, document by document
def test_a_worker_that_is_killed_midway_costs_nothing(patience, cluster, place, folder, small, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", patience)
    for file in [folder / "page.html", *(folder / f"doc{number}.md" for number in (2, 5, 8))]:
        file.write_text("".join(sentence.format(n=file.stem) for sentence in ENGLISH * 4))  # no Korean: a new worker is ready sooner
    here, there = place("here"), place("there", cluster.scheduler_address)
    workers, killed = cluster.scheduler.workers, []

    def kill(files, total):
        for number, file in enumerate(files):
            if number == 8:  # the first results are there by now, and others on their way: no more than four tasks are begun ahead
                assert soon(lambda: any(state.processing or state.has_what for state in workers.values()))
                # the one that is at work if there is one; results that nobody has fetched die with a worker all the same
                killed.append(max(workers, key=lambda address: (len(workers[address].processing), len(workers[address].has_what))))
                os.kill(next(nanny for nanny in cluster.workers.values() if nanny.worker_address == killed[0]).pid, signal.SIGKILL)
                assert soon(lambda: killed[0] not in workers)
            yield file

    assert there.add(kill) == here.add() and killed
    assert same(here, there) and here.documents() == there.documents()


def test_without_any_worker_the_next_add_goes_on(inside, place, folder, small, monkeypatch):
    monkeypatch.setattr(scale, "GONE_S", 0.0)
    monkeypatch.setattr(index, "AHEAD", 1)  # so that the first documents are written early
    here, there = place("here"), place("there", inside.scheduler_address)

    def leave(files, total):
        for number, file in enumerate(files):
            if number == 10:
                inside.scale(0)
                assert soon(lambda: not inside.scheduler.workers)
            yield file

    with pytest.raises(NotReady, match=f"The Dask scheduler {inside.scheduler_address} of RAG_DASK_URL has had no worker for 0 s; start some"):
        there.add(leave)
    before = there.documents()
    whole = sum(complete for _, _, complete in before)
    assert 0 < whole < 13 and len(before) - whole <= 1
    inside.scale(1)
    assert soon(lambda: inside.scheduler.workers)
    added = there.add()
    assert (added.new + added.changed, added.unchanged) == (13 - whole, whole)
    here.add()
    assert here.points().keys() == there.points().keys() and here.documents() == there.documents()


def test_a_scheduler_that_ends_midway_is_named(inside, place, folder, small, monkeypatch):
    monkeypatch.setattr(scale, "CONNECT_S", 0.5)
    there = place("there", inside.scheduler_address)

    def end(files, total):
        for number, file in enumerate(files):
            if number == 8:
                inside.close()
            yield file

    with pytest.raises(NotReady, match=f"The Dask scheduler {inside.scheduler_address} of RAG_DASK_URL was lost .*what was written is whole"):
        there.add(end)
    assert there.documents() == []


def test_a_scheduler_that_does_not_answer_is_named_with_the_setting(place, folder, monkeypatch):
    monkeypatch.setattr(scale, "CONNECT_S", 0.3)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(NotReady, match=f"^The Dask scheduler {url} of RAG_DASK_URL does not answer .*; start it, or empty the setting") as caught:
            place("there", url).add()
    assert caught.value.facts["part"] == "rag" and "\n" not in caught.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8786", "tls://127.0.0.1:8786", "tcp://127.0.0.1:port"])
def test_a_url_that_cannot_be_used_is_refused(url, place, folder, monkeypatch):
    monkeypatch.setattr(scale, "CONNECT_S", 0.3)
    with pytest.raises(SettingsError, match=f"The Dask scheduler {url} of RAG_DASK_URL cannot be used .*; give an address such as"):
        place("there", url).add()


def test_without_dask_the_extra_is_named(place, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SettingsError, match=r"RAG_DASK_URL is tcp://x:1, but Dask is not installed .*pip install 'local-ai-suite\[scale\]'"):
        place("there", "tcp://x:1").add()


def test_a_single_document_is_prepared_here(place, folder, small):
    here, there = place("here"), place("there", "tcp://127.0.0.1:9")  # where nobody is
    assert there.add(docs="docs/long.txt") == here.add(docs="docs/long.txt")
    assert len(there.points()) > 10 and same(here, there)  # more than one part
    assert there.add(docs="docs/long.txt").unchanged == 1


def test_workers_with_another_recipe_are_refused_before_anything_is_written(cluster, place, folder, monkeypatch):
    there = place("there", cluster.scheduler_address)
    real = desk._versions
    monkeypatch.setattr(desk, "_versions", lambda: real() | {"suite": "99.0", "pypdf": "none"})
    with pytest.raises(NotReady, match=r"would not prepare documents as this host does \(On the worker tcp://.* suite is .*, not 99.0, pypdf is") as caught:
        there.add()
    assert caught.value.message.count("On the worker") == 2 and "nothing was written" in caught.value.message
    assert there.documents() == [] and there.points() == {}
    monkeypatch.setattr(scale._Cluster, "check", lambda *given: None)  # as if they had come later
    with pytest.raises(NotReady, match=r"^On the worker tcp://.* suite is .*, not 99.0"):
        there.add()


def test_workers_with_other_weights_are_refused(cluster, place, folder, monkeypatch):
    there = place("there", cluster.scheduler_address)
    real = desk._recipe
    monkeypatch.setattr(desk, "_recipe", lambda *given: real(*given) | {"the digest of its files": "0123"})
    with pytest.raises(NotReady, match=r"the digest of its files is [0-9a-f]{16}, not 0123"):
        there.add()


def test_workers_without_the_model_or_the_documents_are_refused(cluster, place, folder, monkeypatch, tmp_path):
    there = place("there", cluster.scheduler_address)
    monkeypatch.setattr(scale.os, "access", lambda *given: True)  # as if this host could read what no worker sees
    (folder / "doc0.md").unlink()
    monkeypatch.setattr(there.knowledge._reader, "find", lambda patterns: ([str(folder / "doc0.md"), str(folder / "doc1.md")], []))
    with pytest.raises(NotReady, match=r"\(The worker tcp://.* cannot read .*doc0\.md"):
        there.add()
    real = scale.ordered
    monkeypatch.setattr(scale, "ordered", lambda *given: replace(real(*given), models_dir=tmp_path / "none"))
    with pytest.raises(NotReady, match=r"The embedding model minilm is not in .*none of the worker tcp://"):
        there.add()


def test_no_secret_goes_to_a_worker(place):
    there = place("there", "tcp://127.0.0.1:9", qdrant_api_key="hunter2", qdrant_url="http://me:hunter3@q:1", memory_backup_cron="04:44")
    knowledge = there.knowledge
    order = desk.ordered(knowledge._settings, knowledge._reader, knowledge._preparation)
    sent = pickle.dumps(order)
    assert b"minilm" in sent and not any(word in sent for word in (b"hunter", b"sqlite", b"04:44", b"127.0.0.1"))
    assert set(order.settings) == {*desk._SENT, "embedding_model", "embedding_cache_mb"}
    assert pickle.loads(sent).key == order.key


class Fake:
    """A place that keeps a record; documents named after how many chunks they have, those with an x kill whoever prepares them."""

    def __init__(self, room=2):
        self.size, self.open, self.most, self.asked = room, 0, 0, []

    def room(self):
        return self.size

    def begin(self, task):
        self.open += 1
        self.most = max(self.most, self.open)
        return task

    def found(self, task):
        self.open -= 1
        self.asked.append([(want.path, want.start) for want in task.wants])
        if any("x" in want.path and (want.start or "y" not in want.path) for want in task.wants):
            return None
        found, left = [], scale.PART
        for want in task.wants:
            if left <= 0:
                break
            total = int(want.path.split("-")[-1])
            count = min(left, total - want.start)
            left -= count
            found.append((want.path, Portion(Source(want.path, "", "digest", 1), want.start, total, ["passage"] * count, [], np.zeros((0, 3)))))
        return found


def went(place, *paths, **task):
    """What comes of documents that go in one task: path, number of passages or why there are none, whether it ends there."""
    tasks = iter([scale._Task([Want(path) for path in paths])])
    return [(path, found.message if isinstance(found, BadRequest) else len(found.passages), isinstance(found, BadRequest) or found.last)
            for path, found in scale._in_order(tasks, place)]


def test_a_document_that_kills_its_workers_is_skipped_and_no_other(monkeypatch):
    monkeypatch.setattr(scale, "PART", 10)
    fake = Fake()
    died = "the workers that prepared it died, one after the other; split it, or give them more memory"
    assert went(fake, "a-3", "x-3", "b-3") == [("a-3", 3, True), ("x-3", died, True), ("b-3", 3, True)]
    assert fake.asked == [[("a-3", 0), ("x-3", 0), ("b-3", 0)], [("a-3", 0)], [("x-3", 0)], [("b-3", 0)]]
    assert went(Fake(), "x-3") == [("x-3", died, True)]


def test_a_long_document_comes_in_parts_and_not_as_whole_when_one_is_missing(monkeypatch):
    monkeypatch.setattr(scale, "PART", 10)
    fake = Fake()
    assert went(fake, "a-3", "long-35", "b-3") == [("a-3", 3, True), ("long-35", 7, False), ("long-35", 10, False), ("long-35", 10, False),
                                                   ("long-35", 8, True), ("b-3", 3, True)]
    assert [start for [(path, start), *_] in fake.asked if path == "long-35"] == [7, 17, 27]
    broken = went(Fake(), "xy-35", "b-3")
    assert [(path, last) for path, _, last in broken] == [("xy-35", False), ("xy-35", True), ("b-3", True)] and "died" in broken[1][1]


def test_only_so_many_tasks_are_under_way(monkeypatch):
    monkeypatch.setattr(scale, "PART", 10)
    drawn = []

    def tasks():
        for number in range(30):
            drawn.append(number)
            yield scale._Task([Want(f"{number}-{200 if number == 4 else 1}")])

    fake = Fake(room=5)
    for count, _ in enumerate(scale._in_order(tasks(), fake), 1):
        assert len(drawn) <= count + 5
    assert len(drawn) == 30 and 5 <= fake.most <= 10 and fake.open == 0


def test_a_document_that_changes_between_its_parts_is_not_mixed(tmp_path, embedder):
    settings = load({"data_dir": str(tmp_path / "data"), "rag_roots": str(tmp_path), "rag_chunk_size": 16, "rag_chunk_overlap": 0}, environ={}, cwd=tmp_path)
    file = tmp_path / "a.txt"
    file.write_text("".join(ENGLISH[0].format(n=n) for n in range(9)))
    made = [desk.Desk(Reader(settings, tmp_path / "data", tmp_path), Preparation(embedder, settings)) for _ in range(2)]
    [(_, first)] = made[0].found([Want(str(file))], 4)
    assert (len(first.passages), first.total) == (4, 9) and first.vectors.shape == (4, 384) and first.source.text == ""
    file.write_text(file.read_text() + "More.")
    rest = Want(str(file), 4, first.source.sha256)
    [(_, second)] = made[0].found([rest], 4)  # it has the old version still
    assert [passage.chunk.index for passage in second.passages] == [4, 5, 6, 7]
    [(_, refused)] = made[1].found([rest], 4)
    assert refused.message == "changed while it was read; add it again"
