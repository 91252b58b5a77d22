"""Memory, knowledge and the maintainer give the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from suite.errors import NotFound
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.register import store_name
from suite.knowledge.table import documents
from suite.maintainer.job import Job
from suite.maintainer.maintainer import Maintainer
from suite.memory.importance import DAY
from suite.memory.memory import Memory
from suite.memory.table import memories, memory_removals
from suite.settings import Settings, load
from suite.storage.engine import Storage
from suite.testing import FixedChat, MemoryStore, StandInEmbedder

TURNS = [
    ("When does the nightly backup start?", "It starts at 03:15 and takes nine minutes.", {"importance": 7, "tags": ["work", "한국어"], "model": "m"}),
    ("What does the canteen serve on Fridays?", "Bibimbap, and a soup for vegetarians.", {"importance": 1, "session": "s1"}),
    ("휴가는 언제까지 신청해야 하나요?", "두 주 전에 팀장에게 신청해야 합니다.", {"importance": 10}),
    ("How do I call open() in C++?", "Use std::ifstream; what's more, 100% of 'quotes' \\ and “%s” %(name)s :name stay. " + "x" * 300, {}),
    ("Where is the backup kept?", "The backup is kept in the cellar, and a second backup in the tower.", {"project": "Älpha"}),
    ("Is there a backup in August?", "There is.", {"project": "beta", "importance": 2}),
    ("Anything in Zulu?", "Nothing.", {"project": "Zulu"}),
]
QUERIES = ("backup", "nightly backup minutes", "휴가 신청", "100% quotes", "'; DROP TABLE memories; --", "nothing of the kind", "x" * 300)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "rag_chunk_size": 64, "rag_chunk_overlap": 0}, environ={}, cwd=tmp_path)


@pytest.fixture
def memory(storage: Storage, settings: Settings) -> Memory:
    return Memory(storage, MemoryStore(), StandInEmbedder(), settings)


def filled(memory: Memory) -> list[str]:
    known = {row.id for row in memory.projects()}
    for name in ("Älpha", "beta", "Zulu", "empty"):
        if name not in known:
            memory.create_project(name)
    ids = [memory.remember(question, reply, **options).id for question, reply, options in TURNS]
    memory.sync()
    return ids


def indexed(storage: Storage) -> int:
    """How many turns the word index holds."""
    with storage.read() as connection:
        return connection.execute(sa.text("SELECT COUNT(*) FROM memory_words")).scalar_one()


def rows(storage: Storage, table: sa.Table) -> list[sa.Row]:
    with storage.read() as connection:
        return list(connection.execute(sa.select(table)))


def told(memory: Memory) -> dict[str, Any]:
    """Everything that memory says about TURNS, with their numbers instead of ids and without times."""
    ids = filled(memory)
    found = {(query, project): [(ids.index(row.id), round(row.score, 9)) for row in memory.recall(query, how="words", project=project)]
             for query in QUERIES for project in ("", "Älpha", "beta")}
    stats = [{name: value for name, value in memory.stats(project).items() if name not in ("oldest", "newest")} for project in ("", "Älpha", "empty")]
    turns = [(turn.question, turn.reply, turn.tags, turn.session, turn.model, turn.importance, turn.sync) for turn in map(memory.get, ids)]
    return {"found": found, "stats": stats, "turns": turns, "projects": [(row.id, row.memories) for row in memory.projects()]}


def test_what_is_remembered_is_found_counted_and_given_back_the_same(memory: Memory, opened: Callable[[str], Storage], settings: Settings,
                                                                    tmp_path: Path) -> None:
    said = told(memory)
    assert said == told(Memory(opened(f"sqlite:///{tmp_path / 'other.db'}"), MemoryStore(), StandInEmbedder(), settings))
    assert [row[0] for row in said["found"]["nightly backup minutes", ""]] == [0]
    assert [row[0] for row in said["found"]["휴가 신청", ""]] == [2]
    assert said["found"]["x" * 300, ""][0][0] == 3
    assert said["projects"] == [("Zulu", 1), ("beta", 1), ("default-project", 4), ("empty", 0), ("Älpha", 1)]
    assert said["stats"][0]["sync"] == {"synced": 4} and said["stats"][0]["importance_mean"] == pytest.approx(sum((7, 1, 10, 5)) / 4, abs=0.5)


def test_both_ways_of_recall_are_fused(memory: Memory) -> None:
    ids = filled(memory)
    first = memory.recall("nightly backup start")[0]
    assert (first.id, first.arm) == (ids[0], "both")


def test_a_time_comes_back_to_the_last_digit(memory: Memory) -> None:
    saved = memory.remember("When?", "Now, and not a moment later.", importance=7)
    found = memory.get(saved.id)
    assert (found.created, found.expires) == (saved.created, saved.expires) == (saved.created, saved.created + 90 * DAY)


def test_what_expires_is_gone_from_all_tables_and_the_rest_stays(memory: Memory, storage: Storage) -> None:
    ids = filled(memory)
    assert memory.expire() == 0
    assert memory.expire(memory.get(ids[1]).created + 4 * DAY) == 2
    assert {row.id for row in rows(storage, memories)} == set(ids) - {ids[1], ids[5]}
    assert indexed(storage) == len(ids) - 2
    assert rows(storage, memory_removals) == []
    with pytest.raises(NotFound):
        memory.get(ids[1])


def test_a_turn_that_several_forget_at_once_is_forgotten_once(memory: Memory, storage: Storage) -> None:
    ids = filled(memory)
    done: list[bool] = []
    barrier = threading.Barrier(4)

    def forget() -> None:
        barrier.wait(20)
        done.append(bool(memory.forget(ids[0])))

    threads = [threading.Thread(target=forget) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == [False, False, False, True]
    assert rows(storage, memory_removals) == []


def test_an_id_that_no_database_can_hold_is_not_found(memory: Memory) -> None:
    for strange in ("", "x" * 1000, "a\0b", "'; --"):
        with pytest.raises(NotFound):
            memory.get(strange)
        assert not memory.forget(strange)


def test_a_removal_that_the_store_refuses_waits_for_the_next_sync(storage: Storage, settings: Settings) -> None:
    broken = [False]

    def fail(method: str, _name: str) -> None:
        if broken[0] and method in ("delete", "upsert"):
            raise OSError("the store is away")

    store = MemoryStore(fail)
    memory = Memory(storage, store, StandInEmbedder(), settings)
    ids = filled(memory)
    broken[0] = True
    assert memory.forget(ids[0]) and memory.remember("And then?", "It waited.").sync == "pending"
    assert memory.ready().facts["pending"] == 2
    broken[0] = False
    assert memory.sync() == {"synced": 1, "failed": 0, "removed": 1, "pending": 0}


def test_a_collection_is_kept_in_step_with_its_files(storage: Storage, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in {"b.md": "The backup starts at 03:15.\n", "A.md": "The canteen serves bibimbap.\n" * 8, "ä.md": "휴가는 두 주 전에.\n", "Z.md": "Z.\n"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    store = MemoryStore()
    knowledge = Knowledge(storage, store, StandInEmbedder(), FixedChat("[1]"), settings)
    added = knowledge.add("handbook", ["docs"], tmp_path)
    assert (added.new, added.changed, added.unchanged, added.skipped) == (4, 0, 0, ())
    assert [Path(row.path).name for row in knowledge.documents("handbook")] == ["A.md", "Z.md", "b.md", "ä.md"]
    assert knowledge.search("handbook", "When does the backup start?")[0].document == str(folder / "b.md")
    (folder / "b.md").write_text("The backup starts at 04:00.\n", encoding="utf-8")
    again = knowledge.add("handbook", ["docs"], tmp_path)
    assert (again.new, again.changed, again.unchanged) == (0, 1, 3)
    assert "04:00" in knowledge.search("handbook", "When does the backup start?")[0].text
    assert knowledge.remove("handbook", str(folder / "Z.md")) and not knowledge.remove("handbook", str(folder / "Z.md"))
    for name in ("beta", "Alpha"):
        knowledge.add(name, ["docs/b.md"], tmp_path)
    chunks = store.count(store_name("handbook"))
    assert knowledge.collections() == [{"name": "Alpha", "documents": 1, "chunks": 1}, {"name": "beta", "documents": 1, "chunks": 1},
                                       {"name": "handbook", "documents": 3, "chunks": chunks}]
    assert [row.bytes for row in knowledge.documents("beta")] == [(folder / "b.md").stat().st_size]
    assert knowledge.drop("handbook") and not knowledge.drop("handbook")
    assert {row.collection for row in rows(storage, documents)} == {"Alpha", "beta"}


def test_an_indexing_that_broke_off_is_done_again(storage: Storage, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("The backup starts at 03:15.\n", encoding="utf-8")
    broken = [True]

    def fail(method: str, _name: str) -> None:
        if broken[0] and method == "upsert":
            raise OSError("the store is away")

    knowledge = Knowledge(storage, MemoryStore(fail), StandInEmbedder(), FixedChat("[1]"), settings)
    with pytest.raises(OSError, match="away"):
        knowledge.add("handbook", ["a.md"], tmp_path)
    assert [row.complete for row in knowledge.documents("handbook")] == [False]
    assert knowledge.collections() == [{"name": "handbook", "documents": 1, "chunks": 0}]
    broken[0] = False
    assert knowledge.add("handbook", ["a.md"], tmp_path).changed == 1
    assert [row.complete for row in knowledge.documents("handbook")] == [True]


def test_the_maintainer_remembers_how_its_jobs_went(storage: Storage) -> None:
    def broken() -> None:
        raise ValueError("it's 100% broken: 안녕")

    for runs in (1, 2):
        maintainer = Maintainer(storage, [Job("good", lambda: {"done": 1}, every=3600), Job("bad", broken, every=3600)])
        maintainer.start()
        try:
            good, bad = maintainer.run_now("good"), maintainer.run_now("bad")
            assert (good.runs, good.error, good.result) == (runs, "", {"done": 1})
            assert (bad.runs, bad.error) == (runs, "ValueError: it's 100% broken: 안녕")
            assert [reason for reason in maintainer.ready().reasons if "'bad' failed" in reason]
        finally:
            maintainer.close()
        with storage.read() as connection:
            kept = {row.name: (row.runs, row.error, row.finished) for row in connection.execute(sa.text("SELECT * FROM jobs"))}
        assert kept == {"good": (runs, "", good.finished), "bad": (runs, bad.error, bad.finished)}
