"""The measuring of retrieval: figures that can be worked out by hand, and a real dataset through the real stack."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite import bench
from suite.cli.main import main
from suite.errors import BadRequest
from suite.knowledge.evaluate import Question, evaluate, evaluate_dataset, squad
from suite.knowledge.record import RETRIEVERS, Hit

DATASET = {"data": [{"title": "t", "paragraphs": [
    {"context": "The lighthouse of Norwick was built in 1911 by Marla Quist.", "qas": [{"question": "Who built the lighthouse of Norwick?"}]},
    {"context": "The ferry to Elmsby leaves at noon and takes two hours.", "qas": [
        {"question": "When does the ferry to Elmsby leave?"}, {"question": "What does it cost?", "is_impossible": True}]},
    {"context": "백업은 매일 새벽 세 시에 시작합니다.", "qas": [{"question": "백업은 언제 시작하나요?"}]},
    {"context": "백업은 매일 새벽 세 시에 시작합니다.", "qas": [{"question": "새벽에 시작하는 것은 무엇인가요?"}]},
]}]}


def hit(document: str, text: str = "") -> Hit:
    return Hit(document, None, 0, len(text), text, 1.0, "words")


def ranked(*places: int | None) -> Any:
    """An evaluation of questions whose right documents come at these places."""
    documents = [[f"other-{n}" for n in range(place)] + ["right"] if place is not None else ["other"] for place in places]
    answers = iter(documents)
    return evaluate(lambda question, limit, retriever: [hit(name) for name in next(answers)], [Question("what?", "right") for _ in places],
                    ("default",)).row()


def test_the_figures_are_those_of_their_definitions() -> None:
    row = ranked(0, 0, 3, 9, 12, None)
    assert (row["recall@1"], row["recall@5"], row["recall@10"]) == (round(2 / 6, 4), 0.5, round(4 / 6, 4))
    assert row["mrr@10"] == round((1 + 1 + 1 / 4 + 1 / 10) / 6, 4)
    assert row["ndcg@10"] == round((1 + 1 + 1 / math.log2(5) + 1 / math.log2(11)) / 6, 4)
    assert row["n"] == 6 and row["interval"][0] < row["recall@1"] < row["interval"][1]


@given(st.lists(st.one_of(st.none(), st.integers(0, 14)), min_size=1, max_size=30))
def test_the_figures_keep_their_order(places: list[int | None]) -> None:
    row = ranked(*places)
    assert 0 <= row["recall@1"] <= row["mrr@10"] <= row["ndcg@10"] + 1e-4 and row["recall@1"] <= row["recall@5"] <= row["recall@10"] <= 1
    assert row["mrr@10"] <= row["recall@10"] + 1e-4 and row["interval"][0] <= row["interval"][1]


def test_chunks_of_one_document_count_once_and_a_quote_names_the_chunk() -> None:
    hits = [hit("a", "one"), hit("a", "two"), hit("b", "the  right\nwords")]
    assert Question("?", "b").rank(hits) == 1 and Question("?", "b", "right words").rank(hits) == 2
    assert Question("?", "b", "other").rank(hits) is None and Question("?", "c").rank(hits) is None


@pytest.mark.parametrize("given", [[], [{"question": "x"}], [{"question": " ", "document": "a"}], [{"document": "a"}], ["x"], [{"question": 1, "document": "a"}]])
def test_questions_that_measure_nothing_are_refused(given: list[Any]) -> None:
    with pytest.raises(BadRequest):
        evaluate(lambda question, limit, retriever: [], given)


def test_equal_paragraphs_are_one_and_questions_without_an_answer_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(DATASET), encoding="utf-8")
    paragraphs, questions = squad(path)
    assert len(paragraphs) == 3 and [place for _, place in questions] == [0, 1, 2, 2]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": [{"paragraphs": [{"context": "x"}]}]}', '{"data": 3}', "\x00"])
def test_a_file_of_another_format_is_one_sentence(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "set.json"
    path.write_text(text, encoding="utf-8")
    assert main(["evaluate", "--dataset", str(path)]) == 2
    assert f"{path} is not in SQuAD's format" in capsys.readouterr().err


def test_a_dataset_is_measured_on_the_real_stack_and_nothing_stays(tmp_path: Path, models_dir: Path) -> None:
    path, folder = tmp_path / "set.json", tmp_path / "paragraphs"
    path.write_text(json.dumps(DATASET), encoding="utf-8")
    folder.mkdir()
    with bench.throwaway(models_dir=str(models_dir), rag_roots=str(tmp_path)) as (stack, _):
        found = evaluate_dataset(stack.knowledge, path, folder)
        assert stack.knowledge.collections() == []
    assert {row["retriever"] for row in found.rows} == set(RETRIEVERS)
    assert [found.row("default", language)["recall@1"] for language in ("en", "ko", "all")] == [1.0, 1.0, 1.0]
    assert found.row("dense", "en")["recall@1"] == 1.0 and found.row("dense", "ko")["recall@1"] == 0.0  # the bundled embedder knows no Korean
    assert len(found.frame()) == len(found.rows) and "recall@1" in repr(found) and "<table" in found._repr_html_()


def test_a_dataset_whose_paragraphs_may_not_be_read_is_no_measurement(tmp_path: Path, models_dir: Path) -> None:
    path, folder = tmp_path / "set.json", tmp_path / "paragraphs"
    path.write_text(json.dumps(DATASET), encoding="utf-8")
    folder.mkdir()
    with bench.throwaway(models_dir=str(models_dir), rag_roots=str(tmp_path / "elsewhere")) as (stack, _):
        with pytest.raises(BadRequest, match=r"paragraphs were not indexed, the first \(.*\) because: .*RAG_ROOTS"):
            evaluate_dataset(stack.knowledge, path, folder)
        assert stack.knowledge.collections() == []
