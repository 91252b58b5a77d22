from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from suite.errors import BadRequest, ContextOverflow, NotFound, NotReady, StorageError
from suite.knowledge.answer import answer
from suite.knowledge.collection import Collection
from suite.knowledge.context import fit
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.record import Added, Answer, Document, Hit
from suite.knowledge.register import store_name
from suite.knowledge.table import documents
from suite.monitoring.probe import bad
from suite.settings import load
from suite.testing import FixedChat, MemoryStore, StandInEmbedder

TEXTS = {
    "backup.md": "# Backups\n\nThe nightly backup starts at 03:15. It takes nine minutes.\n\nRestores are rehearsed in March.\n",
    "food.txt": "The canteen serves bibimbap on Fridays. Vegetarians find a table by the window.\n",
    "ko.md": "# 규정\n\n백업은 매일 새벽 세 시 십오 분에 시작됩니다. 휴가는 두 주 전에 신청해야 합니다.\n",
}


@pytest.fixture
def settings(tmp_path):
    return load({"data_dir": str(tmp_path / "data"), "rag_chunk_size": 16, "rag_chunk_overlap": 0}, environ={}, cwd=tmp_path)


@pytest.fixture
def chat():
    return FixedChat("Starts at 03:15 [1].")


@pytest.fixture
def make(storage, store, embedder, chat, settings):
    def build(**other):
        parts = {"storage": storage, "store": store, "embedder": embedder, "chat": chat, "settings": settings} | other
        return Knowledge(**parts)
    return build


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def docs(make, folder):
    return Collection(make(), "handbook", folder.parent)


def test_documents_are_added_once_and_left_alone_while_unchanged(docs, folder):
    added = docs.add("docs/**/*.md", "docs/food.txt")
    assert (added.new, added.changed, added.unchanged, added.skipped) == (3, 0, 0, ())
    assert docs.count() == added.chunks > 3
    again = docs.add("docs")
    assert (again.new, again.changed, again.unchanged, again.chunks) == (0, 0, 3, 0)
    assert [document.path for document in docs.documents()] == sorted(str(folder / name) for name in TEXTS)


def test_a_changed_file_replaces_its_own_chunks_and_nothing_else(docs, folder, store):
    docs.add("docs")
    (folder / "food.txt").write_text("The canteen is closed.\n")
    added = docs.add("docs")
    assert (added.new, added.changed, added.unchanged, added.chunks) == (0, 1, 2, 1)
    assert docs.search("vegetarians window", 50) and all("window" not in hit.text for hit in docs.search("vegetarians window", 50))
    assert store.count(store_name("handbook")) == docs.count()


def test_an_added_file_does_not_disturb_the_others(docs, folder):
    docs.add("docs")
    (folder / "new.txt").write_text("The lift is out of order.")
    added = docs.add("docs/new.txt")
    assert (added.new, added.unchanged) == (1, 0) and len(docs.documents()) == 4


def test_a_file_that_vanished_stays_indexed_until_it_is_removed(docs, folder):
    docs.add("docs")
    (folder / "food.txt").unlink()
    added = docs.add("docs")
    assert [(Path(path).name, "no longer exists" in why) for path, why in added.skipped] == [("food.txt", True)]
    assert "bibimbap" in docs.search("bibimbap on Fridays", 1)[0].text
    assert docs.remove("docs/food.txt") is True
    assert all("bibimbap" not in hit.text for hit in docs.search("bibimbap on Fridays", 50))
    assert docs.remove("docs/food.txt") is False


def test_what_cannot_be_read_is_skipped_with_the_reason(docs, folder):
    (folder / "pic.png").write_bytes(b"\x89PNG")
    (folder / "latin.txt").write_bytes("Müller".encode("latin-1"))
    (folder / "empty.txt").write_text(" \n")
    (folder / "nul.txt").write_bytes(b"a\0b")
    (folder / "big.txt").write_text("x" * ((10 << 20) + 1))
    (folder / "dangling.txt").symlink_to(folder / "absent.txt")
    os.mkfifo(folder / "pipe.txt")
    added = docs.add("docs", "docs/none-*.md", "docs/lost.md")
    why = {Path(path).name: reason for path, reason in added.skipped}
    words = {"pic.png": "no reader", "latin.txt": "neither UTF-8 (byte 1)", "empty.txt": "empty", "nul.txt": "NUL", "big.txt": "larger than",
             "dangling.txt": "does not exist", "pipe.txt": "not a regular file", "none-*.md": "no file matches", "lost.md": "no file matches"}
    assert set(why) == set(words) and all(word in why[name] for name, word in words.items()), why
    assert added.new == 3


def test_a_file_that_became_empty_takes_its_chunks_with_it(docs, folder):
    docs.add("docs")
    (folder / "food.txt").write_text("")
    assert docs.add("docs").removed == 1
    assert len(docs.documents()) == 2


def test_a_file_that_became_unreadable_keeps_its_chunks(docs, folder):
    docs.add("docs")
    (folder / "food.txt").write_bytes(b"\xff\xfa")
    assert docs.add("docs").removed == 0
    assert len(docs.documents()) == 3


def test_another_split_indexes_again(make, folder, tmp_path):
    Collection(make(), "handbook", folder).add("*.md")
    wider = load({"data_dir": str(tmp_path / "data"), "rag_chunk_size": 125}, environ={}, cwd=tmp_path)
    docs = Collection(make(settings=wider), "handbook", folder)
    assert docs.add("*.md").changed == 2
    assert docs.count() == 2


def test_another_embedding_model_never_mixes_in_and_the_collection_moves_over(make, folder, store):
    Collection(make(), "handbook", folder).add("backup.md", "ko.md")
    docs = Collection(make(embedder=StandInEmbedder(64, model="other")), "handbook", folder)
    question = "When does the nightly backup start?"
    assert {hit.arm for hit in docs.search(question)} == {"words"}
    with pytest.raises(BadRequest, match="embedded with all-MiniLM-L6-v2, but other is in use; run `suite index rebuild"):
        docs.add("food.txt")
    before = docs.search(question)
    (folder / "backup.md").unlink()  # what is gone moves over too
    assert docs.rebuild() == docs.count()
    assert {hit.arm for hit in docs.search(question)} == {"both"}
    assert before[0].text in [hit.text for hit in docs.search(question)]
    assert {info.size for info in store.collections()} == {64} and len(store.collections()) == 1
    assert docs.add("ko.md", "food.txt").new == 1
    (folder / "ko.md").write_text("다른 글.")
    assert docs.add("ko.md").changed == 1 and all("휴가" not in point.payload["text"] for point in store.scroll(store.collections()[0].name, limit=99))


def test_a_collection_can_be_searched_while_it_moves_over(make, folder, store):
    Collection(make(), "handbook", folder).add("*")
    part = make(embedder=StandInEmbedder(64, model="other"))
    docs, found = Collection(part, "handbook", folder), []

    def watch(pages, total):
        for page in pages:
            found.append([hit.arm for hit in docs.search("nightly backup start")])
            yield page

    assert part.rebuild("handbook", watch) == docs.count()
    assert found and all(set(arms) == {"words"} and arms for arms in found)


def test_a_move_that_breaks_off_leaves_the_collection_as_it_was(make, folder, store):
    Collection(make(), "handbook", folder).add("*")
    part = make(embedder=StandInEmbedder(64, model="other"))

    def fail(pages, total):
        yield next(iter(pages))
        raise StorageError("The power went.")

    with pytest.raises(StorageError):
        part.rebuild("handbook", fail)
    assert {hit.arm for hit in part.search("handbook", "nightly backup start")} == {"words"}
    assert part.rebuild("handbook") == store.count(part._register.get("handbook").store) and len(store.collections()) == 1


def test_english_is_found_by_words_and_meaning_and_korean_by_words_alone(docs):
    docs.add("docs")
    english = docs.search("When does the nightly backup start?")
    assert english[0].document.endswith("backup.md") and "03:15" in english[0].text and english[0].arm == "both"
    korean = docs.search("백업은 몇 시에 시작되나요?")
    assert korean[0].document.endswith("ko.md") and {hit.arm for hit in korean} == {"words"}


def test_meaning_finds_what_shares_no_word(docs):
    docs.add("docs")
    assert docs.search("Which lunch dish can staff eat?", 1)[0].document.endswith("food.txt")


def test_what_a_smoke_model_makes_up_is_replaced_by_sentences_of_the_passages(docs):
    docs.add("docs")
    question = "When does the nightly backup start?"
    made_up = answer(FixedChat("At noon, by hand."), question, docs.search(question, 2), {}, 1200)
    assert made_up.extractive and made_up.smoke and "03:15" in made_up.text and "[1]" in made_up.text and "stands in no passage" in made_up.why
    assert "extractive" in repr(made_up) and "Extractive" in made_up._repr_html_()
    real = answer(FixedChat("At noon, by hand.", smoke=False), question, docs.search(question, 2), {}, 1200)
    assert (real.text, real.extractive, real.why) == ("At noon, by hand.", False, "")


def test_hits_point_to_the_characters_they_quote(docs):
    docs.add("docs")
    for hit in docs.search("backup canteen March", 50):
        assert Path(hit.document).read_text(encoding="utf-8")[hit.start:hit.end] == hit.text


def test_an_answer_cites_what_the_model_was_given(docs, chat):
    docs.add("docs")
    found = docs.ask("When does the nightly backup start in the canteen?", topk=3)
    assert found.text == "Starts at 03:15 [1]." and found.smoke and "smoke" in repr(found) and "smoke" in found._repr_html_()
    assert [citation.number for citation in found.citations] == [1, 2] and len(found.hits) == 3  # two that follow each other are one passage
    messages, options = chat.asked[0]
    for citation in found.citations:
        assert Path(citation.path).read_text(encoding="utf-8")[citation.start:citation.end] == citation.quote and citation.current
        assert f"[{citation.number}] {citation.quote}" in messages[1]["content"]
    assert options == {"max_tokens": 256, "temperature": 0.0}


def test_a_citation_says_when_its_file_has_changed_since(docs, folder):
    docs.add("docs")
    (folder / "backup.md").write_text("# Moved\n")
    (folder / "food.txt").unlink()
    found = docs.ask("backup canteen", topk=50)
    assert {Path(row.path).name for row in found.citations if not row.current} == {"backup.md", "food.txt"}
    assert {row.state for row in found.citations if not row.current} == {"stale", "missing"} and "(stale)" in repr(found)


def test_without_a_hit_the_model_is_not_asked(docs, chat):
    docs.add("docs/ko.md")
    found = docs.ask("헬륨 압축기?")
    assert (found.text, found.reply, found.citations, found.smoke) == ("문서에서 찾을 수 없습니다.", None, (), False)
    assert chat.asked == []


def test_the_context_keeps_to_its_budget_and_halves_when_the_model_cannot_hold_it():
    hits = [Hit("/d.txt", None, 0, 300, "x" * 300, 1.0, "words", index) for index in range(4)]
    assert [len(hit.text) for hit in fit(hits, 180)] == [300, 300]
    assert [(len(hit.text), hit.end) for hit in fit(hits, 29)] == [(101, 101)]
    chat = FixedChat(ContextOverflow("too long"), "short", smoke=False)
    found = answer(chat, "x?", [replace(hit, document=f"/{hit.chunk}.txt") for hit in hits], {}, 1200)
    assert len(chat.asked) == 2 and len(found.citations) == 2 and len(found.hits) == 4 and not found.smoke
    with pytest.raises(ContextOverflow):
        answer(FixedChat(ContextOverflow("too long")), "x?", hits, {}, 1200)


@pytest.mark.parametrize(("question", "topk"), [("", None), (" \n", None), (None, None), ("x" * 4001, None), ("\ud800", None), ("a", 0), ("a", 51),
                                                ("a", True), ("a", 2.0)])
def test_a_question_that_cannot_be_asked_is_refused(docs, question, topk):
    docs.add("docs")
    with pytest.raises(BadRequest):
        docs.search(question, topk)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 81, "a\0"])
def test_a_name_that_cannot_be_a_collection_is_refused(make, tmp_path, name):
    with pytest.raises(BadRequest):
        Collection(make(), name, tmp_path)


def test_asking_an_unknown_collection_says_how_to_fill_it_and_creates_nothing(make, store):
    with pytest.raises(NotFound, match="add some first"):
        make().ask("nothing", "Is it there?")
    assert store.collections() == []


@pytest.mark.parametrize("name", ["규정집", "Handbook", "handbook", "x-ray", "a.b", "y" * 80])
def test_any_language_may_name_a_collection_and_none_collide(make, folder, name):
    part = make()
    for other in ("other", name):
        Collection(part, other, folder).add("food.txt")
    assert {row["name"]: row["documents"] for row in part.collections()} == {"other": 1, name: 1}
    assert Collection(part, name, folder).drop() and not Collection(part, name, folder).drop()
    assert [row["name"] for row in part.collections()] == ["other"]


FAILURES = [("create", 1), ("upsert", 1), ("upsert", 2), ("delete", 1), ("flush", 1)]


@pytest.mark.parametrize(("method", "nth"), FAILURES)
@pytest.mark.parametrize("change_back", [False, True])
def test_a_crash_at_any_write_leaves_what_the_next_add_mends(make, folder, monkeypatch, method, nth, change_back):
    monkeypatch.setattr("suite.knowledge.index.GROUP", 3)  # so that a few documents need many writes
    calls: list[str] = []
    breaking = [False]

    def fail(name, _collection):
        if breaking[0]:
            calls.append(name)
            if calls.count(method) == nth and name == method:
                raise StorageError("The power went.")

    store = MemoryStore(fail)
    docs = Collection(make(store=store, embedder=StandInEmbedder()), "handbook", folder)
    docs.add("*")
    before = (folder / "food.txt").read_text()
    (folder / "food.txt").write_text("The canteen moved. " * 20)
    (folder / "new.txt").write_text("A new lift was built. " * 20)
    breaking[0] = True
    with pytest.raises(StorageError):
        docs.add("*")
    breaking[0] = False
    if change_back:
        (folder / "food.txt").write_text(before)
    docs.add("*")
    name = store_name("handbook")
    texts = {document.path: Path(document.path).read_text() for document in docs.documents()}
    assert len(texts) == 4 and all(document.complete for document in docs.documents())
    assert store.count(name) == docs.count()
    for point in store.scroll(name, limit=1000):
        assert texts[point.payload["document"]][point.payload["start"]:point.payload["end"]] == point.payload["text"]
    assert docs.add("*").unchanged == 4


def test_a_database_that_fails_after_the_vectors_were_written_is_mended_too(make, folder, storage, monkeypatch):
    part = make(store=MemoryStore(), embedder=StandInEmbedder())
    docs = Collection(part, "handbook", folder)
    record = part._index._record

    def broken(known, rows, states, begun=False):
        if begun:
            raise StorageError("The disk is full.")
        record(known, rows, states)

    monkeypatch.setattr(part._index, "_record", broken)
    with pytest.raises(StorageError):
        docs.add("food.txt")
    assert [document.complete for document in docs.documents()] == [False]
    monkeypatch.undo()
    added = docs.add("food.txt")
    assert added.changed == 1 and [document.complete for document in docs.documents()] == [True]


def test_points_that_the_store_lost_are_written_again(docs, folder, store):
    docs.add("docs")
    store.delete(store_name("handbook"), where={"document": str(folder / "food.txt")})
    added = docs.add("docs")
    assert (added.changed, added.unchanged) == (1, 2)
    store.drop(store_name("handbook"))
    assert docs.add("docs").changed == 3


def test_a_repeated_write_has_the_same_ids(make, folder):
    ids = []
    for _ in range(2):
        store = MemoryStore()
        part = make(store=store, embedder=StandInEmbedder())
        Collection(part, "handbook", folder).add("*")
        ids.append({point.id for point in store.scroll(store_name("handbook"), limit=100)})
        part.drop("handbook")
    assert ids[0] == ids[1] and len(ids[0]) > 3


def test_two_threads_may_add_the_same_folder_at_once(docs, folder, store):
    failures = []

    def work():
        try:
            docs.add("docs")
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and store.count(store_name("handbook")) == docs.count()


def test_only_a_chunk_that_the_model_reads_has_a_dense_vector(docs, store):
    docs.add("docs")
    vectors = {(Path(point.payload["document"]).name, point.vector is None) for point in store.scroll(store_name("handbook"), limit=100)}
    assert vectors == {("backup.md", False), ("food.txt", False), ("ko.md", True)}


def test_an_embedder_without_weights_is_not_ready_and_nothing_counts_as_indexed(make, folder, tmp_path, settings):
    from suite.embedding.embed import Embedder

    docs = Collection(make(embedder=Embedder(settings, tmp_path / "none", tmp_path)), "handbook", folder)
    with pytest.raises(NotReady):
        docs.add("food.txt")
    assert all(not document.complete for document in docs.documents())


def test_ready_names_what_is_below_and_deep_proves_the_whole_way(make, store, storage, settings):
    part = make()
    assert part.ready().ok and part.live().ok
    state = part.deep()
    assert state.ok and state.facts["arm"] == "both" and state.facts["smoke"] is True, state
    assert part.collections() == [] and store.collections() == []
    assert list((settings.data_dir / "cache").iterdir()) == []
    failing = MemoryStore()
    failing.state = bad("The vector store is closed.", retry_after=7)
    state = make(store=failing).ready()
    assert not state.ok and state.reasons == ("The vector store is closed.",) and state.retry_after == 7
    with storage.begin() as connection:
        connection.execute(sa.text("DROP TABLE documents"))
    assert not part.ready().ok


def test_deep_leaves_nothing_behind_when_the_model_fails(make, store, settings):
    state = make(chat=FixedChat(NotReady("The chat model is not loaded."))).deep()
    assert not state.ok and "The chat model is not loaded." in state.reasons[0]
    assert store.collections() == [] and list((settings.data_dir / "cache").iterdir()) == []


def test_records_survive_json(docs):
    added = docs.add("docs", "absent.md")
    found = docs.ask("When does the nightly backup start?")
    assert Added.from_dict(json.loads(json.dumps(added.to_dict()))) == added
    assert Answer.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert [Document.from_dict(json.loads(json.dumps(row.to_dict()))) for row in docs.documents()] == docs.documents()
    assert "absent.md: no file matches" in repr(added) and "absent.md" in added._repr_html_()


def test_the_table_says_how_each_document_was_indexed(docs, storage, embedder):
    docs.add("docs/food.txt")
    with storage.begin() as connection:
        row = connection.execute(sa.select(documents)).one()
    assert (row.embedder, row.split, row.bytes, len(row.sha256)) == (embedder.model.name, "16/0/3/2/1", len(TEXTS["food.txt"]), 64)
