"""A process that is killed while it saves, edits, deletes and syncs loses nothing; two hundred moments are tried by hand (see .ci/full)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_stage import NoServer, binaries

from suite.benchmark.durability import POSTGRES, SQLITE, address
from suite.benchmark.durability_child import KEPT, SHORT, Parts
from suite.benchmark.durability_kill import Ledger, Round, Turn, compared, examined, rounds, stored
from suite.errors import RunFailed
from suite.memory.record import store_name
from suite.vectors.store import Point


@pytest.mark.parametrize(("database", "number"), [(SQLITE, 3), (POSTGRES, 2)])
def test_a_killed_process_loses_nothing_and_nothing_comes_back(database: str, number: int, tmp_path: Path) -> None:
    if database == POSTGRES:
        try:
            binaries()
        except NoServer as reason:
            pytest.skip(str(reason))
    seed = random.randrange(1 << 30)
    with address(database) as url:
        done = rounds(number, seed, tmp_path, url)
    assert len(done) == number and all(one.whole for one in done), (seed, done)


def test_a_process_that_ends_by_itself_is_no_round(tmp_path: Path) -> None:
    (tmp_path / "data" / "vectors").mkdir(parents=True)
    (tmp_path / "data" / "vectors" / "store.lock").mkdir()
    with pytest.raises(RunFailed, match="ended by itself with status 1"):
        rounds(1, 1, tmp_path)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Ledger]:
    """A data directory with three turns, all in order, and what was acknowledged of them."""
    ledger = Ledger()
    parts = Parts(tmp_path / "data", "")
    parts.memory.project()
    for number in range(4):
        about = [f"question {number}", f"answer {number} harbour", KEPT]
        ledger.note(["done", "save", *about, parts.memory.remember(*about[:2], importance=KEPT).id])
    parts.memory.sync()
    doomed = next(iter(ledger.turns))
    parts.memory.forget(doomed)
    parts.close()
    ledger.note(["done", "delete", doomed])
    assert examined(tmp_path / "data", "", ledger).whole
    return tmp_path / "data", ledger


def statement(sql: str) -> Callable[[Parts], None]:
    def run(parts: Parts) -> None:
        with parts.storage.begin() as connection:
            connection.exec_driver_sql(sql)
    return run


def other_words(parts: Parts) -> None:
    """The vector of one turn is that of words which it had before."""
    point = parts.store.scroll(store_name(parts.project), limit=1)[0]
    parts.store.upsert(store_name(parts.project), [Point(point.id, parts.embedder.embed(["older words"])[0].tolist(), None, point.payload)])


@pytest.mark.parametrize(("fault", "what"), [
    (statement("DELETE FROM memories WHERE seq = 2"), {"lost", "words"}),
    (statement("UPDATE memories SET reply = 'another' WHERE seq = 2"), {"altered", "words", "vectors"}),
    (statement("UPDATE memories SET importance = 3 WHERE seq = 2"), {"altered"}),
    (statement("DELETE FROM memory_words WHERE rowid = 3"), {"words"}),
    (statement("UPDATE memory_words SET terms = 'x' WHERE rowid = 3"), {"words"}),
    (statement("INSERT INTO memory_words (rowid, terms) VALUES (77, 'x')"), {"words"}),
    (statement("UPDATE memory_projects SET turns = turns + 1"), {"words"}),
    (statement("UPDATE memory_projects SET length = length - 1"), {"words"}),
    (statement("INSERT INTO memory_tags VALUES (2, 'x')"), {"words"}),
    (lambda parts: parts.memory.remember("nobody", "said this"), {"strange"}),
    (other_words, {"vectors"}),
])
def test_every_kind_of_loss_is_seen(kept: tuple[Path, Ledger], fault: Callable[[Parts], None], what: set[str]) -> None:
    data, ledger = kept
    parts = Parts(data, "")
    fault(parts)
    parts.close()
    assert {name for name, value in examined(data, "", ledger).wrong().items() if value} == what


def test_a_deleted_turn_that_is_there_again_is_seen(kept: tuple[Path, Ledger]) -> None:
    data, ledger = kept
    parts = Parts(data, "")
    turn = parts.memory.remember("back", "again")
    parts.close()
    ledger.gone.add(turn.id)
    assert examined(data, "", ledger).wrong() == {**Round(0, False).wrong(), "returned": 1}


@pytest.mark.parametrize(("begun", "rows", "lost"), [
    (["edit", "a", "new"], {"a": Turn("q", "new", KEPT)}, 0),
    (["edit", "a", "new"], {"a": Turn("q", "r", KEPT)}, 0),
    (["delete", "a"], {}, 0),
    (["tag", "a", "t"], {}, 1),
    (["sync"], {}, 1),
    (["expire"], {}, 1),  # it is none of those that expire
    (["save", "x", "y", KEPT], {"a": Turn("q", "r", KEPT), "b": Turn("x", "y", KEPT)}, 0),
    (["superseding", "x", "y", KEPT, "a"], {"a": Turn("q", "r", KEPT, (), "b"), "b": Turn("x", "y", KEPT)}, 0),
])
def test_what_was_begun_may_have_happened_or_not(begun: list[str], rows: dict[str, Turn], lost: int) -> None:
    found = compared(Ledger({"a": Turn("q", "r", KEPT)}, begun=begun), rows)
    assert found.wrong() == {**Round(0, False).wrong(), "lost": lost}


def test_half_of_what_was_begun_is_seen() -> None:
    ledger = Ledger({"a": Turn("q", "r", KEPT)}, begun=["superseding", "x", "y", KEPT, "a"])
    assert not compared(ledger, {"a": Turn("q", "r", KEPT), "b": Turn("x", "y", KEPT)}).whole
    assert not compared(ledger, {"a": Turn("q", "r", KEPT, (), "b")}).whole
    short = Ledger({"a": Turn("q", "r", SHORT), "b": Turn("q", "r", SHORT)}, begun=["expire"])
    assert not compared(short, {"a": Turn("q", "r", SHORT)}).whole


def test_what_was_stored_is_read_back(kept: tuple[Path, Ledger]) -> None:
    data, ledger = kept
    parts = Parts(data, "")
    identity = next(iter(ledger.turns))
    parts.memory.edit(identity, tags=["b", "가"])
    assert stored(parts.storage)[identity] == replace(ledger.turns[identity], tags=("b", "가"))
    parts.close()
