"""`%%chat`, `%%code` and `%%ask` in a real kernel: what the cell shows while the reply comes, what stays, and how errors and interrupts end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from models_stage import endless
from nbformat.v4 import new_code_cell, new_notebook

SECONDS = 120


class Cell:
    """What one execution sent: its messages in order."""

    def __init__(self, status: str, messages: list[dict[str, Any]]) -> None:
        self.status, self.messages = status, messages

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def drawn(self) -> list[dict[str, Any]]:
        """The displays and their updates, in order."""
        return [message["content"] for message in self.messages if message["msg_type"] in ("display_data", "update_display_data")]

    @property
    def text(self) -> str:
        """The text that stays."""
        return str(self.drawn[-1]["data"]["text/plain"])


class Notebook:
    """A kernel with a stack in it; `run` executes a cell, `meanwhile` is called with each message as it comes."""

    def __init__(self, env: dict[str, str], cwd: Path) -> None:
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(cwd / "kernel"))
        self.manager.start_kernel(env={**os.environ, **env}, cwd=str(cwd))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    def run(self, code: str, meanwhile: Callable[[dict[str, Any]], None] | None = None) -> Cell:
        messages: list[dict[str, Any]] = []

        def collect(message: dict[str, Any]) -> None:
            messages.append(message)
            if meanwhile is not None:
                meanwhile(message)

        reply = self.client.execute_interactive(code, timeout=SECONDS, output_hook=collect)
        return Cell(reply["content"]["status"], messages)

    def value(self, code: str) -> Any:
        return json.loads(eval(self.run(f"__import__('json').dumps({code})").of("execute_result")[0]["data"]["text/plain"]))

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return endless(tmp_path_factory.mktemp("magics"), models_dir)


@pytest.fixture(scope="module")
def notebook(env: dict[str, str]) -> Iterator[Notebook]:
    opened = Notebook(env, Path(env["WORKSPACE_DIR"]))
    try:
        begun = opened.run("%load_ext suite.magics\nimport suite; bench = suite.start()\nchat = bench._behind.parts['inference-chat']")
        assert begun.of("error") == []
        yield opened
    finally:
        opened.close()


def test_the_reply_grows_in_one_display_and_stays_as_html_with_a_plain_twin(notebook: Notebook) -> None:
    cell = notebook.run("%%chat --model chat-7b --max-tokens 600 --temperature 0 --to answer\nWhat is a server?")
    assert cell.status == "ok"
    assert len(cell.of("display_data")) == 1 and cell.of("update_display_data"), "one display, drawn anew"
    assert {content["transient"]["display_id"] for content in cell.drawn} == {cell.drawn[0]["transient"]["display_id"]}
    lengths = [len(content["data"]["text/plain"]) for content in cell.drawn]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1] / 2, "the text grows while the reply is written"
    assert notebook.value("answer.text") in cell.text and notebook.value("answer.tokens") == 600
    assert re.search(r"\n\[chat-7b \(endless\) · 600 tokens · \d+ tokens/s · .*cut off at its limit of tokens · smoke model: [^\]]+\]$", cell.text)
    assert "<script" not in cell.drawn[-1]["data"]["text/html"] and "smoke model" in cell.drawn[-1]["data"]["text/html"]


def test_no_cell_is_drawn_more_than_twenty_times_a_second() -> None:
    from unittest import mock

    from suite import magics

    clock, drawn = [100.0], []
    with mock.patch.object(magics, "display", lambda data, **_: drawn.append(data) or mock.Mock(update=lambda data, **_: drawn.append(data))), \
            mock.patch.object(magics.time, "monotonic", lambda: clock[0]):
        view = magics.CellView()
        for _ in range(1000):  # a thousand pieces in two seconds
            view.add("x")
            clock[0] += 0.002
        assert 30 <= len(drawn) <= 41
        view.end("done")
    assert drawn[-1]["text/plain"] == "x" * 1000 + "\n[done]"


def test_code_asks_the_code_model_and_the_options_reach_it(notebook: Notebook) -> None:
    first = notebook.run("%%code --max-tokens 9 --seed 5 --temperature 1.5 --to one\nhello")
    again = notebook.run("%%code --max-tokens 9 --seed 5 --temperature 1.5 --to two\nhello")
    other = notebook.run("%%code --max-tokens 9 --seed 5 --temperature 1.5 --system 'You are a parrot.' --to three\nhello")
    assert first.status == again.status == other.status == "ok"
    assert notebook.value("[one.alias, one.tokens, one.text == two.text, three.prompt_tokens > one.prompt_tokens]") == ["code-7b", 9, True, True]


def test_keep_goes_on_with_the_conversation_and_a_new_cell_begins_one(notebook: Notebook) -> None:
    notebook.run("%%chat --max-tokens 5 --model chat-7b --to one\nfirst")
    notebook.run("%%code --max-tokens 5 --keep --to two\nsecond")
    notebook.run("%%chat --max-tokens 5 --model chat-7b --to three\nfirst")
    sizes = notebook.value("[one.prompt_tokens, two.prompt_tokens, three.prompt_tokens]")
    assert sizes[1] >= sizes[0] + 5 and sizes[2] == sizes[0]


@pytest.mark.parametrize(("code", "sentence"), [
    ("%%chat --temperature 9\nhello", "BadRequest: temperature is 9.0 but must be a number from 0 to 2."),
    ("%%chat --model gpt-9\nhello", "NotFound: No model is called 'gpt-9' here; ask for one of: chat-7b, code-7b, auto."),
    ("%%chat --warm\nhello", "BadRequest: %%chat: unrecognized arguments: --warm; `%%chat --help` shows the options."),
    ("%%code --to 3x\nhello", "BadRequest: %%code: --to is '3x', which is no name of a variable; `%%code --help` shows the options."),
    ("%%chat --system 'open\nhello", "BadRequest: %%chat: no closing quotation; `%%chat --help` shows the options."),
    ("%%chat\n\n", "BadRequest: %%chat: the question is missing: write it under this line; `%%chat --help` shows the options."),
    ("%%chat", "BadRequest: %%chat: the question is missing: write it under this line; `%%chat --help` shows the options."),
    ("%%ask --topk 0\nhello", "BadRequest: topk is 0; it must be a whole number from 1 to 50."),
    ("%%ask --model auto\nhello", "BadRequest: %%ask: unrecognized arguments: --model auto; `%%ask --help` shows the options."),
    ("%%ask --collection a/b\nhello", "BadRequest: 'a/b' cannot name a collection; use up to 80 letters, digits, '_', '.' or '-', beginning with a "
     "letter or digit."),
    ("%%ask", "BadRequest: %%ask: the question is missing: write it under this line; `%%ask --help` shows the options."),
])
def test_an_error_is_one_sentence_and_the_cell_fails(notebook: Notebook, code: str, sentence: str) -> None:
    cell = notebook.run(code)
    assert cell.status == "error" and cell.drawn == []
    assert [content["traceback"] for content in cell.of("error")] == [[sentence]]


def test_debug_shows_where_an_error_came_from(notebook: Notebook) -> None:
    (content,) = notebook.run("%%chat --debug --temperature 9\nhello").of("error")
    assert len(content["traceback"]) > 3


@pytest.mark.parametrize("code", ["%%chat --help", "%%chat --help\nhello", "%chat --help"])
def test_help_is_short_and_asks_nobody(notebook: Notebook, code: str) -> None:
    cell = notebook.run(code)
    (said,) = cell.of("stream")
    assert cell.status == "ok" and cell.drawn == [] and said["text"].startswith("usage: %%chat")
    assert {"--model", "--keep", "--to", "--seed"} <= set(re.findall(r"--[a-z-]+", said["text"])) and said["text"].count("\n") < 25


def test_ask_shows_an_answer_with_its_places_and_keeps_it(notebook: Notebook, env: dict[str, str]) -> None:
    file = Path(env["WORKSPACE_DIR"]) / "tides.md"
    file.write_text("The tide tables of Norwick harbour are kept in a green ledger.\n", encoding="utf-8")
    assert notebook.run("bench.collection('tides').add('tides.md')").status == "ok"
    cell = notebook.run("%%ask --collection tides --topk 1 --to found\nWhere are the tide tables of Norwick harbour kept?")
    (shown,) = cell.drawn
    assert cell.status == "ok" and f"[1] {file}[0:62]" in shown["data"]["text/plain"] and "<script" not in shown["data"]["text/html"]
    assert str(file) in shown["data"]["text/html"] and notebook.value("[found.citations[0].quote, len(found.hits)]") == [
        "The tide tables of Norwick harbour are kept in a green ledger.", 1]


def test_the_help_of_ask_names_its_own_options(notebook: Notebook) -> None:
    (said,) = notebook.run("%%ask --help").of("stream")
    assert said["text"].startswith("usage: %%ask") and set(re.findall(r"--[a-z-]+", said["text"])) == {"--collection", "--topk", "--to", "--debug", "--help"}


def test_ask_says_when_there_is_no_such_collection(notebook: Notebook) -> None:
    (content,) = notebook.run("%%ask --collection absent\nhello").of("error")
    assert len(content["traceback"]) == 1 and content["traceback"][0].startswith("NotFound: The collection 'absent' ")


def test_remember_keeps_the_last_turn_or_a_given_one_and_recall_finds_it(notebook: Notebook) -> None:
    notebook.run("%%chat --model chat-7b --max-tokens 6 --to said\nWhere is the zinc bucket?")
    cell = notebook.run("%remember --tag zinc --to kept")
    (shown,) = cell.drawn
    assert cell.status == "ok" and "zinc bucket" in shown["data"]["text/plain"] and "<script" not in shown["data"]["text/html"]
    assert notebook.value("[kept.question, kept.reply == said.text, kept.tokens, list(kept.tags), kept.model]") == [
        "Where is the zinc bucket?", True, 6, ["zinc", "smoke"], "endless"]
    notebook.run("x, HOME = 1, 2")  # what a line magic of IPython's would put in their place
    cell = notebook.run("%remember --importance 9 --tag='zinc bucket' --to given What's {x} of $HOME?  | It's \"here\" | or there")
    assert cell.status == "ok"
    assert notebook.value("[given.question, given.reply, given.importance, list(given.tags)]") == [
        "What's {x} of $HOME?", 'It\'s "here" | or there', 9, ["zinc bucket"]]
    cell = notebook.run("%recall zinc bucket's --limit 1 --how words --to found")
    (shown,) = cell.drawn
    assert "zinc bucket" in shown["data"]["text/plain"] and "<table" in shown["data"]["text/html"]
    assert notebook.value("[len(found), found[0].id == kept.id]") == [1, True]
    assert notebook.run("%recall --how words --project nobody x").of("error")[0]["traceback"][0].startswith("NotFound: There is no project 'nobody'")


def test_a_chat_that_remembers_says_what_it_was_given(notebook: Notebook) -> None:
    assert notebook.run("given = bench.memory.remember('Where is the copper kettle?', 'The copper kettle is in the attic.')").status == "ok"
    cell = notebook.run("%%chat --model chat-7b --max-tokens 6 --remember --to said\nWhere is the copper kettle?")
    assert "1 earlier turns given, this one remembered" in cell.text
    assert notebook.value("[[row['id'] for row in said.memories] == [given.id], bench.memory.get(said.remembered).question]") == [
        True, "Where is the copper kettle?"]
    plain = notebook.run("%%chat --model chat-7b --max-tokens 6 --to said\nWhere is the copper kettle?")
    assert "remembered" not in plain.text and notebook.value("said.remembered") == ""


@pytest.mark.parametrize(("code", "sentence"), [
    ("%remember only a question", "BadRequest: %remember: the reply is missing: write question | reply; `%remember --help` shows the options."),
    ("%remember x |", "BadRequest: %remember: the reply is missing: write question | reply; `%remember --help` shows the options."),
    ("%recall", "BadRequest: %recall: what to look for is missing; `%recall --help` shows the options."),
    ("%recall x --how magic", "BadRequest: There is no way to recall named 'magic'; use 'hybrid', 'words' or 'vector'."),
    ("%recall x --limit many", "BadRequest: %recall: argument --limit: invalid int value: 'many'; `%recall --help` shows the options."),
    ("%remember --importance 11 x | y", "BadRequest: The importance is 11; it must be a whole number from 1 to 10."),
    ("%remember --colour red x | y", "BadRequest: %remember: unrecognized arguments: --colour; `%remember --help` shows the options."),
])
def test_an_error_of_memorys_magics_is_one_sentence(notebook: Notebook, code: str, sentence: str) -> None:
    cell = notebook.run(code)
    assert cell.status == "error" and [content["traceback"] for content in cell.of("error")] == [[sentence]]


@pytest.mark.parametrize(("code", "options"), [
    ("%remember --help", {"--project", "--tag", "--importance", "--to", "--debug", "--help"}),
    ("%recall --help", {"--project", "--tag", "--how", "--limit", "--to", "--debug", "--help"}),
])
def test_the_help_of_memorys_magics_names_their_options(notebook: Notebook, code: str, options: set[str]) -> None:
    (said,) = notebook.run(code).of("stream")
    assert said["text"].startswith(f"usage: {code.split()[0]} ") and set(re.findall(r"--[a-z-]+", said["text"])) == options


def test_remember_before_any_chat_says_so() -> None:
    from suite.errors import BadRequest
    from suite.magics import ChatCells

    with pytest.raises(BadRequest, match="there is no turn of %%chat to remember yet"):
        ChatCells(None).magic("remember")("")  # type: ignore[arg-type]


def test_an_interrupt_stops_the_generation_and_what_came_stays(notebook: Notebook) -> None:
    sent: list[bool] = []

    def interrupt(message: dict[str, Any]) -> None:
        if message["msg_type"] == "update_display_data" and not sent:
            sent.append(True)
            notebook.manager.interrupt_kernel()

    cell = notebook.run("%%chat --model chat-7b --max-tokens 30000\ngo on", interrupt)
    assert cell.status == "error" and [content["traceback"] for content in cell.of("error")] == [["KeyboardInterrupt: the reply was stopped."]]
    assert cell.text.endswith("\n[this reply is not whole]") and len(cell.text) > 40
    deadline = time.monotonic() + SECONDS
    while notebook.value("int(chat.ready().facts['busy'])"):
        assert time.monotonic() < deadline, "the server goes on with a reply that was stopped"
    assert notebook.run("%%chat --max-tokens 2\nhello").status == "ok"


def test_text_of_a_model_is_never_obeyed_as_markup() -> None:
    from suite import render

    shown = render.prose("<script>alert(1)</script>\n```python\nif a < b:\n    pass\n```\nafter", "a & b")
    assert "<script" not in shown and "&lt;script&gt;" in shown and "a &amp; b" in shown and "```" not in shown
    assert re.search(r"monospace[^>]*>if a &lt; b:\n    pass</div>", shown)


def test_papermill_stops_at_a_failed_question_and_a_saved_notebook_keeps_the_replies(env: dict[str, str], notebook: Notebook, tmp_path: Path) -> None:
    book = new_notebook(cells=[new_code_cell("%load_ext suite.magics"), new_code_cell("%%chat --max-tokens 3\nhello"),
                               new_code_cell("%%chat --model gpt-9\nhello")], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(book, tmp_path / "bad.ipynb")
    made = subprocess.run([sys.executable, "-m", "papermill", "bad.ipynb", "out.ipynb", "--no-progress-bar"], env={**os.environ, **env}, cwd=tmp_path,
                          capture_output=True, text=True)
    assert made.returncode != 0 and "No model is called 'gpt-9'" in made.stderr
    (shown,) = [output for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells if "max-tokens" in cell.source for output in cell.outputs]
    assert "3 tokens" in shown.data["text/plain"] and "3 tokens" in shown.data["text/html"]
