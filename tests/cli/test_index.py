"""`suite index`: documents go into a collection of the stack that runs, are listed, and come out again; what is skipped is named."""

from __future__ import annotations

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

NOTES = {"backup.md": "# Backup\n\nThe nightly backup starts at 03:15 in the north tower.\n", "food.txt": "The canteen serves bibimbap on Fridays.\n"}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(env: dict[str, str], tmp_path: Path) -> Path:
    """Documents below the host's home, in a folder of this test's own."""
    made = Path(env["HOME"]) / tmp_path.name / "docs"
    made.mkdir(parents=True)
    for name, text in NOTES.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


@pytest.fixture
def call(host: Process, env: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in the folder above `docs`; gives its status and what it printed."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder.parent)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def rows(call: Call, *arguments: str) -> list[dict[str, Any]]:
    status, out, _ = call("index", "list", "--json", *arguments)
    assert status == 0
    return json.loads(out)["rows"]


def test_documents_go_in_are_listed_and_come_out_again(call: Call, folder: Path) -> None:
    name = f"c-{folder.parent.name[-20:]}"
    (folder / "picture.png").write_bytes(b"\x89PNG")
    status, out, err = call("index", "docs/*", "docs/none-*.md", "--collection", name)
    assert (status, err) == (0, "") and out == (
        f"suite: {name}: 2 new, 0 changed, 0 unchanged, 0 removed, 2 chunks written, 2 skipped.\n"
        f"  skipped {folder}/none-*.md: no file matches\n  skipped {folder}/picture.png: .png: no reader for it\n")
    body = json.loads(call("index", "docs", "--collection", name, "--json")[1])
    assert (body["collection"], body["unchanged"], body["skipped"]) == (name, 2, [[f"{folder}/picture.png", ".png: no reader for it"]])
    assert {"name": name, "documents": 2, "chunks": 2}.items() <= next(row for row in rows(call) if row["name"] == name).items()
    assert [row["path"] for row in rows(call, "--collection", name)] == [str(folder / document) for document in sorted(NOTES)]
    assert f"{name}  2          2\n" in call("index", "list")[1]
    listed = call("index", "list", "--collection", name)[1]
    assert listed.splitlines()[0].split() == ["document", "chunks", "bytes", "indexed", "model"] and "MiniLM" in listed and "not complete" not in listed
    status, out, _ = call("index", "remove", "docs/food.txt", "docs/absent.md", "--collection", name)
    assert (status, out) == (0, f"suite: docs/food.txt was taken out of {name}.\nsuite: docs/absent.md is not in {name}.\n")
    status, out, _ = call("index", "remove", "docs/food.txt", "--collection", name, "--json")
    assert (status, json.loads(out)) == (1, {"collection": name, "removed": [], "absent": ["docs/food.txt"]})
    assert call("index", "drop", name) == (0, f"suite: {name} was dropped; its files stay where they are.\n", "")
    assert name not in [row["name"] for row in rows(call)] and (folder / "backup.md").exists()
    status, _, err = call("index", "drop", name)
    assert status == 2 and err.startswith(f"suite: No collection is called '{name}'; there ")


def test_a_collection_is_embedded_anew_by_name(call: Call) -> None:
    call("index", "docs", "--collection", "moving")
    status, out, _ = call("index", "rebuild", "moving")
    assert status == 0 and "2 chunks of moving were embedded anew with all-MiniLM-L6-v2" in out
    assert json.loads(call("index", "rebuild", "--collection", "moving", "--json")[1]) == {
        "collection": "moving", "chunks": 2, "embedder": "all-MiniLM-L6-v2"}
    assert call("index", "rebuild", "absent")[0] == 2 and call("index", "rebuild")[0] == 2
    call("index", "drop", "moving")


def test_when_nothing_can_be_indexed_the_status_says_so_and_every_reason_is_given(call: Call, folder: Path) -> None:
    for number in range(60):
        (folder / f"{number:02}.png").write_bytes(b"x")
    status, out, _ = call("index", "docs/*.png", "--collection", "nothing")
    assert status == 1 and out.count("\n  skipped ") == 50 and out.endswith("\n  … and 10 more; --json lists all.\n")
    status, out, _ = call("index", "docs/*.png", "/etc/passwd", "--json", "--collection", "nothing")
    body = json.loads(out)
    assert status == 1 and len(body["skipped"]) == 61 and "set RAG_ROOTS to add one" in dict(body["skipped"])["/etc/passwd"]
    (folder / "list").write_text("x")
    assert call("index", "./docs/list", "--collection", "nothing")[1].endswith("docs/list: no suffix: no reader for it\n")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("list", "docs"), "`suite index list` takes no 'docs'"), (("remove",), "Name the documents to take out"),
    (("drop",), "Name the one collection to drop"), (("drop", "a", "b"), "Name the one collection to drop"),
    (("docs", "--collection", "a/b"), "'a/b' cannot name a collection"), (("drop", "../x"), "'../x' cannot name a collection"), ((" ",), "No documents are named"),
])
def test_what_cannot_be_done_is_one_sentence_before_a_stack_is_looked_for(arguments: tuple[str, ...], sentence: str, tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert main(["index", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"suite: {sentence}") and printed.err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_an_unknown_collection_is_an_error_that_lists_those_that_are_there(call: Call, folder: Path) -> None:
    assert call("index", "docs", "--collection", "known")[0] == 0
    for arguments in (("list", "--collection", "other"), ("remove", "docs/food.txt", "--collection", "other"), ("drop", "other")):
        status, out, err = call("index", *arguments)
        assert (status, out) == (2, "") and err.startswith("suite: No collection is called 'other'; there are: ") and "known" in err
    assert "other" not in [row["name"] for row in rows(call)]


def test_without_a_stack_one_is_started_and_gone_again(env: dict[str, str], folder: Path, tmp_path: Path) -> None:
    mine = {**os.environ, **env, "DATA_DIR": str(tmp_path / "data"), "WORKSPACE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-m", "suite", "index", "docs"], cwd=folder.parent, env=mine, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("suite: default: 2 new, "), done.stderr
    assert [name for name in os.listdir(tmp_path / "data" / "run") if name != "host.lock"] == []
