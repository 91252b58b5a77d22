"""`suite ask`: an answer from the documents of the stack that runs, each place named with what became of its file since."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels import Process
from suite.cli.ask import lines
from suite.cli.main import main
from suite.knowledge.record import Answer, Citation

BACKUP = "The nightly backup starts at 03:15 in the north tower."
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(env: dict[str, str], host: Process) -> Path:
    """Documents that the collection `notes` holds."""
    made = Path(env["HOME"]) / "docs"
    made.mkdir(exist_ok=True)
    (made / "backup.md").write_text(f"# Backup\n\n{BACKUP}\n", encoding="utf-8")
    (made / "food.txt").write_text("The canteen serves bibimbap on Fridays.\n", encoding="utf-8")
    host.ask(f"bench.collection('notes').add({str(made)!r})")
    return made


@pytest.fixture
def call(env: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, text: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        status = main(["ask", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_an_answer_comes_with_the_places_it_was_written_from(call: Call, folder: Path) -> None:
    question = "When does the nightly backup start?"
    status, out, err = call(*question.split(), "--collection", "notes", "--topk", "1")
    assert (status, err) == (0, "") and "03:15" in out.split("\n\n")[0]
    assert out.endswith(f"\n\n[1] {folder / 'backup.md'}, characters 0–{len(BACKUP) + 10}\n")
    status, out, _ = call("--collection", "notes", "--topk", "1", "--json", text=question.encode())
    body = json.loads(out)
    assert status == 0 and [(row["path"], row["state"]) for row in body["citations"]] == [(str(folder / "backup.md"), "current")]
    assert Answer.from_dict(body).citations[0].quote.endswith(BACKUP)


def test_what_became_of_a_file_since_is_marked(call: Call, folder: Path) -> None:
    question, arguments = "When does the nightly backup start?", ("--collection", "notes", "--topk", "1")
    file = folder / "backup.md"
    file.write_text("Before it.\n\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert call(question, *arguments)[1].endswith(f"[1] {file}, characters 12–{len(BACKUP) + 22} (moved since it was indexed)\n")
    file.write_text("Something else.", encoding="utf-8")
    assert call(question, *arguments)[1].endswith(" (changed since it was indexed)\n")
    file.unlink()
    assert call(question, *arguments)[1].endswith(" (the file is gone)\n")


def test_what_the_documents_do_not_say_is_status_1(call: Call) -> None:
    status, out, err = call("헬륨 압축기는 어디에 있나요?", "--collection", "notes")
    assert (status, err) == (1, "") and "찾을 수 없습니다" in out and "[1]" not in out


@pytest.mark.parametrize(("arguments", "text", "sentence"), [
    ((), b" \n", "The question is blank"), (("x" * 5000,), b"", "The question has 5000 characters"), (("x", "--topk", "0"), b"", "topk is 0"),
    (("x", "--collection", "a b"), b"", "'a b' cannot name a collection"), (("x", "--collection", "absent"), b"", "The collection 'absent' "),
])
def test_what_cannot_be_asked_is_one_sentence(call: Call, arguments: tuple[str, ...], text: bytes, sentence: str) -> None:
    status, out, err = call(*arguments, text=text)
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(f"suite: {sentence}")


def test_a_terminal_without_a_question_is_told_how_to_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["ask"]) == 2 and "The question is missing; write it: suite ask" in capsys.readouterr().err


def test_pages_marks_and_how_the_answer_was_made_are_said() -> None:
    cited = (Citation(1, "/a.pdf", 3, 10, 20, "x"), Citation(2, "/b.md", None, 0, 5, "y", "missing"))
    extractive = Answer("Text [1].", cited, None, True, (), extractive=True, why="no model answered")
    assert lines(extractive) == ["Text [1].", "(extractive, the passages' own sentences: no model answered)", "",
                                 "[1] /a.pdf, page 3, characters 10–20", "[2] /b.md, characters 0–5 (the file is gone)"]
    assert "smoke model" in lines(Answer("Text.", cited, None, True, ()))[1] and lines(Answer("Text.", (), None, False, ())) == ["Text."]
