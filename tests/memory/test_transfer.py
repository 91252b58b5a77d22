"""One project out as JSON lines, and in again elsewhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from suite.errors import BadRequest, NotFound
from suite.memory.memory import Memory
from suite.storage.engine import open_storage
from suite.testing import MemoryStore, StandInEmbedder


@pytest.fixture
def elsewhere(settings, tmp_path):
    (tmp_path / "else").mkdir()
    storage = open_storage("", tmp_path / "else")
    yield Memory(storage, MemoryStore(), StandInEmbedder(), settings)
    storage.close()


@pytest.fixture
def lines(light):
    light.create_project("handbook")
    old = light.remember("Who leads?", "Mina.", project="handbook", tags=["a", "한국어"], context={"x": [1]}, tokens=3, seconds=0.5)
    light.remember("Who leads?", "Joon.", project="handbook", supersedes=old.id)
    light.edit(old.id, favourite=True)
    light.note("The door is green.", project="handbook")
    return list(light.export("handbook"))


def test_what_comes_in_is_what_went_out_and_has_vectors_of_its_own(light, elsewhere, lines):
    done = elsewhere.bring(lines)
    assert (done.project, done.new, done.known) == ("handbook", 3, 0)
    assert elsewhere.sync()["synced"] == 3

    def told(memory):
        return [{**row.to_dict(), "sync": ""} for row in memory.turns("handbook", at=2e9)]

    assert told(elsewhere) == told(light) and list(elsewhere.export("handbook")) == [json.dumps({**json.loads(lines[0]), "created": json.loads(
        next(iter(elsewhere.export("handbook"))))["created"], "name": "handbook"}, ensure_ascii=False), *lines[1:]]
    assert [row.reply for row in elsewhere.recall("Who leads?", project="handbook", how="words")] == ["Joon."]
    assert elsewhere.bring(lines).to_dict() == {"project": "handbook", "new": 0, "known": 3}, "a second time changes nothing"
    elsewhere.create_project("other")
    with pytest.raises(NotFound):
        elsewhere.bring(lines, project="nobody")


@pytest.mark.parametrize("damage", ["{", "[]", '{"id": "1"}', "null"])
def test_a_line_that_cannot_be_used_is_named_and_nothing_is_imported(elsewhere, lines, damage):
    with pytest.raises(BadRequest, match=r"Line 3 of the export cannot be used .*; nothing was imported"):
        elsewhere.bring([*lines[:2], damage, *lines[2:]])
    assert elsewhere.projects() == []


@pytest.mark.parametrize("change", [{"id": "x"}, {"importance": 0}, {"kind": "dream"}, {"created": None}, {"created": "x"}, {"reply": ""}, {"tags": [""]},
                                    {"expires": "never"}, {"favourite": 1}, {"context": 5}, {"question": "a\0"}])
def test_a_turn_with_a_value_that_none_of_ours_has_is_refused(elsewhere, lines, change):
    with pytest.raises(BadRequest, match="Line 2"):
        elsewhere.bring([lines[0], json.dumps({**json.loads(lines[1]), **change})])


@pytest.mark.parametrize("head", ['{"format": "other"}', '{"format": "local-ai-suite memory", "version": 2, "project": "p"}', ""])
def test_a_file_that_is_no_export_is_refused(elsewhere, head):
    with pytest.raises(BadRequest):
        elsewhere.bring([head])


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_any_text_as_a_line_is_refused_in_one_sentence_or_is_blank(light, text):
    try:
        light.bring([text])
    except BadRequest as error:
        assert error.message.count("\n") == 0 or text.count("\n")
