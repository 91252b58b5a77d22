from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from suite.errors import BadRequest, NotFound, NotReady, StorageError
from suite.memory.importance import DAY
from suite.memory.memory import Memory
from suite.memory.recall import by_words, fuse
from suite.memory.record import Recalled, Remembered, store_name
from suite.memory.table import memories, memory_removals
from suite.memory.words import K1, B
from suite.monitoring.probe import bad
from suite.serving.reply import Reply
from suite.testing import MemoryStore, StandInEmbedder
from suite.text.terms import terms

TURNS = [
    ("When does the nightly backup start?", "It starts at 03:15 and takes nine minutes."),
    ("What does the canteen serve on Fridays?", "Bibimbap, and a soup for vegetarians."),
    ("How do I call open() in C++?", "Use std::ifstream; what's more, close it."),
    ("휴가는 언제까지 신청해야 하나요?", "두 주 전에 팀장에게 신청해야 합니다."),
    ("파일을 어디에 저장하나요?", "공유 폴더의 문서 디렉터리에 저장합니다."),
]


@pytest.fixture
def make(storage, store, embedder, settings):
    def build(**other):
        return Memory(**({"storage": storage, "store": store, "embedder": embedder, "settings": settings} | other))
    return build


@pytest.fixture
def memory(make):
    return make()


@pytest.fixture
def filled(memory):
    for question, reply in TURNS:
        memory.remember(question, reply)
    memory.sync()
    return memory


def rows(storage, table):
    with storage.begin() as connection:
        return connection.execute(sa.select(table)).all()


def indexed(storage):
    """The numbers of the turns in the word index, read as the database keeps it."""
    with storage.begin() as connection:
        return sorted(connection.execute(sa.text("SELECT id FROM memory_words_content")).scalars())


def in_project(memory, *names):
    for name in names:
        memory.create_project(name)


def test_a_turn_is_stored_verbatim(memory):
    question, reply = "  줄 하나\n줄 둘\t끝 ", "```py\nx = 1\n```\n\u200b👩‍👩‍👧 é "
    saved = memory.remember(question, reply, tags=["work", "한국어"], session="s1", importance=8, model="m")
    assert saved.sync == "pending" and memory.sync()["synced"] == 1 and memory.get(saved.id).sync == "synced"
    found = memory.get(saved.id)
    assert (found.question, found.reply, found.tags, found.session, found.model) == (question, reply, ("work", "한국어"), "s1", "m")
    assert found.project == "default-project" and found.importance == 8
    assert found.expires == pytest.approx(found.created + 180 * DAY)


def test_a_reply_record_brings_its_model_and_a_smoke_reply_stays_marked(memory):
    saved = memory.remember("Hello there, who are you?", Reply("I am words.", 3, 4, 0.1, "tiny.gguf", smoke=True))
    found = memory.get(saved.id)
    assert (found.model, found.smoke) == ("tiny.gguf", True)
    assert "smoke" in repr(found) and "smoke" in found._repr_html_()
    assert memory.recall("who are you")[0].smoke
    assert not memory.remember("And you?", Reply("I am real.", 3, 4, 0.1, "big.gguf", smoke=False)).smoke


@pytest.mark.parametrize(("query", "place"), [
    ("nightly backup", 0), ("bibimbap", 1), ("C++", 2), ("what's open()", 2), ("휴가 신청", 3), ("파일", 4), ("폴더에", 4),
])
def test_words_find_the_turn_that_has_them(filled, query, place):
    assert filled.recall(query, how="words")[0].question == TURNS[place][0]


def test_vectors_find_the_turn_that_means_it(filled):
    found = filled.recall("At what hour is the data saved at night?", how="vector")
    assert found[0].question == TURNS[0][0] and found[0].arm == "vector"


def test_both_arms_are_fused(filled):
    found = filled.recall("When does the nightly backup start?")
    assert found[0].question == TURNS[0][0] and found[0].arm == "both" and found[0].note == ""


def test_a_query_that_the_model_cannot_read_is_searched_by_words_and_says_so(filled):
    found = filled.recall("휴가 신청은 언제?")
    assert found[0].question == TURNS[3][0] and found[0].arm == "words"
    assert "does not read this query (language: ko)" in found[0].note and "only words" in repr(found[0])
    with pytest.raises(BadRequest, match="does not read"):
        filled.recall("휴가 신청은 언제?", how="vector")


def test_words_are_ranked_as_bm25_does(storage, make):
    memory = make(store=MemoryStore(), embedder=StandInEmbedder())
    turns = [("alpha beta", "beta gamma gamma"), ("alpha", "delta " * 30), ("beta beta beta", "x"), ("z", "y")]
    ids = [memory.remember(*turn).id for turn in turns]
    memory.sync()
    documents = [Counter(terms(f"{question}\n{reply}")) for question, reply in turns]
    mean = sum(document.total() for document in documents) / len(documents)

    def score(document):
        total = 0.0
        for term in ("alpha", "beta"):
            spread = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - spread + 0.5) / (spread + 0.5))
            total += idf * document[term] * (K1 + 1) / (document[term] + K1 * (1 - B + B * document.total() / mean))
        return total

    expected = sorted(((identity, score(document)) for identity, document in zip(ids, documents, strict=True) if score(document)),
                      key=lambda pair: -pair[1])
    found = by_words(storage, "default-project", "beta ALPHA beta", 10)
    assert [identity for identity, _ in found] == [identity for identity, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])


def test_fusion_rewards_what_both_arms_found():
    assert [identity for identity, _ in fuse([("a", 9), ("b", 5)], [("c", 1), ("b", 0.5)])] == ["b", "a", "c"]


def test_projects_do_not_see_each_other(memory):
    in_project(memory, "one", "two")
    memory.remember("Which secret?", "The blue lamp.", project="one")
    memory.remember("Which secret?", "The red lamp.", project="two")
    for how in ("words", "vector", "hybrid"):
        assert [row.reply for row in memory.recall("Which secret lamp?", how=how, project="one")] == ["The blue lamp."]
    assert memory.recall("Which secret lamp?") == []
    assert [(row.id, row.memories) for row in memory.projects()] == [("default-project", 0), ("one", 1), ("two", 1)]


@pytest.mark.parametrize("project", ["팀/연구", "../etc", "A", "a", "x-1", "p" * 120])
def test_any_text_may_name_a_project_and_none_share_a_collection(memory, project):
    in_project(memory, project)
    memory.remember("Which lamp is it?", "The blue one.", project=project)
    assert memory.recall("Which lamp?", how="vector", project=project)[0].reply == "The blue one."
    others = {"팀/연구", "../etc", "A", "a", "x-1", "p" * 120} - {project}
    assert store_name(project) not in {store_name(other) for other in others}


@pytest.mark.parametrize("values", [
    {"question": ""}, {"question": " \n"}, {"question": None}, {"question": "a\0b"}, {"question": "\ud800"}, {"question": "x" * 200_001},
    {"reply": ""}, {"importance": 0}, {"importance": 11}, {"importance": True}, {"importance": "5"}, {"project": "p" * 121}, {"tags": [""]},
    {"tags": [5]}, {"tags": [f"t{number}" for number in range(33)]}, {"session": "s" * 121},
])
def test_a_turn_that_cannot_be_stored_is_refused_whole(memory, storage, values):
    with pytest.raises(BadRequest):
        memory.remember(**({"question": "A question?", "reply": "A reply."} | values))
    assert rows(storage, memories) == [] and indexed(storage) == []


@pytest.mark.parametrize("values", [{"query": " "}, {"query": None}, {"query": "x" * 4001}, {"how": "fts"}, {"limit": 0}, {"limit": 101},
                                    {"limit": 1.5}])
def test_a_recall_that_makes_no_sense_is_refused(memory, values):
    with pytest.raises(BadRequest):
        memory.recall(**({"query": "lamp"} | values))


def test_a_query_without_any_term_finds_nothing_by_words(filled):
    assert filled.recall("?!…", how="words") == []


def test_a_broken_store_loses_no_turn_and_the_next_sync_writes_its_vector(make, storage):
    broken = [True]

    def fail(method, _name):
        if broken[0]:
            raise StorageError("The disk is full.")

    memory = make(store=MemoryStore(fail))
    saved = memory.remember("When does the backup start?", "At 03:15.")
    assert saved.sync == "pending"
    assert memory.recall("backup", how="words")[0].id == saved.id
    with pytest.raises(StorageError, match="The disk is full"):
        memory.recall("When does the backup start?", how="vector")
    found = memory.recall("When does the backup start?")
    assert [row.id for row in found] == [saved.id] and found.note == "The disk is full, so only words counted."
    assert memory.ready().facts["pending"] == 1
    with pytest.raises(StorageError):
        memory.sync()
    broken[0] = False
    assert memory.sync() == {"synced": 1, "failed": 0, "removed": 0, "pending": 0}
    assert memory.recall("When does the backup start?", how="vector")[0].id == saved.id
    assert memory.get(saved.id).sync == "synced"


def test_an_embedder_that_is_not_ready_loses_no_turn(make, settings, tmp_path):
    from suite.embedding.embed import Embedder

    memory = make(embedder=Embedder(settings, tmp_path / "none", tmp_path))
    saved = memory.remember("When does the backup start?", "At 03:15.")
    assert saved.sync == "pending"
    state = memory.ready()
    assert not state.ok and state.facts["storage"] is True and state.facts["vectors"] is False
    with pytest.raises(NotReady):
        memory.sync()


def test_a_text_that_cannot_be_embedded_fails_alone(make):
    class Picky(StandInEmbedder):
        def embed(self, texts, kind="passage"):
            if any("poison" in text for text in texts):
                raise BadRequest("One of the texts cannot be read.")
            return super().embed(texts, kind)

    offline = [True]

    def fail(method, _name):
        if offline[0]:
            raise StorageError("down")

    memory = make(store=MemoryStore(fail), embedder=Picky())
    for text in ("the first lamp is here", "poison is in this one", "the last lamp is here"):
        memory.remember("What is it?", text)
    offline[0] = False
    assert memory.sync() == {"synced": 2, "failed": 1, "removed": 0, "pending": 1}
    assert memory.stats()["sync"] == {"failed": 1, "synced": 2}


@pytest.mark.parametrize("loss", ["some points", "the collection", "another size", "another model"])
def test_a_store_that_lost_vectors_is_filled_again(make, filled, store, loss):
    name = store_name("default-project")
    memory = filled
    if loss == "some points":
        store.delete(name, [filled.recall("bibimbap")[0].id])
    elif loss == "the collection":
        store.drop(name)
    elif loss == "another size":
        memory = make(embedder=StandInEmbedder(16))
    else:
        memory = make(embedder=StandInEmbedder(384, model="another"))
    assert memory.sync()["synced"] == len(TURNS)
    assert store.count(name) == len(TURNS)
    assert memory.sync()["synced"] == 0
    assert memory.recall("What does the canteen serve on Fridays?", how="vector")[0].question == TURNS[1][0]


def test_what_is_forgotten_is_gone_everywhere(filled, store, storage):
    doomed = filled.recall("bibimbap")[0]
    proof = filled.forget(doomed.id)
    assert proof and (proof.rows, proof.words, proof.vectors, proof.queued) == (0, 0, 0, 0)
    assert not filled.forget(doomed.id)
    with pytest.raises(NotFound):
        filled.get(doomed.id)
    assert all(row.id != doomed.id for how in ("words", "vector") for row in filled.recall("Which bibimbap does the canteen serve?", how=how))
    assert store.get(store_name("default-project"), [doomed.id]) == []
    assert rows(storage, memory_removals) == [] and len(indexed(storage)) == len(TURNS) - 1


def test_a_removal_that_could_not_be_made_is_made_by_the_next_sync_and_never_shown(make, storage):
    broken = [False]

    def fail(method, _name):
        if broken[0]:
            raise StorageError("down")

    store = MemoryStore(fail)
    memory = make(store=store)
    saved = memory.remember("When does the backup start?", "At 03:15.")
    memory.sync()
    broken[0] = True
    proof = memory.forget(saved.id)
    assert proof and (proof.vectors, proof.queued) == (1, 1) and len(rows(storage, memory_removals)) == 1
    broken[0] = False
    assert store.count(store_name("default-project")) == 1 and memory.recall("When does the backup start?", how="vector") == []
    broken[0] = False
    assert memory.sync()["removed"] == 1
    assert store.count(store_name("default-project")) == 0 and rows(storage, memory_removals) == []


def test_a_turn_forgotten_while_it_is_embedded_leaves_no_vector(make, storage):
    store = MemoryStore()

    class Slow(StandInEmbedder):
        def embed(self, texts, kind="passage"):
            with storage.begin() as connection:  # another thread forgets it just now
                connection.execute(sa.delete(memories))
            return super().embed(texts, kind)

    memory = make(store=store, embedder=Slow())
    memory.remember("When does the backup start?", "At 03:15.")
    assert memory.sync()["pending"] == 0
    assert store.count(store_name("default-project")) == 0


def test_expired_turns_are_deleted_with_their_vectors_and_not_a_moment_earlier(memory, store):
    short = memory.remember("hello", "Hi!", importance=1)
    kept = memory.remember("Where is the lamp?", "In the hall.", importance=10)
    assert kept.expires is None and memory.sync()["synced"] == 2
    assert memory.expire(short.expires - 1) == 0
    assert memory.expire(short.expires) == 1
    assert memory.expire(time.time() + 1000 * 365 * DAY) == 0
    assert store.count(store_name("default-project")) == 1
    assert memory.get(kept.id).reply == kept.reply


def test_an_expired_turn_is_not_found_even_before_the_sweep(memory, storage):
    memory.remember("Where is the lamp?", "In the hall.")
    with storage.begin() as connection:
        connection.execute(sa.update(memories).values(expires=time.time() - 1))
    assert all(memory.recall("Where is the lamp?", how=how) == [] for how in ("words", "vector", "hybrid"))
    assert memory.stats()["memories"] == 0 and [row.memories for row in memory.projects()] == [0]


def test_more_turns_than_one_statement_holds_expire_together(make, storage):
    memory = make(store=MemoryStore(), embedder=StandInEmbedder())
    now = time.time()
    with storage.begin() as connection:
        connection.execute(sa.insert(memories), [
            {"id": f"id-{number}", "project": "p", "question": "q", "reply": "r", "model": "", "session": "", "tags": "[]", "importance": 1,
             "length": 1, "created": now, "valid_from": now, "expires": now - 1, "sync": "pending"} for number in range(1201)])
    assert memory.expire() == 1201 and rows(storage, memories) == []


def test_stats_count_what_is_there(filled):
    filled.remember("Keep this, please.", "Yes, for ever.", importance=10, model="m")
    filled.sync()
    in_project(filled, "nobody")
    stats = filled.stats()
    assert stats["memories"] == 6 and stats["importance"]["10"] == 1 and stats["models"] == {"": 5, "m": 1} and stats["sync"] == {"synced": 6}
    assert stats["oldest"] <= stats["newest"] <= time.time()
    empty = filled.stats("nobody")
    assert (empty["memories"], empty["importance_mean"]) == (0, None) and [row.id for row in filled.projects()] == ["default-project", "nobody"]


def test_threads_may_remember_at_once(memory, store):
    failures = []

    def work(number):
        try:
            for turn in range(5):
                memory.remember(f"Where is lamp {number}-{turn}?", "In the hall.")
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.sync()
    assert not failures and memory.stats()["memories"] == 20 and store.count(store_name("default-project")) == 20


def test_ready_flags_storage_and_vectors(memory, make, storage):
    assert memory.ready().facts == {"storage": True, "vectors": True, "pending": 0}
    down = MemoryStore()
    down.state = bad("The vector store is closed.")
    state = make(store=down).ready()
    assert not state.ok and state.facts["vectors"] is False and "The vector store is closed." in state.reasons
    with storage.begin() as connection:
        connection.execute(sa.text("DROP TABLE memory_removals"))
    state = memory.ready()
    assert not state.ok and state.facts["storage"] is False


def test_deep_saves_finds_and_deletes_and_leaves_nothing(memory, store, storage):
    state = memory.deep()
    assert state.ok and all(state.facts[name] is True for name in ("saved", "words", "vector", "deleted")), state
    assert store.collections() == [] and rows(storage, memories) == rows(storage, memory_removals) == indexed(storage) == []


@pytest.mark.parametrize("method", ["create", "upsert"])
def test_deep_is_red_and_clean_when_the_vector_arm_fails(make, storage, method):
    def fail(name, _collection):
        if name == method:
            raise StorageError("The disk is full.")

    store = MemoryStore(fail)
    state = make(store=store).deep()
    assert not state.ok and "The disk is full." in state.reasons[0]
    assert store.collections() == [] and rows(storage, memories) == [] and rows(storage, memory_removals) == []


def test_deep_is_red_when_the_embedder_lies_about_its_size(make):
    state = make(embedder=StandInEmbedder(16, claims=384)).deep()
    assert not state.ok


def test_records_survive_json(filled):
    saved = filled.remember("Where is the lamp?", "In the hall.", tags=["x"])
    assert Remembered.from_dict(json.loads(json.dumps(saved.to_dict()))) == saved
    found = filled.recall("휴가 lamp")
    assert [Recalled.from_dict(json.loads(json.dumps(row.to_dict()))) for row in found] == found


def test_turns_that_an_earlier_version_kept_are_found_by_todays_words_after_a_sync(memory, storage):
    kept = [memory.remember(f"Where are the backups of room {number}?", "In the cellar.") for number in range(3)]
    memory.sync()
    with storage.begin() as connection:  # as an earlier version left them: other terms, other recipe
        connection.execute(sa.text("DELETE FROM memory_words WHERE rowid = 1"))
        connection.execute(sa.update(memories).where(memories.c.id == kept[0].id).values(recipe=0, length=1))
    assert kept[0].id not in [row[0] for row in by_words(storage, "default-project", "backup", 10)]
    memory.sync()
    assert {row.id for row in memory.recall("backup", how="words")} == {row.id for row in kept}
    with storage.read() as connection:
        assert len(set(connection.execute(sa.select(memories.c.recipe)).scalars())) == 1
        assert len(set(connection.execute(sa.select(memories.c.length)).scalars())) == 1
