"""The table of models: what answers, and what the catalogue knows besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.serving.catalog import catalog
from suite.serving.listing import ModelTable

ALIAS = {"id": "chat-7b", "upstream": "inference-chat", "stand_ins": [], "ready": True, "model": "smoke", "smoke": True, "reasons": []}
INFO = {"id": "smoke", "name": "inference-chat", "loaded": True, "smoke": True, "n_ctx": 4096, "slots": 8, "tokens_per_s": 61.27, "licence": "Apache-2.0",
        "verified": True, "bytes": 1000}
FAR = {"id": "code-7b", "upstream": "http://vllm:8000/v1", "stand_ins": [], "ready": False, "model": "", "smoke": False, "reasons": ["Nobody answers."]}


@pytest.fixture
def table(tmp_path: Path) -> ModelTable:
    """One server here, one elsewhere that does not answer, and one more file in the models directory."""
    (tmp_path / catalog()["qwen2.5-7b-instruct"].file).touch()
    (tmp_path / "minilm").mkdir()
    return ModelTable.of([ALIAS, FAR], [INFO, {"id": "", "name": "inference-code", "loaded": False}], tmp_path)


def test_what_answers_comes_first_with_its_facts(table: ModelTable) -> None:
    chat, code = table.rows[:2]
    assert (chat["alias"], chat["server"], chat["model"], chat["state"], chat["context"], chat["slots"], chat["tokens_per_s"]) == (
        "chat-7b", "inference-chat", "smoke", "ready", 4096, 8, 61.3)
    assert (chat["loaded"], chat["smoke"], chat["hash"], chat["licence"]) == (True, True, "verified", "Apache-2.0")
    assert (code["server"], code["loaded"], code["state"], code["why"], code["hash"]) == ("http://vllm:8000/v1", False, "not ready", "Nobody answers.", "")


def test_the_rest_of_the_catalogue_says_whether_the_file_is_there_and_what_is_known_of_it(table: ModelTable) -> None:
    rest = {row["model"]: row for row in table.rows[2:]}
    assert set(rest) == set(catalog()) - {"smoke"}, "what is loaded is not listed twice"
    assert rest["qwen2.5-7b-instruct"]["state"] == "present" and rest["minilm"]["state"] == "present"
    assert rest["qwen2.5-14b-instruct"]["state"] == "absent" and rest["qwen2.5-14b-instruct"]["licence"] == "Apache-2.0"
    assert {row["hash"] for row in rest.values() if not catalog()[row["model"]].sha256} <= {"unverified"}
    assert rest["minilm"]["hash"] == "not checked", "a pinned hash is no verified file"


def test_it_prints_as_text_as_html_and_as_a_frame(table: ModelTable) -> None:
    assert "61.3" in repr(table) and "Smoke models" in repr(table) and "absent" in repr(table)
    assert table._repr_html_().count("<tr>") == len(table.rows) + 1
    frame = table.frame()
    assert list(frame["alias"][:2]) == ["chat-7b", "code-7b"] and frame["context"].dtype.kind == "i"
    assert "Smoke" not in repr(ModelTable([row for row in table.rows if not row["smoke"]]))
