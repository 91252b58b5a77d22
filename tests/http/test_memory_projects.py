"""Port 8005: whose memory a request means, and what concerns a whole project."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from memory_stage import plain, save, search

from suite.memory.table import memories


def test_an_unknown_project_is_told_which_there_are_and_nothing_is_made(memory_client, memory_part):
    memory_part.create_project("known")
    before = memory_part.projects()
    requests = [("POST", "/v1/memory/conversations", {"user_query": "x", "ai_response": "y", "project_id": "new"}),
                ("POST", "/v1/memory/conversations/search", {"query": "x", "project_id": "new"}), ("GET", "/v1/memory/stats?project_id=new", None),
                ("GET", "/v1/memory/projects/new/stats", None), ("GET", "/v1/memory/projects/new/sync/queue", None),
                ("GET", "/v1/memory/export?project_id=new", None), ("GET", "/v1/memory/turns?project_id=new", None)]
    requests += [("POST", f"/v1/memory/projects/new/{verb}", None) for verb in ("cleanup", "backup", "sync", "sync/retry", "optimize", "fts/rebuild")]
    for method, path, body in requests:
        answer = plain(memory_client, method, path, json=body)
        assert answer.status_code == 404 and "There is no project 'new'; there are" in answer.json()["error"]["message"], path
        assert "known" in answer.json()["error"]["message"]
    assert {row.id for row in memory_part.projects()} - {row.id for row in before} <= {"default-project"}
    assert plain(memory_client, "POST", "/v1/memory/projects/%20/cleanup").status_code == 400


def test_a_project_is_made_on_purpose(memory_client, tmp_path):
    made = memory_client.post("/v1/memory/projects", json={"name": "팀 노트"}).json()
    assert made["project_id"] == "팀 노트" and made["project"]["total_conversations"] == 0
    again = plain(memory_client, "POST", "/v1/memory/projects", json={"name": "팀 노트"})
    assert again.status_code == 400 and "already" in again.json()["error"]["message"]
    folder = tmp_path / "work"
    folder.mkdir()
    made = memory_client.post("/v1/memory/projects", json={"name": "work", "path": str(folder)}).json()
    assert json.loads((folder / ".ai-memory" / "project.json").read_text())["project_id"] == made["project_id"] != "work"


def test_a_path_means_the_project_of_the_nearest_folder_above_it(memory_client, memory_part, tmp_path, monkeypatch):
    folder = tmp_path / "work" / "deep" / "down"
    folder.mkdir(parents=True)
    made = memory_part.create_project("work", str(tmp_path / "work"))
    saved = save(memory_client, project_path=str(folder))
    assert saved["project_id"] == made.id
    for path in (str(folder), str(tmp_path / "work"), str(folder / "absent")):
        assert search(memory_client, query="backup", project_path=path)["total_results"] == 1
    monkeypatch.chdir(folder)  # the host's own directory means nothing to a client
    assert save(memory_client)["project_id"] == "default-project"
    assert memory_client.get("/v1/memory/stats", params={"project_path": str(folder)}).json()["project"] == made.id
    assert memory_client.post("/v1/memory/cleanup", json={"project_path": str(folder)}).json()["project_id"] == made.id


@pytest.mark.parametrize(("path", "status", "word"), [
    ("/nowhere/at/all", 404, "belongs to no project"), ("work", 400, "is relative"), (5, 400, "not text"), ("/a\0b", 400, "NUL"),
    ("/" + "x" * 300, 404, "belongs to no project"), ("/" + "x" * 5000, 400, "at most 4096"),
])
def test_a_path_that_means_none_is_said(memory_client, memory_part, path, status, word):
    answer = plain(memory_client, "POST", "/v1/memory/conversations", json={"user_query": "x", "ai_response": "y", "project_path": path})
    assert answer.status_code == status and word in answer.json()["error"]["message"], answer.text
    assert memory_part.stats()["memories"] == 0


def test_a_project_that_another_host_knew_is_taken_in_by_its_file(memory_client, memory_part, tmp_path):
    (tmp_path / ".ai-memory").mkdir()
    (tmp_path / ".ai-memory" / "project.json").write_text(json.dumps({"project_id": "abc-1", "project_name": "Old"}))
    assert save(memory_client, project_path=str(tmp_path))["project_id"] == "abc-1"
    assert ("abc-1", "Old", str(tmp_path)) in [(row.id, row.name, row.path) for row in memory_part.projects()]
    (tmp_path / ".ai-memory" / "project.json").write_text("{")
    answer = plain(memory_client, "POST", "/v1/memory/conversations", json={"user_query": "x", "ai_response": "y", "project_path": str(tmp_path)})
    assert answer.status_code == 400 and "is no project file" in answer.json()["error"]["message"]


def test_cleaning_up_deletes_what_is_over_of_one_project(memory_client, memory_part):
    memory_part.create_project("other")
    for project in ("default-project", "other"):
        save(memory_client, project_id=project if project == "other" else None, importance=2)
    with memory_part._storage.begin() as connection:
        connection.execute(sa.update(memories).values(expires=1.0))
    done = memory_client.post("/v1/memory/projects/other/cleanup").json()
    assert (done["deleted_conversations"], done["deleted_count"], done["project_id"]) == (1, 1, "other")
    assert memory_client.post("/v1/memory/projects/other/cleanup").json()["deleted_count"] == 0
    assert memory_client.post("/v1/memory/cleanup").json()["deleted_count"] == 1
    assert memory_client.post("/v1/memory/expire", json={"now": 1e12}).json()["deleted_count"] == 0


def test_a_backup_is_a_file_that_can_be_imported(memory_client, memory_part, tmp_path):
    memory_part.create_project("a/b")
    ids = {save(memory_client, project_id="a/b")["conversation_id"] for _ in range(3)}
    made = memory_client.post("/v1/memory/projects/a/b/backup", json={"backup_type": "json"}).json()
    file = Path(made["backup_path"])
    assert file.parent == tmp_path / "data" / "backups" and (made["backup_type"], made["turns"]) == ("json", 3)
    assert file.stat().st_mode & 0o777 == 0o600 and os.listdir(file.parent) == [file.name]
    for identity in ids:
        memory_part.forget(identity)
    done = memory_client.post("/v1/memory/import", content=file.read_bytes()).json()
    assert (done["new"], done["known"], done["project_id"]) == (3, 0, "a/b")
    assert {row["id"] for row in memory_client.get("/v1/memory/turns", params={"project_id": "a/b"}).json()["results"]} == ids
    for path in ("/v1/memory/projects/a/b/backup", "/v1/memory/backup"):
        answer = plain(memory_client, "POST", path, json={"backup_type": "sql"})
        assert answer.status_code == 400 and "'sql'" in answer.json()["error"]["message"]
    assert len(os.listdir(file.parent)) == 1


def test_a_backup_that_cannot_be_written_leaves_nothing(memory_client, memory_part, tmp_path):
    (tmp_path / "data").write_text("in the way")
    answer = plain(memory_client, "POST", "/v1/memory/backup")
    assert answer.status_code == 503 and "nothing of it was kept" in answer.json()["error"]["message"]


def test_an_export_is_lines_and_an_import_that_cannot_be_used_changes_nothing(memory_client, memory_part):
    odd = "one\u2028two\x85three\r\nfour \x0b \x1c five"
    saved = save(memory_client, user_query=odd)
    answer = plain(memory_client, "GET", "/v1/memory/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson") and "memory-default-project.jsonl" in answer.headers["content-disposition"]
    lines = answer.content.decode().split("\n")
    assert [json.loads(line).get("question") for line in lines[:-1]] == [None, odd] and lines[-1] == ""
    memory_client.post("/v1/memory/projects", json={"name": "copy"})
    done = memory_client.post("/v1/memory/import?project_id=copy", content=answer.content).json()
    assert (done["new"], done["known"]) == (0, 1)
    memory_part.forget(saved["conversation_id"])
    for content, word in ((b"\xff", "not valid UTF-8"), (answer.content + b"{", "Line 3"), (b"", "is empty")):
        answered = plain(memory_client, "POST", "/v1/memory/import", content=content)
        assert answered.status_code == 400 and word in answered.json()["error"]["message"]
    assert memory_part.turns("copy") == []
    assert memory_client.post("/v1/memory/import?project_id=copy", content=answer.content).json()["project"] == "copy"
    assert memory_part.turns("copy")[0].question == odd


def test_optimizing_and_making_the_word_index_anew(memory_client, memory_part):
    saved = save(memory_client)
    done = memory_client.post("/v1/memory/projects/default-project/optimize").json()
    assert done["success"] and done["bytes"] > 0 and done["freed"] >= 0 and done["project_id"] == "default-project"
    memory_part.sync()
    with memory_part._storage.begin() as connection:
        connection.execute(sa.text("DELETE FROM memory_words"))
    assert search(memory_client, query="backup")["results"] == []
    assert memory_client.post("/v1/memory/projects/default-project/fts/rebuild").json()["turns"] == 1
    assert [row["id"] for row in search(memory_client, query="backup")["results"]] == [saved["conversation_id"]]


def test_a_text_that_failed_is_tried_again_and_counted(memory_client, memory_part):
    saved = save(memory_client)
    with memory_part._storage.begin() as connection:
        connection.execute(sa.update(memories).values(sync="failed"))
    assert memory_client.get("/v1/memory/projects/default-project/sync/queue").json()["queue"] == []
    failed = memory_client.get("/v1/memory/projects/default-project/sync/queue?include_failed=true").json()["queue"]
    assert [(row["id"], row["what"]) for row in failed] == [(saved["conversation_id"], "failed")]
    done = memory_client.post("/v1/memory/projects/default-project/sync/retry").json()
    assert done["retry_stats"] == {"retried": 1, "succeeded": 1, "still_failed": 0}
