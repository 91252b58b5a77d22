from __future__ import annotations

import inspect
from dataclasses import replace

import httpx
import pytest

from suite.errors import BadRequest, NotFound, NotReady
from suite.http import retrieval
from suite.http.client import Client
from suite.http.problem import add_problems
from suite.http.remote_knowledge import RemoteKnowledge
from suite.http.serve import HttpServers, bind
from suite.knowledge.collection import Collection
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.record import RETRIEVERS
from suite.settings import load
from suite.storage.engine import open_storage
from suite.testing import FixedChat, StandInEmbedder
from suite.vectors.edge import EdgeStore

TEXT = "The nightly backup starts at 03:15. 백업은 새벽에 돕니다.\n"


@pytest.fixture
def part(tmp_path):
    storage, store = open_storage("", tmp_path), EdgeStore(tmp_path / "vectors")
    store.open()
    settings = load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path)
    yield Knowledge(storage, store, StandInEmbedder(), FixedChat("At 03:15 [1]."), settings)
    store.close()
    storage.close()


@pytest.fixture
def client(part):
    app, servers, sock = retrieval.app(part), HttpServers(), bind("127.0.0.1", 0, "rag")
    add_problems(app)
    servers.start({"rag": (sock, app)})
    with Client(f"http://127.0.0.1:{sock.getsockname()[1]}", "token") as opened:
        yield opened
    servers.stop()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "backup.md").write_text(TEXT, encoding="utf-8")
    (folder / "pic.png").write_bytes(b"")
    return folder


def plain(client, method, path, **options):
    """A request as any other client would send it: no error is raised."""
    return httpx.request(method, str(client.base_url).rstrip("/") + path, trust_env=False, **options)


def test_index_then_query_gives_an_answer_with_text_and_citations(client, folder):
    added = client.post("/index", json={"collection": "handbook", "paths": [str(folder)]}).json()
    assert (added["collection"], added["new"], added["chunks"]) == ("handbook", 1, 1)
    assert added["skipped"][0][0].endswith("pic.png")
    body = client.post("/query", json={"query": "When does the backup start?", "collection": "handbook", "topk": 1}).json()
    assert body["answer"] == "At 03:15 [1]." and body["smoke"] is True and body["usage"]["total_tokens"] > 0
    assert body["context"][0]["doc_id"] == str(folder / "backup.md") and body["context"][0]["chunk_id"] == 0
    assert body["context"][0]["text"] == TEXT.strip() and body["context"][0]["score"] > 0
    assert body["citations"][0]["quote"] == TEXT.strip() and body["citations"][0]["current"] is True


def test_a_collection_that_is_not_named_is_the_default_one(client, folder):
    assert client.post("/index", json={"paths": [str(folder)]}).json()["collection"] == "default"
    assert client.post("/query", json={"query": "backup"}).json()["citations"]


@pytest.mark.parametrize(("method", "path", "body", "status", "word"), [
    ("POST", "/query", {"query": " "}, 400, "blank"),
    ("POST", "/query", {"query": "x", "topk": 0}, 400, "topk"),
    ("POST", "/query", {"query": "x", "topk": 51}, 400, "topk"),
    ("POST", "/query", {"query": "x", "collection": "absent"}, 404, "no documents"),
    ("POST", "/query", {"query": "x", "collection": "a/b"}, 400, "cannot name a collection"),
    ("POST", "/query", {"query": 5}, 422, "query"),
    ("POST", "/query", {"query": "x", "top_k": 5}, 422, "top_k"),
    ("POST", "/query", {}, 422, "query"),
    ("POST", "/index", {"paths": ["docs"]}, 400, "relative"),
    ("POST", "/index", {"paths": []}, 400, "No documents are named"),
    ("POST", "/index", {"collection": "x"}, 422, "paths"),
])
def test_a_bad_request_is_answered_with_its_reason(client, method, path, body, status, word):
    answer = plain(client, method, path, json=body)
    assert answer.status_code == status and word in answer.json()["error"]["message"], answer.text


def test_a_question_creates_no_collection(client, part):
    plain(client, "POST", "/query", json={"query": "x", "collection": "absent"})
    assert part.collections() == []


def test_a_guest_gets_the_same_as_the_host(client, part, folder, monkeypatch):
    monkeypatch.chdir("/")
    here, there = Collection(part, "한글-1", folder.parent), Collection(RemoteKnowledge(client), "한글-1", folder.parent)
    added = there.add("docs/*.md", "docs/none.md")
    assert (added.new, [why for _, why in added.skipped]) == (1, ["no file matches"])
    assert here.add("docs/*.md").unchanged == 1
    assert there.documents() == here.documents() and there.count() == here.count() == 1
    for question in ("When does the backup start?", "백업은 언제?"):
        for retriever in RETRIEVERS:
            assert there.search(question, 3, retriever) == here.search(question, 3, retriever)
        assert replace(there.ask(question), cached=True) == here.ask(question)
    assert {**there._face.cache_stats()} == here._face.cache_stats() and there._face.analytics()["total_searches"] == 4
    assert there.rebuild() == here.rebuild() == 1 and there._face.prewarm() == here._face.prewarm()
    assert there._face.clear_cache() == 2 and there._face.optimize() == here._face.optimize()
    assert RemoteKnowledge(client).collections() == part.collections() != []
    assert there.remove("docs/backup.md") is True and there.remove("docs/backup.md") is False
    here.add("docs")
    assert there.drop() is True and there.drop() is False and part.collections() == []


@pytest.mark.parametrize("call", [
    lambda docs: docs.search(" "), lambda docs: docs.search("x", retriever="magic"), lambda docs: docs.ask("x", 99), lambda docs: docs.search("\ud800"), lambda docs: docs.add(),
    lambda docs: docs.add(" "), lambda docs: docs.search("nothing there"),
])
def test_a_guest_raises_what_the_host_raises(client, part, folder, call):
    raised = []
    for face in (part, RemoteKnowledge(client)):
        with pytest.raises((BadRequest, NotFound)) as caught:
            call(Collection(face, "absent", folder))
        raised.append((type(caught.value), caught.value.message))
    assert raised[0] == raised[1]


def test_without_a_model_the_answer_is_taken_from_the_passages_and_says_so(client, part, folder):
    part.add("default", [str(folder)], folder)
    part._chat = FixedChat(NotReady("The chat model is loading.", retry_after=4))
    body = plain(client, "POST", "/query", json={"query": "When does the backup start?"}).json()
    assert body["extractive"] is True and "loading" in body["why"] and body["reply"] is None and "[1]" in body["answer"]
    assert body["answer"].split(" [")[0] in body["citations"][0]["quote"]


def test_a_store_that_is_not_ready_is_a_503_with_retry_after(client, part, folder, monkeypatch):
    part.add("default", [str(folder)], folder)
    monkeypatch.setattr(part._store, "query", lambda *args, **options: (_ for _ in ()).throw(NotReady("The store is loading.", retry_after=4)))
    answer = plain(client, "POST", "/query", json={"query": "backup"})
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "4" and "loading" in answer.json()["error"]["message"]


def test_the_guest_has_every_public_method_of_the_host():
    own = {"start", "close", "live", "ready", "deep"}
    for name, method in inspect.getmembers(Knowledge, inspect.isfunction):
        if not name.startswith("_") and name not in own:
            assert inspect.signature(method) == inspect.signature(getattr(RemoteKnowledge, name)), name
