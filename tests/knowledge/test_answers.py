"""Answers: refused where nothing has to do with the question, kept while nothing changes, cited so that it can be checked out."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import BadRequest, NotReady
from suite.knowledge import cache, searches
from suite.knowledge.collection import Collection
from suite.knowledge.context import budget, fit, merged, tokens
from suite.knowledge.extractive import extractive
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.record import Hit
from suite.knowledge.relevance import earned
from suite.knowledge.split import split
from suite.knowledge.table import answers
from suite.knowledge.table import searches as lines
from suite.settings import load
from suite.testing import FixedChat

BACKUP = "# Backups\n\nThe nightly backup starts at 03:15. It takes nine minutes.\n\nRestores are rehearsed in March.\n"
FOOD = "The canteen serves bibimbap on Fridays. Vegetarians find a table by the window.\n"
QUESTION = "When does the nightly backup start?"


@pytest.fixture
def chat():
    return FixedChat("Starts at 03:15 [1].", smoke=False)


@pytest.fixture
def make(storage, store, embedder, chat, tmp_path):
    def build(serves=lambda: ("model-a", 4096), ranker=None, chat=chat, **settings):
        settings = load({"data_dir": str(tmp_path / "data"), "rag_chunk_size": 16, "rag_chunk_overlap": 0, **settings}, environ={}, cwd=tmp_path)
        return Knowledge(storage, store, embedder, chat, settings, serves=serves, ranker=ranker)
    return build


@pytest.fixture
def docs(make, tmp_path):
    (tmp_path / "docs").mkdir()
    for name, text in (("backup.md", BACKUP), ("food.txt", FOOD)):
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    docs = Collection(make(), "handbook", tmp_path)
    docs.add("docs")
    return docs


@pytest.mark.parametrize("question", ["How tall is the Eiffel tower in Paris?", "헬륨 압축기는 누가 고치나요?", "🎈🎈🎈", "\0\0", "?!"])
def test_a_question_that_nothing_has_to_do_with_is_refused_and_no_model_is_asked(docs, chat, question):
    found = docs.ask(question)
    assert found.refused and found.citations == () and found.reply is None and chat.asked == []
    assert found.text in ("The documents do not say.", "문서에서 찾을 수 없습니다.") and "refused" in repr(found)


@pytest.mark.parametrize("question", [QUESTION, "Which lunch dish can staff eat?", "backup", "bibimbap"])
def test_a_question_with_an_answer_is_not_refused_by_its_words_or_by_its_meaning(docs, chat, question):
    assert not docs.ask(question).refused and len(chat.asked) == 1


def test_what_a_question_earns_is_a_share_of_what_its_words_can_earn(docs, store):
    name = store.collections()[0].name
    assert earned(store, name, "nightly backup") == pytest.approx(1)
    assert 0 < earned(store, name, "nightly backup of the Eiffel tower") < 0.9
    assert earned(store, name, "Eiffel tower") == earned(store, name, "?!") == 0


def test_a_model_that_says_that_the_documents_do_not_say_refuses_too(make, docs):
    part = make(chat=FixedChat("The documents do not say."))
    found = part.ask("handbook", QUESTION)
    assert found.refused and not found.extractive and found.reply is not None


def test_the_same_question_is_answered_once_and_its_citations_are_checked_each_time(docs, chat, tmp_path):
    first = docs.ask(QUESTION)
    (tmp_path / "docs" / "backup.md").write_text("Preface.\n\n" + BACKUP, encoding="utf-8")
    second = docs.ask(QUESTION)
    assert len(chat.asked) == 1 and second.cached and not first.cached and second.text == first.text and "cached" in repr(second)
    moved = second.citations[0]
    text = (tmp_path / "docs" / "backup.md").read_text()
    assert first.citations[0].state == "current" and moved.state == "moved" and text[moved.start:moved.end] == moved.quote


@pytest.mark.parametrize("change", [
    {"serves": lambda: ("model-b", 4096)}, {"rag_llm_max_tokens": 99}, {"rag_llm_temperature": 0.5}, {"rag_context_tokens": 99}, {"rag_cache_hours": 0}])
def test_an_answer_is_not_kept_for_another_model_or_other_settings(docs, make, chat, change):
    docs.ask(QUESTION)
    make(**change).ask("handbook", QUESTION)
    assert len(chat.asked) == 2


def test_an_answer_is_not_kept_over_a_change_of_the_documents_and_no_longer_than_it_counts(docs, chat, tmp_path, monkeypatch, storage):
    docs.ask(QUESTION)
    docs.ask(QUESTION, topk=2)
    (tmp_path / "docs" / "new.txt").write_text("Another text.")
    docs.add("docs/new.txt")
    docs.ask(QUESTION)
    docs.remove("docs/new.txt")
    docs.ask(QUESTION)
    assert len(chat.asked) == 4 and docs.ask(QUESTION).cached
    with storage.begin() as connection:
        connection.execute(sa.update(answers).values(expires=0))
    assert not docs.ask(QUESTION).cached and len(chat.asked) == 5
    docs.drop()
    assert docs._face.cache_stats()["total_entries"] == 0


def test_what_stands_in_for_a_model_is_not_kept(make, docs):
    part = make(chat=FixedChat(NotReady("No model is loaded."), "Starts at 03:15 [1]."))
    assert part.ask("handbook", QUESTION).extractive
    assert part.ask("handbook", QUESTION).text == "Starts at 03:15 [1]."
    fallback = make(serves=lambda: ("other", None), chat=FixedChat(replace(docs.ask(QUESTION).reply, fallback=True)))
    kept = fallback.cache_stats()["total_entries"]
    assert fallback.ask("handbook", QUESTION).reply.fallback and fallback.cache_stats()["total_entries"] == kept


def test_the_cache_is_bounded_counted_and_cleared(docs, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 3)
    for number in range(5):
        docs.ask(f"{QUESTION} {number}")
    docs.ask(f"{QUESTION} 4")
    stats = docs._face.cache_stats()
    assert (stats["total_entries"], stats["active_entries"], stats["expired_entries"]) == (3, 3, 0) and stats["avg_access_count"] == pytest.approx(1 / 3, abs=1e-4)
    assert docs._face.clear_cache() == 3 and docs._face.cache_stats()["total_entries"] == 0


def test_many_threads_may_ask_the_same_at_once(docs, chat):
    found, failures = [], []

    def ask():
        try:
            found.append(docs.ask(QUESTION).text)
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and found == ["Starts at 03:15 [1]."] * 6


def test_what_was_asked_is_counted_without_secrets_and_forgotten_after_a_while(docs, storage, monkeypatch):
    part = docs._face
    assert part.analytics() == {"total_searches": 0, "avg_response_time": None, "avg_results_count": None, "total_tokens": 0, "top_queries": [],
                                "collection_usage": []}
    for question in (QUESTION, QUESTION, "backup password=hunter2"):
        docs.ask(question)
    seen = part.analytics(1)
    assert seen["total_searches"] == 3 and seen["avg_response_time"] > 0 and seen["collection_usage"] == [{"collection": "handbook", "count": 3}]
    assert seen["top_queries"][0] == {"query": QUESTION, "count": 2} and "hunter2" not in json.dumps(seen)
    monkeypatch.setattr(searches, "KEPT_DAYS", -1)
    told = part.optimize()
    assert told["database_optimized"] and "3 old lines" in told["message"]
    with storage.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(lines)).scalar_one() == 0
    for hours in (0, -1, 9e9):
        with pytest.raises(BadRequest, match="hours"):
            part.analytics(hours)


def test_prewarm_says_whether_a_model_answered(docs, make):
    assert docs._face.prewarm() == {"ok": True, "embed_dim": 384, "model_answered": True}
    told = make(chat=FixedChat(NotReady("No model is loaded."))).prewarm()
    assert told == {"ok": True, "embed_dim": 384, "model_answered": False, "reason": "No model is loaded."}


class Backwards:
    """A ranker that likes short texts."""

    def scores(self, question, texts):
        return [-float(len(text)) for text in texts]


def test_a_ranker_orders_what_was_found_and_only_for_the_default(docs, make):
    part = make(ranker=Backwards())
    ranked = part.search("handbook", "backup canteen window table", 10)
    assert [len(hit.text) for hit in ranked] == sorted(len(hit.text) for hit in ranked)
    assert part.search("handbook", QUESTION, 10, "fused") == docs.search(QUESTION, 10) != part.search("handbook", QUESTION, 10)


def test_headings_help_to_find_and_are_told_to_the_model(docs, chat, tmp_path):
    text = "# Handbook\n\n## Zeppelin flights\n\n" + "They leave from gate nine every morning at dawn in summer and at ten in winter. " * 2 + "\n\nBring a warm coat.\n"
    (tmp_path / "docs" / "zeppelin.md").write_text(text)
    docs.add("docs/zeppelin.md")
    hits = docs.search("zeppelin warm coat")
    assert hits[0].text.endswith("Bring a warm coat.") and "Zeppelin" not in hits[0].text and hits[0].headings == ("Handbook", "Zeppelin flights")
    docs.ask("zeppelin warm coat", topk=1)
    assert f"Handbook › Zeppelin flights\n{hits[0].text}" in chat.asked[-1][0][1]["content"]


@given(st.lists(st.sampled_from(["One is here. ", "둘이 여기 있다. ", "\n\n", "Three, 셋. ", "word " * 9, "# Head\n"]), max_size=30).map("".join),
       st.lists(st.integers(0, 60), max_size=8), st.integers(0, 6))
def test_merged_hits_are_slices_of_their_document_and_do_not_overlap(text, picked, overlap):
    chunks = split(text, 12, overlap, lambda texts: [len(each.split()) for each in texts])
    hits = [Hit("/d", None, chunk.start, chunk.end, chunk.text, 1 / (1 + place), "words", chunk.index, str(chunk.index), after=chunk.after)
            for place, chunk in enumerate(chunks[number] for number in dict.fromkeys(picked) if number < len(chunks))]
    found = merged(hits)
    covered = [place for hit in found for place in range(hit.start, hit.end)]
    assert len(covered) == len(set(covered)) and all(text[hit.start:hit.end] == hit.text for hit in found)
    assert {place for hit in hits for place in range(hit.start, hit.end)} <= set(covered)
    assert not hits or (found[0].start <= hits[0].start and hits[0].end <= found[0].end)  # the best stays first


@given(st.text(max_size=300), st.integers(1, 200))
def test_what_fits_keeps_to_the_budget_and_is_never_nothing(text, most):
    hit = Hit("/d", None, 0, len(text), text, 1.0, "words")
    used = fit([hit, hit], most)
    assert len(used) >= 1 and all(text.startswith(each.text) and each.end == len(each.text) for each in used)
    assert len(used) == 1 or sum(tokens(each.text) for each in used) <= most


def test_the_budget_leaves_room_for_rules_question_and_reply():
    assert budget(None, 256, "x", 1200) == 1200 and budget(32_768, 256, "x", 1200) == 1200
    assert budget(1024, 256, "x", 1200) == 1024 - 256 - 220 - 1
    assert budget(300, 256, "x", 1200) == 40


def test_a_question_of_a_megabyte_is_refused_in_one_sentence(docs):
    with pytest.raises(BadRequest, match="1000000 characters; at most 4000"):
        docs.ask("x" * 1_000_000)


def test_asking_an_unknown_collection_lists_those_that_are_there(docs):
    from suite.errors import NotFound

    with pytest.raises(NotFound, match="there are: 'handbook'"):
        docs._face.ask("handbok", QUESTION)
    assert Path(docs.documents()[0].path).name == "backup.md"


def test_an_extractive_answer_is_a_row_of_a_table_or_a_line_of_code_not_all_of_it():
    table = "| Segment | Range |\n|---|---|\n| Reed | 10.61.4.0 |\n| Alder | 10.61.8.0 |"
    code = "```python\nclient = Moru()\nclient.close()\n```"
    hits = [Hit("/d", None, 0, 1, f"# Network\n\n{table}\n\n{code}", 1.0, "words")]
    assert extractive("What is the range of Alder?", hits) == "| Segment | Range |\n| Alder | 10.61.8.0 | [1]"
    assert extractive("How is the client closed? client.close", hits) == "client.close() [1]"
    assert extractive("Network?", [Hit("/d", None, 0, 1, "# Network", 1.0, "words")]) == "# Network [1]"
