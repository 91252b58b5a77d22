"""Search terms are made from a queue: what was saved is found whoever makes them, once, and reading goes on where they cannot be made."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from suite.errors import StorageError
from suite.memory import renew
from suite.memory.table import memories, projects
from suite.text.terms import RECIPE, terms


def lengths(storage):
    """Search terms by turn, those of the whole project, and rows in the index."""
    with storage.read() as connection:
        each = list(connection.execute(sa.select(memories.c.length).order_by(memories.c.seq)).scalars())
        return each, connection.execute(sa.select(projects.c.length)).scalar_one(), connection.execute(sa.text("SELECT COUNT(*) FROM memory_words")).scalar_one()


def waiting(storage):
    with storage.read() as connection:
        return connection.execute(sa.select(sa.func.count()).where(memories.c.recipe != RECIPE)).scalar_one()


def test_saving_makes_no_terms_and_the_next_recall_finds_the_turn(light, storage):
    kept = light.remember("Where is the brass lamp?", "In the cellar.")
    assert waiting(storage) == 1 and lengths(storage) == ([0], 0, 0)
    found = light.recall("brass", how="words")
    assert [row.id for row in found] == [kept.id] and found.note == "" and waiting(storage) == 0
    expected = len(terms(kept.text))
    assert lengths(storage) == ([expected], expected, 1)


def test_an_edited_turn_is_found_by_its_new_words_only(light, storage):
    kept = light.remember("Where is the brass lamp?", "In the cellar.")
    light.sync()
    light.edit(kept.id, question="Where is the copper kettle?")
    assert waiting(storage) == 1 and lengths(storage) == ([0], 0, 0)
    assert light.recall("brass", how="words") == [] and [row.id for row in light.recall("kettle", how="words")] == [kept.id]


def test_several_who_make_the_same_terms_store_them_once(light, storage, monkeypatch):
    for number in range(5):
        light.remember(f"Where is lamp {number}?", "In the cellar.")
    all_read, own, failed, real = threading.Barrier(3), threading.local(), [], renew.terms

    def together(text):
        if not hasattr(own, "begun"):  # all have read the queue before anybody writes
            own.begun = True
            all_read.wait(20)
        return real(text)

    monkeypatch.setattr(renew, "terms", together)

    def run():
        try:
            renew.renew_terms(storage)
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    each, whole, rows = lengths(storage)
    assert failed == [] and all(each) and whole == sum(each) and rows == 5


@pytest.mark.parametrize("deed", ["edit", "forget"])
def test_what_changes_while_its_terms_are_made_is_left_to_whoever_changed_it(light, storage, monkeypatch, deed):
    kept = light.remember("Where is the brass lamp?", "In the cellar.")
    real = renew.terms

    def changed(text):
        monkeypatch.setattr(renew, "terms", real)
        if deed == "edit":
            light.edit(kept.id, question="Where is the copper kettle?")
        else:
            light.forget(kept.id)
        return real(text)

    monkeypatch.setattr(renew, "terms", changed)
    light.sync()
    assert light.recall("brass", how="words") == []
    assert [row.id for row in light.recall("kettle", how="words")] == ([kept.id] if deed == "edit" else [])
    each, whole, rows = lengths(storage)
    assert rows == len(each) and whole == sum(each)


def test_where_nothing_can_be_written_older_turns_are_found_and_the_newest_are_said_to_be_missed(light, storage, monkeypatch):
    old = light.remember("Where is the brass lamp?", "In the cellar.")
    light.sync()
    light.remember("Where is the brass bell?", "In the tower.")

    @contextmanager
    def refused():
        raise StorageError("The disk is full.")
        yield

    monkeypatch.setattr(storage, "begin", refused)
    found = light.recall("brass", how="words")
    assert [row.id for row in found] == [old.id] and found.note == "The disk is full, so the words of the newest turns may be missed."


def test_a_search_does_not_wait_for_the_terms_of_very_many_turns_and_says_so(light, storage, monkeypatch):
    monkeypatch.setattr(renew, "MOST_WAITED_FOR", 3)
    kept = [light.remember(f"Where is lamp {number}?", "In the cellar.").id for number in range(4)]
    found = light.recall("lamp", how="words")
    assert found == [] and found.note == "Search terms of many turns are still being made, so words may miss some." and waiting(storage) == 4
    light.forget(kept.pop())
    assert {row.id for row in light.recall("lamp", how="words")} == set(kept) and waiting(storage) == 0


def test_the_queue_is_looked_up_in_an_index(light, storage):
    """Whoever saves or searches among a million turns must not have all of them read; without statistics and with them."""
    asked = []
    sa.event.listen(storage.engine, "before_cursor_execute", lambda _c, _cursor, text, values, *_: asked.append((text, values)))
    for number in range(30):
        light.remember(f"Where is lamp {number}?", "In the cellar.")
    for _ in range(2):
        asked.clear()
        renew.renew_terms(storage)
        renew.settle_terms(storage)
        queries = [pair for pair in asked if pair[0].startswith("SELECT") and "recipe" in pair[0]]
        with storage.read() as connection:
            plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all() for text, values in queries]
        assert len(plans) >= 2 and not any("SCAN memories" in row[3] for plan in plans for row in plan), plans
        light.optimize()


def test_the_thread_makes_the_terms_of_what_was_saved(light, storage):
    done, real = threading.Event(), light._sync.follow
    light._sync.follow = lambda: (real(), done.set())
    light.start()
    try:
        assert done.wait(20)
        done.clear()
        light.remember("Where is the brass lamp?", "In the cellar.")
        assert done.wait(20) and waiting(storage) == 0
    finally:
        light.close()
