"""A guest's memory: the same results and the same errors as the host's own, whatever is passed."""

from __future__ import annotations

import inspect
import json
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from suite.errors import BadRequest, HostGone, NotFound, StorageError
from suite.http.remote_memory import RemoteMemory
from suite.memory.memory import Memory
from suite.memory.record import Recall, Remembered
from suite.memory.table import memories
from suite.serving.reply import Reply


@pytest.fixture
def part(memory_part):
    return memory_part


@pytest.fixture
def guest(memory_guest):
    return memory_guest


def test_every_method_gives_the_same_on_both_sides(guest, part):
    part.create_project("팀/연구")
    saved = guest.remember("When does the backup start?", Reply("At 03:15.", 3, 3, 0.1, "tiny", smoke=True), tags=["a"], session="s", importance=6)
    assert isinstance(saved, Remembered) and part.get(saved.id) == guest.get(saved.id) and saved.smoke
    assert (saved.model, saved.tokens, saved.seconds, saved.session) == ("tiny", 3, 0.1, "s")
    part.remember("백업은 몇 시에 도나요?", "세 시 십오 분에 돕니다.", project="팀/연구")
    for how in ("hybrid", "words", "vector"):
        assert guest.recall("When does the backup start?", how=how) == part.recall("When does the backup start?", how=how) != []
    found = guest.recall("백업", project="팀/연구")
    assert found == part.recall("백업", project="팀/연구") != [] and isinstance(found, Recall)
    assert found.note == part.recall("백업", project="팀/연구").note != ""
    assert guest.turns() == part.turns() != [] and guest.turns("팀/연구", order="important", limit=1) == part.turns("팀/연구", limit=1)
    assert guest.stats() == part.stats() and guest.stats("팀/연구") == part.stats("팀/연구")
    assert guest.projects() == part.projects() and guest.project() == part.project() == guest.default == part.default
    assert guest.project("팀/연구") == "팀/연구" and guest.series().keys() == part.series().keys()
    assert guest.queue("팀/연구") == part.queue("팀/연구")
    assert guest.sync().keys() == part.sync().keys() and guest.sync() == part.sync() and guest.sync("팀/연구") == part.sync("팀/연구")
    assert guest.optimize().keys() == part.optimize().keys() and guest.rebuild_words() == part.rebuild_words() == 1
    gone = guest.forget(saved.id)
    assert gone and (gone.rows, gone.words, gone.vectors) == (0, 0, 0)
    assert guest.forget(saved.id) == part.forget(saved.id) and not guest.forget(saved.id)
    assert guest.expire(project="팀/연구") == 0 and guest.expire(1e12, "팀/연구") == 1 and part.stats("팀/연구")["memories"] == 0


def test_conditions_edits_and_notes_pass_through(guest, part):
    first = guest.remember("Where is the key?", "On the hook.", tags=["keys", "house"], importance=9, context={"a": [1, None]}, saved=True,
                           valid_from=datetime.fromtimestamp(1_700_000_000))
    second = guest.remember("Where is the key?", "In the drawer.", supersedes=first.id, important=True)
    assert part.get(first.id).superseded_by == second.id and part.get(first.id).context == {"a": [1, None]} and first.valid_from == 1_700_000_000
    assert [row.id for row in guest.recall("key", tags="keys", at=1_700_000_001)] == [first.id] and [row.id for row in guest.recall("key")] == [second.id]
    for options in ({"tags": ["keys", "house"], "at": 1_700_000_001}, {"importance_min": 9}, {"since": "2020-01-01"}, {"until": "2020-01-01"},
                    {"kind": "turn"}, {"session": "x"}, {"favourite": False}, {"limit": 1, "offset": 1}):
        assert guest.recall("key", **options) == part.recall("key", **options), options
        assert guest.turns(**options) == part.turns(**options), options
    edited = guest.edit(second.id, reply="In the red drawer.", tags=["x"], favourite=True, importance=3, valid_until="2999-01-01")
    assert edited == part.get(second.id) and (edited.reply, edited.tags, edited.favourite, edited.expires) == ("In the red drawer.", ("x",), True, None)
    note = guest.note("The key hangs by the door.", about="spare key", source=first.id, tags="keys")
    assert note == part.get(note.id) and (note.kind, note.context) == ("fact", {"source": first.id})


def test_what_a_code_model_wrote_counts_as_much_as_on_the_host(guest, part):
    reply = Reply("x = 1", 3, 3, 0.1, "smoke", alias="code-7b")
    here, there = part.remember("How is it set?", reply), guest.remember("How is it set?", reply)
    assert (here.importance, here.rules, here.model) == (there.importance, there.rules, there.model) and "the code model replied: +1" in there.rules


def test_a_project_goes_out_and_in_again(guest, part, tmp_path):
    odd = "one\u2028two\x85three\r\nfour \x0b five"
    saved = guest.remember(odd, "x" * 100_000)
    for _ in range(3):
        guest.remember("filler", "y" * 50_000)  # several pieces of a body
    lines = list(guest.export())
    assert lines == list(part.export()) and len(lines) == 5
    guest.create_project("copy")
    assert guest.bring(lines, "copy").to_dict() == {"project": "copy", "new": 0, "known": 4}
    guest.forget(saved.id)
    assert guest.bring(line + "\n" for line in lines).new == 1 and part.get(saved.id).question == odd
    made = guest.backup()
    assert made["turns"] == 4 and Path(made["path"]).read_text(encoding="utf-8").split("\n")[0] == lines[0]
    assert part.backup()["turns"] == 4


def test_an_export_that_breaks_off_is_not_taken_for_whole(guest, part):
    for number in range(3):
        part.remember(f"question {number}", "y" * 70_000)
    with part._storage.begin() as connection:
        connection.execute(sa.update(memories).where(memories.c.seq == 3).values(tags="no JSON"))
    with pytest.raises(HostGone, match="The export broke off"):
        list(guest.export())


def test_the_guests_own_directory_says_which_project_is_meant(guest, part, tmp_path, monkeypatch):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    made = guest.create_project("mine", ".")
    assert made.path == str(tmp_path / "mine") and made == next(row for row in part.projects() if row.id == made.id)
    monkeypatch.chdir(tmp_path / "mine" / "deep")
    assert guest.remember("Where?", "Here.").project == guest.project() == made.id and guest.stats()["memories"] == 1
    assert [row.question for row in guest.recall("where here")] == ["Where?"] and len(guest.turns()) == 1 and len(list(guest.export())) == 2
    monkeypatch.chdir(tmp_path)
    assert guest.project() == "default-project" and guest.turns() == []
    (tmp_path / ".ai-memory").mkdir()
    (tmp_path / ".ai-memory" / "project.json").write_text(json.dumps({"project_id": "elsewhere", "project_name": "E"}))
    assert guest.project() == "elsewhere" and ("elsewhere", "E") in [(row.id, row.name) for row in part.projects()]


CALLS = [
    lambda face: face.remember("", "x"), lambda face: face.remember("x", "\ud800"), lambda face: face.recall("\ud800"), lambda face: face.recall(" "),
    lambda face: face.recall(""), lambda face: face.recall("x" * 5000), lambda face: face.recall("x", how="magic"), lambda face: face.recall("x", limit=0),
    lambda face: face.recall("x", offset=-1), lambda face: face.recall("x", importance_min=0), lambda face: face.recall("x", since="soon"),
    lambda face: face.recall("x", kind=5), lambda face: face.recall("x", project="none"), lambda face: face.recall("x", tags=[5]),
    lambda face: face.recall("백업", how="vector"), lambda face: face.get("no/such"), lambda face: face.get(".."), lambda face: face.get("\ud800"),
    lambda face: face.get("0" * 36), lambda face: face.remember("x", "y", importance=0), lambda face: face.remember("x", b"y"),
    lambda face: face.remember("x", "y", tags=7), lambda face: face.remember("x", "y", context=[]), lambda face: face.remember("x", "y", context={"a": b""}),
    lambda face: face.remember("x", "y", project="none"), lambda face: face.remember("x", "y", project="\ud800"), lambda face: face.remember("x", "y", tokens=-1),
    lambda face: face.remember("x", "y", supersedes="0" * 36), lambda face: face.remember("x", "y", supersedes="x" * 37),
    lambda face: face.remember("x", "y", valid_from="x"), lambda face: face.remember("x", "y", session="\0"),
    lambda face: face.note(" "), lambda face: face.note("x", "rumour"), lambda face: face.edit("nothing", reply="x"), lambda face: face.edit("0" * 36, reply="x"),
    lambda face: face.turns(order="best"), lambda face: face.turns(limit=1001), lambda face: face.queue(limit=0), lambda face: face.queue("none"),
    lambda face: face.stats("none"), lambda face: face.project("none"), lambda face: face.project("\ud800"), lambda face: face.sync("none"),
    lambda face: face.expire(project="none"), lambda face: list(face.export("none")), lambda face: face.export("none"), lambda face: face.backup("none"),
    lambda face: face.rebuild_words("none"), lambda face: face.create_project(""), lambda face: face.create_project("default-project"),
    lambda face: face.create_project("x", "/no/such/folder"), lambda face: face.join_project(" "), lambda face: face.bring([]),
    lambda face: face.bring(["{"]), lambda face: face.bring(["\ud800"]), lambda face: face.bring(["{}"], "none"),
]


@pytest.mark.parametrize("place", range(len(CALLS)))
def test_a_guest_raises_what_the_host_raises(guest, part, place):
    part.project()
    raised = []
    for face in (part, guest):
        with pytest.raises((BadRequest, NotFound)) as caught:
            CALLS[place](face)
        raised.append((type(caught.value), caught.value.message))
    assert raised[0] == raised[1] and "\n" not in raised[0][1]


def test_what_no_json_can_hold_is_said(guest):
    with pytest.raises(BadRequest, match="cannot be sent to the host"):
        guest.remember("x", "y", importance={1})
    with pytest.raises(BadRequest, match="cannot be sent to the host"):
        guest.turns(limit=b"1")


def test_a_store_that_is_down_keeps_nobody_from_remembering(guest, part, memory_store):
    def fail(_method, _name):
        raise StorageError("The disk is full.")

    memory_store.fail = fail
    saved = guest.remember("When does the backup start?", "At 03:15.")
    assert saved.sync == "pending" and [(row["id"], row["what"]) for row in guest.queue()] == [(saved.id, "pending")]
    found = guest.recall("backup start")
    assert [row.id for row in found] == [saved.id] and "disk is full" in found.note
    with pytest.raises(StorageError, match="The disk is full"):
        guest.sync()
    gone = guest.forget(saved.id)
    memory_store.fail = None
    assert gone and guest.sync()["pending"] == 0


def test_the_guest_has_every_public_method_of_the_host():
    own = {"start", "close", "live", "ready", "deep"}
    for name, method in inspect.getmembers(Memory, inspect.isfunction):
        if not name.startswith("_") and name not in own:
            here, there = inspect.signature(method), inspect.signature(getattr(RemoteMemory, name))
            assert list(here.parameters) == list(there.parameters), name
            assert [row.default for row in here.parameters.values()] == [row.default for row in there.parameters.values()], name
