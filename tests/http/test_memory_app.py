from __future__ import annotations

import inspect

import httpx
import pytest

from suite.errors import BadRequest, NotFound, StorageError
from suite.http import memory as memory_app
from suite.http.client import Client
from suite.http.problem import add_problems
from suite.http.remote_memory import RemoteMemory
from suite.http.serve import HttpServers, bind
from suite.memory.memory import Memory
from suite.monitoring.probe import bad
from suite.serving.reply import Reply
from suite.settings import load
from suite.storage.engine import open_storage
from suite.testing import MemoryStore, StandInEmbedder


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def part(tmp_path, store):
    storage = open_storage("", tmp_path)
    yield Memory(storage, store, StandInEmbedder(), load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path))
    storage.close()


@pytest.fixture
def client(part):
    app, servers, sock = memory_app.app(part), HttpServers(), bind("127.0.0.1", 0, "memory-api")
    add_problems(app)
    servers.start({"memory-api": (sock, app)})
    with Client(f"http://127.0.0.1:{sock.getsockname()[1]}", "token") as opened:
        yield opened
    servers.stop()


@pytest.fixture
def guest(client):
    return RemoteMemory(client)


def plain(client, method, path, **options):
    """A request as any other client would send it: no error is raised."""
    return httpx.request(method, str(client.base_url).rstrip("/") + path, trust_env=False, **options)


def save(client, **values):
    body = {"user_query": "When does the backup start?", "ai_response": "At 03:15."} | values
    return client.post("/v1/memory/conversations", json=body).json()


def test_a_turn_is_saved_found_counted_and_deleted(client):
    saved = save(client, project_id="팀/연구", model_used="m", tags=["x"], importance=7)
    assert saved["success"] and (saved["project_id"], saved["importance_score"]) == ("팀/연구", 7)
    for how in ({}, {"use_vector_search": True}, {"how": "vector"}):
        body = client.post("/v1/memory/conversations/search", json={"query": "backup start", "project_id": "팀/연구"} | how).json()
        assert body["total_results"] == 1 and body["results"][0]["conversation_id"] == saved["conversation_id"], body
        assert body["results"][0]["ai_response"] == "At 03:15." and body["search_type"] == how.get("how", "hybrid" if how else "words")
    for path in ("/v1/memory/projects/팀/연구/stats", "/v1/memory/projects/%ED%8C%80%2F%EC%97%B0%EA%B5%AC/stats"):
        assert client.get(path).json()["stats"]["memories"] == 1
    assert client.get("/v1/memory/projects").json()["total_projects"] == 1
    path = f"/v1/memory/conversations/{saved['conversation_id']}"
    assert client.get(path).json()["question"] == "When does the backup start?"
    assert client.delete(path).json()["success"]
    assert plain(client, "DELETE", path).status_code == plain(client, "GET", path).status_code == 404


def test_the_importance_rule_decides_when_none_is_given(client):
    assert save(client, user_query="hi", ai_response="Hello!")["importance_score"] == 1


@pytest.mark.parametrize(("path", "body", "status", "word"), [
    ("", {"user_query": " ", "ai_response": "x"}, 400, "question is blank"),
    ("", {"user_query": "x", "ai_response": "x", "importance": 11}, 400, "importance"),
    ("", {"user_query": "x"}, 422, "ai_response"),
    ("", {"user_query": "x", "ai_response": "y", "context": {}}, 422, "context"),
    ("/search", {"query": " "}, 400, "query is blank"),
    ("/search", {"query": "x", "limit": 0}, 400, "limit"),
    ("/search", {"query": "x", "limit": 1000}, 400, "limit"),
    ("/search", {"query": "x", "how": "fts5"}, 400, "fts5"),
    ("/search", {"query": "백업", "how": "vector"}, 400, "does not read"),
    ("/search", {}, 422, "query"),
])
def test_a_bad_request_is_answered_with_its_reason(client, path, body, status, word):
    answer = plain(client, "POST", f"/v1/memory/conversations{path}", json=body)
    assert answer.status_code == status and word in answer.json()["error"]["message"], answer.text


def test_health_shows_both_flags_and_is_a_503_when_one_is_down(client, store):
    answer = plain(client, "GET", "/v1/memory/health")
    assert answer.status_code == 200 and answer.json()["storage_available"] and answer.json()["vector_enabled"]
    store.state = bad("The vector store is closed.", retry_after=9)
    answer = plain(client, "GET", "/v1/memory/health")
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "9"
    assert answer.json()["storage_available"] and not answer.json()["vector_enabled"] and answer.json()["status"] == "unhealthy"


def test_a_guest_gets_the_same_as_the_host(guest, part):
    saved = guest.remember("When does the backup start?", Reply("At 03:15.", 3, 3, 0.1, "tiny", smoke=True), tags=["a"], session="s", importance=6)
    assert part.get(saved.id) == guest.get(saved.id) and saved.smoke and saved.model == "tiny"
    part.remember("백업은 몇 시에 도나요?", "세 시 십오 분에 돕니다.", project="팀/연구")
    for how in ("hybrid", "words", "vector"):
        assert guest.recall("When does the backup start?", how=how) == part.recall("When does the backup start?", how=how) != []
    assert guest.recall("백업", project="팀/연구") == part.recall("백업", project="팀/연구") != []
    assert guest.stats() == part.stats() and guest.stats("팀/연구") == part.stats("팀/연구")
    assert guest.projects() == part.projects()
    assert guest.sync() == part.sync()
    assert guest.forget(saved.id) is True and guest.forget(saved.id) is False
    assert guest.expire() == 0 and guest.expire(1e12) == 1 and part.projects() == []


@pytest.mark.parametrize("call", [
    lambda face: face.remember("", "x"), lambda face: face.remember("x", "\ud800"), lambda face: face.recall("\ud800"), lambda face: face.recall(" "),
    lambda face: face.recall("x", how="magic"), lambda face: face.recall("x", limit=0), lambda face: face.get("no/such"),
    lambda face: face.remember("x", "y", importance=0),
])
def test_a_guest_raises_what_the_host_raises(guest, part, call):
    raised = []
    for face in (part, guest):
        with pytest.raises((BadRequest, NotFound)) as caught:
            call(face)
        raised.append((type(caught.value), caught.value.message))
    assert raised[0] == raised[1]


def test_a_turn_whose_vector_waits_is_saved_all_the_same_and_says_so(guest, part, store):
    def fail(_method, _name):
        raise StorageError("The disk is full.")

    store.fail = fail
    saved = guest.remember("When does the backup start?", "At 03:15.")
    assert saved.sync == "pending" and "The disk is full." in saved.why
    with pytest.raises(StorageError, match="The disk is full"):
        guest.sync()
    store.fail = None
    assert guest.sync()["synced"] == 1


def test_the_guest_has_every_public_method_of_the_host():
    own = {"start", "close", "live", "ready", "deep"}
    for name, method in inspect.getmembers(Memory, inspect.isfunction):
        if not name.startswith("_") and name not in own:
            here, there = inspect.signature(method), inspect.signature(getattr(RemoteMemory, name))
            assert list(here.parameters) == list(there.parameters), name
            assert [row.default for row in here.parameters.values()] == [row.default for row in there.parameters.values()], name
