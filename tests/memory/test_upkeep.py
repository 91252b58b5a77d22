"""Upkeep of memory: the index merged and made anew, space given back, a project in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from suite.errors import BadRequest, NotFound, StorageError


def test_what_is_deleted_is_given_back_and_what_stays_is_found(light):
    kept = light.remember("Where is the brass lamp?", "In the cellar.")
    fillers = [light.remember(f"filler {number}", f"word{number} " * 2000) for number in range(60)]
    light.sync()
    for turn in fillers:
        light.forget(turn.id)
    before = light.optimize()
    again = light.optimize()
    assert before["freed"] > 1_000_000 > before["bytes"] and again == {"bytes": before["bytes"], "freed": 0}
    assert [row.id for row in light.recall("brass lamp", how="words")] == [kept.id]


def test_a_damaged_word_index_is_made_anew_for_one_project(light):
    light.create_project("other")
    one, two = light.remember("Where is the brass lamp?", "In the cellar."), light.remember("Where is the brass bell?", "In the tower.")
    elsewhere = light.remember("Where is the brass key?", "In the drawer.", project="other")
    light.sync()
    with light._storage.begin() as connection:
        connection.execute(sa.text("DELETE FROM memory_words"))
        connection.execute(sa.text("UPDATE memory_projects SET turns = 99, length = 1"))
    assert light.recall("brass", how="words") == light.recall("brass", how="words", project="other") == []
    assert light.rebuild_words() == 2
    assert {row.id for row in light.recall("brass", how="words")} == {one.id, two.id} and light.recall("brass", how="words", project="other") == []
    with light._storage.read() as connection:
        assert connection.execute(sa.text("SELECT turns, length FROM memory_projects WHERE id = 'default-project'")).one() == (2, 16)
    assert light.rebuild_words("other") == 1 and [row.id for row in light.recall("brass", how="words", project="other")] == [elsewhere.id]
    with pytest.raises(NotFound):
        light.rebuild_words("none")


def test_words_of_turns_that_are_gone_are_removed(light):
    light.remember("Where is the brass lamp?", "In the cellar.")
    with light._storage.begin() as connection:
        connection.execute(sa.text("INSERT INTO memory_words (rowid, terms) VALUES (999, 'stray')"))
    light.rebuild_words()
    with light._storage.read() as connection:
        assert connection.execute(sa.text("SELECT COUNT(*) FROM memory_words")).scalar_one() == 1


def test_a_backup_is_whole_or_not_there(light, settings):
    turn = light.remember("Where is the brass lamp?", "In the cellar.")
    made = light.backup()
    file = Path(made["path"])
    lines = file.read_text(encoding="utf-8").splitlines()
    assert (made["project"], made["turns"]) == ("default-project", 1) and json.loads(lines[1])["id"] == turn.id
    assert file.parent == settings.data_dir / "backups" and file.stat().st_mode & 0o777 == 0o600 and list(file.parent.iterdir()) == [file]

    def broken(_project=""):
        yield lines[0]
        raise StorageError("The disk is full.")

    light.export = broken
    with pytest.raises(StorageError, match="disk is full"):
        light.backup()
    assert list(file.parent.iterdir()) == [file]


def test_asking_for_the_default_project_waits_for_no_writer(light):
    """A recall is a reader, whatever is being imported meanwhile."""
    light.project()
    with light._storage.begin():
        assert light.project() == "default-project" and light.recall("x", how="words") == []


@pytest.mark.parametrize("tags", [5, None, object()])
def test_tags_that_are_no_list_are_a_bad_request(light, tags):
    with pytest.raises(BadRequest, match="pass a list of texts"):
        light.remember("x", "y", tags=tags)


@pytest.mark.parametrize("identity", ["\ud800", "\0", "x" * 1000])
def test_an_id_that_no_database_can_be_asked_for_is_of_no_turn(light, identity):
    for call in (lambda: light.get(identity), lambda: light.edit(identity, reply="x"), lambda: light.remember("x", "y", supersedes=identity)):
        with pytest.raises(NotFound):
            call()
    assert light.forget(identity).found is False
