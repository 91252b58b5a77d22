"""The memory panel in a real kernel, driven by the messages that a browser would send: what it shows, does, and leaves in the notebook."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

SECONDS = 30
START = """import suite, threading
bench = suite.start()
for question, reply, tags in (("Where is the brass lamp?", "In the cellar.", ["house"]), ("휴가는 언제까지 신청하나요?", "두 주 전까지입니다.", ["일"]),
                              ("What is <b>bold</b>?", "A <script>tag</script>.", [])):
    bench.memory.remember(question, reply, tags=tags)
bench.memory.sync()["pending"]"""

AT_REST = "'suite-panel-memory' not in [thread.name for thread in threading.enumerate()]"


class Book:
    """A kernel; `run` gives the outputs of a cell, `value` what an expression is, `click` and `enter` speak for a browser."""

    def __init__(self, env: dict[str, str], cwd: Path) -> None:
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(cwd / "kernel"))
        self.manager.start_kernel(env={**os.environ, **env}, cwd=str(cwd))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        self.seen: list[dict[str, Any]] = []

    def run(self, code: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        asked = self.client.execute(code)
        while True:  # every message counts as seen: what a thread sends belongs to the click that began it, not to this cell
            message = self.client.get_iopub_msg(timeout=SECONDS)
            self.seen.append(message)
            if message["parent_header"].get("msg_id") == asked:
                messages.append(message)
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    break
        assert [message["content"]["traceback"] for message in messages if message["msg_type"] == "error"] == []
        return messages

    def value(self, code: str) -> Any:
        (result,) = [message for message in self.run(code) if message["msg_type"] == "execute_result"]
        return eval(result["content"]["data"]["text/plain"])

    def until(self, code: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.value(code):
            assert time.monotonic() < deadline, f"{code} did not come true: {self.value('panel.said')}"

    def shows(self, *words: str) -> bool:
        """Wait until the table holds the words: what a thread of the kernel sends may come a moment after the panel has it."""
        deadline = time.monotonic() + SECONDS
        while not all(word in self.twin["text/html"] and word in self.twin["text/plain"] for word in words):
            assert time.monotonic() < deadline, self.twin["text/plain"]
            self.run("pass")
        return True

    def enter(self, widget: str, **state: Any) -> None:
        self._send(widget, {"method": "update", "state": state, "buffer_paths": []})

    def click(self, widget: str) -> None:
        self._send(widget, {"method": "custom", "content": {"event": "click"}})

    def _send(self, widget: str, data: dict[str, Any]) -> None:
        content = {"comm_id": self.value(f"{widget}.model_id"), "data": data}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))

    @property
    def twin(self) -> dict[str, Any]:
        """What the saved notebook would show now."""
        shown = [message["content"]["data"] for message in self.seen if message["msg_type"] in ("display_data", "update_display_data")]
        return [data for data in shown if "text/html" in data][-1]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def kernel(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    folder = tmp_path_factory.mktemp("panels")
    env = {"DATA_DIR": str(folder / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "HOME": str(folder), "IPYTHONDIR": str(folder)}
    opened = Book(env, folder)
    try:
        assert opened.value(START) == 0
        yield opened
    finally:
        opened.close()


@pytest.fixture
def book(kernel: Book) -> Book:
    """A fresh panel, shown."""
    kernel.seen.clear()
    kernel.run("panel = suite.panels.memory(bench)\npanel")
    return kernel


def test_it_shows_the_newest_and_leaves_the_same_as_a_table(book: Book) -> None:
    assert set(book.twin) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert "brass lamp" in book.twin["text/html"] and "휴가는 언제까지" in book.twin["text/plain"] and "3 found" in book.twin["text/html"]
    assert "<script" not in book.twin["text/html"] and "&lt;b&gt;bold" in book.twin["text/html"]
    assert "<script" not in str(book.value("[child.children[3].value for child in panel.rows.children]"))
    assert book.value("[panel.project.value, panel.project.label, len(panel.rows.children)]") == ["default-project", "default-project", 3]


def test_what_is_typed_is_looked_for_and_the_table_follows(book: Book) -> None:
    book.enter("panel.how", index=1)
    book.enter("panel.query", value="lamp")
    book.until("[turn.reply for turn in panel.turns] == ['In the cellar.']")
    assert book.shows("brass lamp", "1 found") and "휴가" not in book.twin["text/html"]
    book.enter("panel.query", value="휴가")
    book.until("[turn.tags for turn in panel.turns] == [('일',)]")
    book.enter("panel.how", index=0)
    book.until("'so only words counted' in panel.said")
    assert "does not read this query" in book.value("panel.said") and book.shows("does not read", "일")
    book.enter("panel.how", index=2)
    book.until("panel.said.startswith('BadRequest: The embedding model')")
    assert "how=&#x27;words&#x27;" in book.value("panel.notice.value") and "#b42318" in book.value("panel.notice.value")
    book.enter("panel.how", index=1)
    book.until("panel.said == '1 found'")
    book.enter("panel.query", value="")
    book.enter("panel.tags", value="house, ")
    book.until("[turn.reply for turn in panel.turns] == ['In the cellar.']")
    book.enter("panel.tags", value="")
    book.enter("panel.importance", value=10)
    book.until("panel.said == '0 found' and panel.turns == []")


def test_a_star_makes_a_favourite_and_details_show_the_whole_turn(book: Book) -> None:
    book.enter("panel.how", index=1)
    book.enter("panel.query", value="lamp")
    book.until(f"len(panel.turns) == 1 and {AT_REST}")  # a row that is drawn anew loses its click
    book.click("panel.rows.children[0].children[0]")
    book.until("panel.turns and panel.turns[0].favourite and panel.rows.children[0].children[0].description == '★'")
    assert book.value("bench.memory.get(panel.turns[0].id).expires is None") is True and book.shows("★")
    book.click("panel.rows.children[0].children[1]")
    book.until("'Memory of default-project' in panel.detail.value")
    book.click("panel.rows.children[0].children[0]")
    book.until("not panel.turns[0].favourite")


def test_forgetting_is_asked_for_twice_and_proven(book: Book) -> None:
    identity = book.value("bench.memory.remember('Where is the copper pan?', 'It is lost.').id")
    book.enter("panel.how", index=1)
    book.enter("panel.query", value="copper pan")
    book.until(f"[turn.id for turn in panel.turns] == [{identity!r}] and {AT_REST}")
    book.click("panel.rows.children[0].children[2]")
    book.until("panel.rows.children[0].children[2].description == 'Really forget?'")
    assert book.value(f"bench.memory.get({identity!r}).id") == identity
    book.click("panel.rows.children[0].children[2]")
    book.until("panel.said == 'Forgotten: no row, no search term and no vector of it is left.'")
    assert book.value("[panel.turns, len(bench.memory.forget('x').to_dict())]")[0] == []


def test_the_kernel_goes_on_while_the_panel_waits_and_the_later_search_is_shown(book: Book) -> None:
    book.run("gate, found = threading.Event(), bench._behind.memory.turns\n"
             "bench._behind.memory.turns = lambda **options: (gate.wait(), found(**options))[1]\nslow = panel.refresh()")
    assert book.value("[1 + 1, slow.is_alive()]") == [2, True]
    book.run("del bench._behind.memory.turns")
    book.enter("panel.tags", value="house")
    book.until("len(panel.turns) == 1")
    book.run("gate.set(); slow.join()")
    assert book.value("[len(panel.turns), panel.said]") == [1, "1 found"]


def test_an_unknown_project_or_a_stopped_bench_is_one_sentence_in_place(book: Book) -> None:
    book.run("panel = suite.panels.memory(bench, project='nobody')\npanel")
    assert book.value("panel.said").startswith("NotFound: There is no project 'nobody'; there are default-project")
    assert book.shows("There is no project")
    book.run("import types\nbroken = types.SimpleNamespace()\npanel = suite.panels.memory(broken)\npanel")
    assert book.value("panel.said").startswith("AttributeError: ")
    book.run("other = suite.bench.Bench(bench.settings, bench._behind); bench.stop()\npanel = suite.panels.memory(other)\npanel")
    assert book.value("panel.said") == "HostGone: This bench was stopped; call suite.start() for a new one."
