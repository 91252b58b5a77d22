"""`suite memory`: turns go in, are found, changed and forgotten; projects are made and carried elsewhere; errors are one sentence."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels import Process
from suite.cli.main import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(host: Process, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs `suite memory …` in a folder of the test's own, `text` on its standard input; gives status and what it printed."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        status = main(["memory", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def project(call: Call, tmp_path: Path) -> str:
    """A project of the test's own, which its folder belongs to."""
    status, out, _ = call("create-project", tmp_path.name, "--path", ".", "--json")
    made = json.loads(out)
    assert status == 0 and (tmp_path / ".ai-memory" / "project.json").exists() and made["path"] == str(tmp_path)
    return str(made["id"])


def rows(call: Call, *arguments: str) -> list[dict[str, Any]]:
    return json.loads(call(*arguments, "--json")[1])["rows"]


def test_a_turn_goes_in_is_found_changed_and_forgotten(call: Call, project: str) -> None:
    status, out, err = call("remember", "When does the backup start?", "At 03:15.", "--tag", "ops", "--tag", "night", "--importance", "7")
    identity = out.split()[1]
    assert (status, err) == (0, "") and out == f"suite: {identity} is remembered in {project}, importance 7 (said to be 7).\n"
    status, out, _ = call("recall", "backup", "start", "--how", "words", "--tag", "ops")
    assert status == 0 and out.startswith(f"1. When does the backup start?\n   At 03:15.\n   {identity}, by words, score ")
    assert [row["memory"]["id"] for row in rows(call, "recall", "backup")] == [identity]
    assert call("recall", "zebra", "--how", "words")[:2] == (1, "suite: nothing that is remembered matches.\n")
    assert "At 03:15." in call("show", identity)[1] and "ops, night" in call("show", identity)[1]
    assert call("edit", identity, "--reply", "At 04:00.", "--favourite", "--tag", "ops")[:2] == (0, f"suite: {identity} was changed.\n")
    (row,) = rows(call, "list", "--favourites")
    assert (row["reply"], row["tags"], row["favourite"], row["expires"]) == ("At 04:00.", ["ops"], True, None)
    assert call("list")[1].splitlines()[1].split()[0] == identity and "★" in call("list")[1] and "At 04:00." in call("list")[1]
    assert rows(call, "list", "--importance", "8") == rows(call, "list", "--until", "7d") == [] and len(rows(call, "list", "--since", "1h")) == 1
    assert call("edit", identity, "--no-favourite", "--tag", "")[0] == 0 and json.loads(call("show", identity, "--json")[1])["tags"] == []
    assert call("forget", identity)[:2] == (0, f"suite: {identity} was forgotten: no row, no search term and no vector of it is left.\n")
    assert call("forget", identity)[:2] == (1, f"suite: there is no memory {identity}.\n") and rows(call, "list") == []


def test_what_holds_no_longer_is_found_at_its_time_and_a_reply_may_be_piped_in(call: Call, project: str) -> None:
    old = json.loads(call("remember", "Who is on call?", "--valid-from", "2026-01-01", "--json", text="Mina.")[1])
    new = json.loads(call("remember", "Who is on call?", "Jun.", "--supersedes", old["id"], "--valid-from", "2026-06-01", "--json")[1])
    assert [row["id"] for row in rows(call, "list")] == [new["id"]]
    assert [row["id"] for row in rows(call, "list", "--at", "2026-03-01")] == [old["id"]] and old["reply"] == "Mina."
    assert " to 2026-06-01 00:00" in call("show", old["id"])[1]


def test_notes_numbers_and_vectors(call: Call, project: str) -> None:
    out = call("note", "The key hangs by the door.", "--about", "spare key", "--kind", "summary", "--tag", "keys")[1]
    assert "importance 10 (a summary that was written: 10)" in out and rows(call, "recall", "spare", "key", "--kind", "turn") == []
    assert [row["memory"]["kind"] for row in rows(call, "recall", "spare", "key", "--kind", "summary")] == ["summary"]
    status, out, _ = call("sync", "--project", project)
    assert status == 0 and "0 failed, 0 still wait" in out and set(json.loads(call("sync", "--json")[1])) == {"synced", "failed", "removed", "pending"}
    stats = json.loads(call("stats", "--json")[1])
    assert (stats["project"], stats["memories"], stats["kinds"]) == (project, 1, {"summary": 1})
    assert "summary: 1" in call("stats")[1] and project in call("projects")[1]
    assert [row["memories"] for row in rows(call, "projects") if row["id"] == project] == [1]


def test_a_project_is_carried_elsewhere(call: Call, project: str, tmp_path: Path) -> None:
    ids = [json.loads(call("remember", f"Frage {number}\u2028?", "Ja\x85.", "--json")[1])["id"] for number in range(3)]
    status, out, err = call("export", "mine.jsonl")
    assert (status, out, err) == (0, "", "suite: 3 turns are in mine.jsonl.\n") and sorted(os.listdir(tmp_path)) == [".ai-memory", "home", "mine.jsonl"]
    lines = (tmp_path / "mine.jsonl").read_bytes()
    assert lines.count(b"\n") == 4
    call("forget", ids[0])
    assert call("import", "mine.jsonl")[1] == f"suite: 1 turns are new in {project}, 2 were there already.\n"
    assert call("import", "-", text=lines.decode())[1] == f"suite: 0 turns are new in {project}, 3 were there already.\n"
    assert {row["id"] for row in rows(call, "list")} == set(ids)


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("remember", " ", "x"), "The question is blank"), (("remember", "x", " "), "The reply is blank"), (("note", ""), "The reply is blank"),
    (("recall", " "), "The query is blank"), (("edit", "x"), "Nothing is to be changed"), (("import", "absent.jsonl"), "absent.jsonl cannot be read"),
    (("list", "--since", "soon"), "--since is 'soon'"), (("edit", "x", "--valid-until", "soon"), "--valid-until is 'soon'"),
])
def test_what_cannot_be_done_is_one_sentence_before_a_stack_is_looked_for(arguments: tuple[str, ...], sentence: str, tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert main(["memory", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"suite: {sentence}") and printed.err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_an_error_of_the_host_is_one_sentence(call: Call, project: str, tmp_path: Path) -> None:
    for arguments, sentence in ((("list", "--project", "nobody"), "There is no project 'nobody'; there are "), (("show", "x"), "There is no memory 'x'"),
                                (("export", "--project", "nobody"), "There is no project 'nobody'"), (("recall", "x", "--limit", "0"), "The limit is 0"),
                                (("create-project", tmp_path.name, "--path", "."), f"{tmp_path} belongs to a project already"),
                                (("export", "no/such/folder.jsonl"), f"{tmp_path}/no/such/folder.jsonl cannot be written")):
        status, out, err = call(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(f"suite: {sentence}"), err
    (tmp_path / "bad.jsonl").write_text("{\n")
    assert call("import", "bad.jsonl")[2].startswith("suite: Line 1 of the export cannot be used")


def test_without_a_stack_one_is_started_and_gone_again(env: dict[str, str], tmp_path: Path) -> None:
    mine = {**os.environ, **env, "DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "suite", "memory"]
    done = subprocess.run([*command, "remember", "Where?", "Here."], cwd=tmp_path, env=mine, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "is remembered in default-project" in done.stdout, done.stderr
    done = subprocess.run([*command, "export"], cwd=tmp_path, env=mine, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[1])["reply"] == "Here.", done.stderr
    assert [name for name in os.listdir(tmp_path / "data" / "run") if name != "host.lock"] == []
