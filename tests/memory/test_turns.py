"""Projects, edits, tags, favourites, validity, notes: what may be done with a turn besides remembering and recalling it."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import pytest

from suite.errors import BadRequest, NotFound
from suite.memory.importance import DAY


def test_an_unknown_project_is_an_error_that_names_the_known_ones_and_makes_none(light):
    light.create_project("handbook")
    for work in (lambda: light.remember("q", "r", project="hanbook"), lambda: light.recall("q", project="hanbook"),
                 lambda: light.stats("hanbook"), lambda: light.turns("hanbook"), lambda: list(light.export("hanbook"))):
        with pytest.raises(NotFound, match=r"no project 'hanbook'; there are handbook"):
            work()
    assert [row.id for row in light.projects()] == ["handbook"]


def test_a_project_is_made_once(light):
    light.create_project("handbook")
    with pytest.raises(BadRequest, match="already"):
        light.create_project("handbook")
    with pytest.raises(BadRequest, match="blank"):
        light.create_project(" ")


def test_a_folder_becomes_a_project_and_everything_below_it_belongs_there(light, tmp_path):
    folder = tmp_path / "work" / "deep" / "er"
    folder.mkdir(parents=True)
    made = light.create_project("연구", path=str(tmp_path / "work"))
    body = json.loads((tmp_path / "work" / ".ai-memory" / "project.json").read_text(encoding="utf-8"))
    assert (body["project_id"], body["project_name"], body["project_path"]) == (made.id, "연구", str(tmp_path / "work"))
    os.chdir(folder)
    kept = light.remember("Where is the lamp?", "In the hall.")
    assert kept.project == made.id and light.recall("lamp", how="words")[0].id == kept.id
    os.chdir(tmp_path)
    assert light.recall("lamp", how="words") == [] and light.remember("x", "y").project == "default-project"
    with pytest.raises(BadRequest, match="already"):
        light.create_project("again", path=str(tmp_path / "work"))
    with pytest.raises(BadRequest, match="does not exist"):
        light.create_project("nowhere", path=str(tmp_path / "none"))


def test_a_project_file_of_another_machine_is_joined_and_a_broken_one_is_named(light, tmp_path):
    file = tmp_path / ".ai-memory" / "project.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"project_id": "1234", "project_name": "theirs"}), encoding="utf-8")
    os.chdir(tmp_path)
    assert light.remember("x", "y").project == "1234" and [row.name for row in light.projects()] == ["theirs"]
    for broken in ("{", "[]", '{"project_id": ""}', '{"project_id": "a\\u0000"}', "x" * 70_000):
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(BadRequest):
            light.remember("x", "y")


def test_an_edit_changes_words_tags_and_vector_and_keeps_the_rest(light):
    kept = light.remember("Where is the lamp?", "In the hall.", tags=["a"], session="s", importance=4)
    light.sync()
    after = light.edit(kept.id, reply="In the cellar.", tags=["b", "c"])
    assert (after.id, after.question, after.session, after.created, after.importance) == (kept.id, kept.question, "s", kept.created, 4)
    assert after.reply == "In the cellar." and after.tags == ("b", "c") and after.edited >= kept.created and after.sync == "pending"
    assert light.get(kept.id) == after
    assert light.recall("hall", how="words") == [] and light.recall("cellar", how="words")[0].id == kept.id
    assert light.turns(tags=["a"]) == [] and light.turns(tags=["b"])[0].id == kept.id
    assert light.sync()["synced"] == 1 and light.recall("cellar", how="vector")[0].id == kept.id


def test_an_edit_while_its_vector_is_written_is_not_lost(storage, settings):
    from suite.memory.memory import Memory
    from suite.testing import MemoryStore, StandInEmbedder

    class Slow(StandInEmbedder):
        def embed(self, texts, kind="passage"):
            if edits:
                memory.edit(kept.id, reply=edits.pop())
            return super().embed(texts, kind)

    edits: list[str] = []
    memory = Memory(storage, MemoryStore(), Slow(), settings)
    kept = memory.remember("Where is the lamp?", "In the hall.")
    edits.append("In the cellar.")
    memory.sync()
    assert memory.get(kept.id).sync == "pending" and memory.get(kept.id).reply == "In the cellar."
    assert memory.sync()["synced"] == 1


@pytest.mark.parametrize("values", [{"reply": " "}, {"question": ""}, {"importance": 11}, {"tags": [""]}, {"valid_until": "soon"}])
def test_an_edit_that_cannot_be_stored_changes_nothing(light, values):
    kept = light.remember("Where is the lamp?", "In the hall.")
    with pytest.raises(BadRequest):
        light.edit(kept.id, **values)
    assert light.get(kept.id) == kept
    with pytest.raises(NotFound):
        light.edit("nobody", reply="x")


def test_a_favourite_is_kept_for_ever_while_it_is_one(light):
    kept = light.remember("Where is the lamp?", "In the hall.", importance=2)
    assert light.edit(kept.id, favourite=True).expires is None
    assert light.expire(time.time() + 1000 * DAY) == 0 and [row.id for row in light.turns(favourite=True)] == [kept.id]
    assert light.edit(kept.id, favourite=False).expires == kept.expires
    assert light.expire(kept.expires) == 1


def test_turns_are_found_by_tags_time_importance_and_session(light, storage):
    import sqlalchemy as sa

    from suite.memory.table import memories

    ids = [light.remember(f"Where is lamp {number}?", "In the hall.", tags=["all", f"t{number % 2}"], session=f"s{number % 3}",
                          importance=number + 1).id for number in range(6)]
    with storage.begin() as connection:
        for number, identity in enumerate(ids):
            connection.execute(sa.update(memories).where(memories.c.id == identity).values(created=1e9 + number * DAY, expires=None))
    day = [datetime.fromtimestamp(1e9 + number * DAY, UTC) for number in range(6)]

    def numbers(rows):
        return sorted(ids.index(row.id) for row in rows)

    for ask in (lambda **which: light.recall("lamp", how="words", limit=9, **which), lambda **which: light.turns(limit=9, **which),
                lambda **which: light.recall("Where is lamp?", how="hybrid", limit=9, **which)):
        assert numbers(ask(tags=["t1"])) == [1, 3, 5] and numbers(ask(tags=["all", "t0"])) == [0, 2, 4] and numbers(ask(tags="none")) == []
        assert numbers(ask(importance_min=4)) == [3, 4, 5] and numbers(ask(session="s1")) == [1, 4]
        assert numbers(ask(since=day[2])) == [2, 3, 4, 5] and numbers(ask(until=day[2])) == [0, 1]
        assert numbers(ask(since=day[1].isoformat(), until=day[3].timestamp(), tags=["t1"])) == [1]
    assert [ids.index(row.id) for row in light.turns(order="important", limit=2)] == [5, 4]
    assert [ids.index(row.id) for row in light.turns(limit=2, offset=1)] == [4, 3]
    pages = [light.recall("lamp", how="words", limit=2, offset=start)[0].id for start in (0, 2, 4)]
    assert len(set(pages)) == 3


@pytest.mark.parametrize("values", [{"since": "yesterday"}, {"at": object()}, {"importance_min": 0}, {"offset": -1}, {"tags": [3]}, {"order": "best"},
                                    {"limit": 0}])
def test_a_listing_that_makes_no_sense_is_refused(light, values):
    with pytest.raises(BadRequest):
        light.turns(**values)


def test_a_later_turn_takes_the_place_of_an_earlier_one_and_the_time_that_is_asked_about_counts(light):
    old = light.remember("Who leads the archive?", "Mina leads the archive.", valid_from="2025-01-01")
    new = light.remember("Who leads the archive?", "Joon leads the archive now.", supersedes=old.id, valid_from="2025-07-01")
    for how in ("words", "vector", "hybrid"):
        assert [row.id for row in light.recall("Who leads the archive?", how=how)] == [new.id]
        assert [row.id for row in light.recall("Who leads the archive?", how=how, at="2025-03-01")] == [old.id]
        assert [row.id for row in light.recall("Who leads the archive?", how=how, at="2025-08-01")] == [new.id]
        assert light.recall("Who leads the archive?", how=how, at="2024-08-01") == []
    kept = light.get(old.id)
    assert kept.superseded_by == new.id and kept.valid_until == new.valid_from and "2025" in kept._repr_html_()
    light.create_project("other")
    for supersedes, project in (("nobody", ""), (new.id, "other"), ("a\0", "")):
        with pytest.raises(NotFound, match="superseded"):
            light.remember("Who?", "Nobody.", supersedes=supersedes, project=project)
    assert len(light.turns()) == 1 and light.turns("other") == [], "nothing of a refused turn stays"


def test_facts_and_summaries_are_what_somebody_wrote(light):
    turn = light.remember("Which colour is the door?", "Green.")
    fact = light.note("The door of the archive is green.", about="door", source=turn.id, tags=["paint"])
    summary = light.note("We talked about doors.", kind="summary")
    assert (fact.kind, fact.importance, fact.expires, fact.context) == ("fact", 10, None, {"source": turn.id})
    assert [row.id for row in light.turns(kind="fact")] == [fact.id] and [row.id for row in light.turns(kind="summary")] == [summary.id]
    assert {row.id for row in light.recall("green", how="words")} == {turn.id, fact.id}
    assert light.stats()["kinds"] == {"fact": 1, "summary": 1, "turn": 1}
    with pytest.raises(BadRequest, match="fact"):
        light.note("x", kind="opinion")


def test_what_is_known_of_a_reply_is_kept(light):
    kept = light.remember("q?", "r", tokens=12, seconds=1.5, context={"file": "a.py", "줄": 3}, important=True)
    found = light.get(kept.id)
    assert (found.tokens, found.seconds, found.context, found.importance) == (12, 1.5, {"file": "a.py", "줄": 3}, 8)
    assert "important" in found.rules[-1]
    for values in ({"tokens": -1}, {"seconds": "fast"}, {"context": [1]}, {"context": {"x": object()}}, {"context": {"x": "y" * 30_000}},
                   {"context": {"x": "\0"}}, {"context": {"x": float("nan")}}):
        with pytest.raises(BadRequest):
            light.remember("q?", "r", **values)
    assert len(light.turns()) == 1


def test_the_words_of_a_forgotten_turn_are_in_no_file_after_upkeep(light, storage):
    kept = light.remember("Where is the zanzibarquux?", "In the hall of plovermarsh.", tags=["tagofthezanzibarquux"])
    light.remember("Where is the lamp?", "In the cellar.")
    light.sync()

    def left():
        files = [path for path in storage.file.parent.iterdir() if path.name.startswith(storage.file.name)]
        return [word for word in (b"zanzibarquux", b"plovermarsh") for path in files if word in path.read_bytes()]

    assert left(), "the words are found while the turn is there, so that this test can fail"
    assert light.forget(kept.id)
    light.optimize()
    assert left() == [] and light.recall("lamp", how="words")
