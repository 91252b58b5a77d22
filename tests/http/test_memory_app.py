"""Port 8005: what clients of the original send and get, and what a bad request is told."""

from __future__ import annotations

import json

import pytest
from memory_stage import plain, save, search

from suite.errors import StorageError
from suite.monitoring.probe import bad


def test_a_turn_is_saved_found_counted_and_deleted(memory_client, memory_part):
    memory_part.create_project("팀/연구")
    client = memory_client
    saved = save(client, project_id="팀/연구", model_used="m", tags=["x"], importance=7)
    assert saved["success"] and (saved["project_id"], saved["importance_score"]) == ("팀/연구", 7) and "importance 7: said to be 7" in saved["message"]
    for how in ({}, {"use_vector_search": True}, {"use_vector": True}, {"how": "vector"}):
        body = search(client, query="backup start", project_id="팀/연구", **how)
        assert body["total_results"] == body["total"] == 1 and body["results"][0]["conversation_id"] == saved["conversation_id"], body
        assert (body["search_type"], body["note"], body["project_id"]) == (how.get("how", "hybrid" if how else "words"), "", "팀/연구")
        row = body["results"][0]
        assert (row["user_query"], row["ai_response"], row["model_used"], row["tags"]) == ("When does the backup start?", "At 03:15.", "m", ["x"])
    for path in ("/v1/memory/projects/팀/연구/stats", "/v1/memory/projects/%ED%8C%80%2F%EC%97%B0%EA%B5%AC/stats"):
        stats = client.get(path).json()["stats"]
        assert stats["memories"] == stats["total_conversations"] == 1 and stats["model_usage"] == {"m": 1}
    rows = {row["project_id"]: row["total_conversations"] for row in client.get("/v1/memory/projects").json()["projects"]}
    assert rows["팀/연구"] == 1
    path = f"/v1/memory/conversations/{saved['conversation_id']}"
    assert client.get(path).json() == client.get(path.replace("conversations", "conversation")).json()
    assert client.get(path).json()["question"] == "When does the backup start?"
    gone = client.delete(path).json()
    assert gone["success"] and (gone["rows"], gone["words"], gone["vectors"]) == (0, 0, 0)
    assert plain(client, "DELETE", path).status_code == plain(client, "GET", path).status_code == 404


def test_every_field_of_a_turn_arrives(memory_client, memory_part):
    first = save(memory_client)["conversation_id"]
    saved = save(memory_client, user_query="And now?", token_count=12, response_time_ms=2500, session_id="s", context={"file": "a.md", "n": [1]},
                 supersedes=first, valid_from="2026-01-02T00:00:00+00:00")
    turn = memory_part.get(saved["conversation_id"])
    assert (turn.tokens, turn.seconds, turn.session, turn.context, turn.valid_from) == (12, 2.5, "s", {"file": "a.md", "n": [1]}, 1767312000.0)
    assert (memory_part.get(first).superseded_by, memory_part.get(first).valid_until) == (turn.id, 1767312000.0)
    row = memory_client.get(f"/v1/memory/conversations/{turn.id}").json()
    assert (row["token_count"], row["response_time_ms"], row["project_context"]) == (12, 2500, {"file": "a.md", "n": [1]})
    assert row["timestamp"].startswith("20") and row["expires_at"] > row["created_at"] == row["updated_at"]


@pytest.mark.parametrize(("context", "level"), [({"user_saved": True}, 10), ({"user_important": True}, 8), ({"user_saved": "yes"}, None)])
def test_the_originals_flags_mark_a_turn(memory_client, context, level):
    plain_level = save(memory_client)["importance_score"]
    saved = save(memory_client, context=context)
    assert saved["importance_score"] == (plain_level if level is None else level) and saved["memory"]["context"] == context
    assert (saved["memory"]["expires"] is None) == (level == 10)


def test_the_importance_rule_decides_when_none_is_given(memory_client):
    assert save(memory_client, user_query="hi", ai_response="Hello!")["importance_score"] == 1


def test_search_without_a_query_lists_the_most_important_and_then_the_newest(memory_client):
    ids = [save(memory_client, importance=level)["conversation_id"] for level in (3, 9, 9, 5)]
    for body in ({}, {"query": ""}, {"query": None}):
        found = search(memory_client, **body)
        assert [row["id"] for row in found["results"]] == [ids[2], ids[1], ids[3], ids[0]] and found["search_type"] == "listing"
    assert [row["id"] for row in search(memory_client, limit=2, offset=1)["results"]] == [ids[1], ids[3]]
    assert [row["id"] for row in search(memory_client, importance_min=6)["results"]] == [ids[2], ids[1]]


def test_search_is_narrowed_by_tags_times_and_importance(memory_client, memory_part):
    one = save(memory_client, tags=["a", "b"], importance=9)["memory"]
    save(memory_client, tags=["a"], importance=2)
    query = {"query": "backup start"}
    assert [row["id"] for row in search(memory_client, **query, tags=["b", "a"])["results"]] == [one["id"]]
    assert [row["id"] for row in search(memory_client, **query, importance_min=9)["results"]] == [one["id"]]
    assert search(memory_client, **query, until=one["created"])["results"] == [] and len(search(memory_client, **query, since=one["created"])["results"]) == 2
    memory_part.edit(one["id"], valid_until=one["created"] + 1e-6)
    assert one["id"] not in [row["id"] for row in search(memory_client, **query)["results"]]
    assert one["id"] in [row["id"] for row in search(memory_client, **query, at=one["created"])["results"]]


def test_what_search_left_out_is_said_even_where_nothing_was_found(memory_client, memory_store):
    found = search(memory_client, query="백업", use_vector=True)
    assert found["results"] == [] and "does not read this query" in found["note"] and found["search_type"] == "hybrid"


def test_a_turn_is_edited_by_what_is_sent(memory_client):
    saved = save(memory_client, tags=["x"])["memory"]
    path = f"/v1/memory/conversations/{saved['id']}"
    row = memory_client.patch(path, json={"ai_response": "At 04:00.", "favourite": True}).json()
    assert (row["reply"], row["favourite"], row["expires"], row["tags"], row["question"]) == ("At 04:00.", True, None, ["x"], saved["question"])
    assert memory_client.get(path).json() == row and row["edited"] >= row["created"]
    assert memory_client.patch(path, json={"tags": [], "importance": 4, "favourite": False}).json()["tags"] == []
    assert plain(memory_client, "PATCH", path, json={"importance": 11}).status_code == 400
    assert plain(memory_client, "PATCH", path[:-1] + "x", json={"importance": 1}).status_code == 404
    assert plain(memory_client, "PATCH", path, json={"colour": "red"}).status_code == 422


def test_a_note_is_stored_and_found(memory_client):
    turn = save(memory_client)["conversation_id"]
    body = {"text": "Backups start at 03:15.", "kind": "summary", "about": "backup hours", "source": turn, "tags": ["ops"]}
    kept = memory_client.post("/v1/memory/notes", json=body).json()
    assert kept["importance_score"] == 10 and kept["memory"]["kind"] == "summary" and kept["memory"]["context"] == {"source": turn}
    found = search(memory_client, query="hours", kind="summary")["results"]
    assert [row["id"] for row in found] == [kept["conversation_id"]]
    answer = plain(memory_client, "POST", "/v1/memory/notes", json={"text": "x", "kind": "rumour"})
    assert answer.status_code == 400 and "rumour" in answer.json()["error"]["message"]


def test_turns_are_listed_by_address(memory_client):
    ids = [save(memory_client, tags=tags, session_id="s")["memory"]["id"] for tags in (["a", "b"], ["a"], [])]
    def listed(query):
        return [row["id"] for row in memory_client.get(f"/v1/memory/turns?{query}").json()["results"]]
    assert listed("") == listed("session_id=s") == listed("since=2026-01-01") == ids[::-1]
    assert listed("tag=a") == [ids[1], ids[0]] and listed("tag=a,b") == [ids[0]] and listed("limit=1&offset=1") == [ids[1]]
    assert listed("until=1000") == listed("favourite=true") == listed("session_id=t") == []
    assert plain(memory_client, "GET", "/v1/memory/turns?since=soon").status_code == 400


@pytest.mark.parametrize(("path", "body", "status", "word"), [
    ("", {"user_query": " ", "ai_response": "x"}, 400, "question is blank"),
    ("", {"user_query": "x", "ai_response": "x", "importance": 11}, 400, "importance"),
    ("", {"user_query": "x"}, 422, "ai_response"),
    ("", {"user_query": "x", "ai_response": "y", "context": []}, 400, "context"),
    ("", {"user_query": "x", "ai_response": "y", "context": {"a": "\ud800"}}, 400, "context"),
    ("", {"user_query": "x", "ai_response": "y", "colour": 1}, 422, "colour"),
    ("", {"user_query": "x", "ai_response": "y", "tags": 5}, 400, "tags are int"),
    ("", {"user_query": "x", "ai_response": "y", "token_count": -1}, 400, "tokens"),
    ("", {"user_query": "x", "ai_response": "y", "supersedes": "nothing"}, 404, "could be superseded"),
    ("", {"user_query": "x", "ai_response": "y", "valid_from": "soon"}, 400, "soon"),
    ("/search", {"query": " "}, 400, "query is blank"),
    ("/search", {"query": "x", "limit": 0}, 400, "limit"),
    ("/search", {"query": "x", "limit": 101}, 400, "limit"),
    ("/search", {"limit": 101}, 400, "limit"),
    ("/search", {"query": "x", "offset": -1}, 400, "offset"),
    ("/search", {"query": "x", "how": "fts5"}, 400, "fts5"),
    ("/search", {"query": "x", "importance_min": 0}, 400, "importance"),
    ("/search", {"query": "백업", "how": "vector"}, 400, "does not read"),
])
def test_a_bad_request_is_answered_with_its_reason(memory_client, path, body, status, word):
    content = json.dumps(body)
    answer = plain(memory_client, "POST", f"/v1/memory/conversations{path}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status and word in answer.json()["error"]["message"], answer.text


def test_an_unknown_path_is_told_which_there_are(memory_client):
    answer = plain(memory_client, "GET", "/v1/memory/dreams")
    body = answer.json()
    assert answer.status_code == 404 and body["success"] is False and "/v1/memory/dreams" in body["error"]["message"]
    assert {"POST /v1/memory/conversations", "POST /v1/memory/projects/{project}/fts/rebuild"} <= set(body["available_endpoints"])
    assert memory_client.get("/").json()["available_endpoints"] == body["available_endpoints"]
    assert "available_endpoints" not in plain(memory_client, "PUT", "/v1/memory/stats").json()


def test_health_shows_both_flags_and_is_a_503_when_one_is_down(memory_client, memory_store):
    answer = plain(memory_client, "GET", "/v1/memory/health")
    assert answer.status_code == 200 and answer.json()["storage_available"] and answer.json()["vector_enabled"]
    memory_store.state = bad("The vector store is closed.", retry_after=9)
    answer = plain(memory_client, "GET", "/v1/memory/health")
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "9"
    assert answer.json()["storage_available"] and not answer.json()["vector_enabled"] and answer.json()["status"] == "unhealthy"


def test_vectors_that_could_not_be_written_wait_in_the_queue_until_they_can(memory_client, memory_store):
    def fail(_method, _name):
        raise StorageError("The disk is full.")

    memory_store.fail = fail
    saved = save(memory_client)
    assert saved["memory"]["sync"] == "pending"
    queue = memory_client.get("/v1/memory/projects/default-project/sync/queue").json()
    assert [(row["id"], row["what"]) for row in queue["queue"]] == [(saved["conversation_id"], "pending")] and queue["queue_size"] == 1
    answer = plain(memory_client, "POST", "/v1/memory/projects/default-project/sync")
    assert answer.status_code == 503 and "disk is full" in answer.text
    recovery = memory_client.post("/v1/memory/vector/recovery").json()
    assert recovery["success"] is False and "disk is full" in recovery["message"]
    memory_store.fail = None
    assert memory_client.post("/v1/memory/vector/recovery").json()["success"] is True
    assert memory_client.get("/v1/memory/sync/queue").json()["queue"] == []
    for path in ("projects/default-project/sync", "sync-vectors?batch_size=128", "sync"):
        assert memory_client.post(f"/v1/memory/{path}").json()["sync_stats"] == {"synced": 0, "failed": 0, "removed": 0, "pending": 0, "skipped": 0}
    assert plain(memory_client, "POST", "/v1/memory/sync-vectors?batch_size=129").status_code == 422
    answer = plain(memory_client, "POST", "/v1/memory/projects/default-project/sync", json={"sync_type": "redis"})
    assert answer.status_code == 400 and "'redis'" in answer.json()["error"]["message"]
