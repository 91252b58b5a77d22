"""The audit panel: driven in a real kernel by the messages that a browser would send, and in parts over a real trail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from test_memory_panel import Book
from tools_stage import Stage, set_stage

from kernels import Process
from suite.access.event import Event
from suite.panels import audit
from suite.panels.audit import MOST, AuditPanel
from suite.tools.trail import Trail

START = """import suite, ipywidgets
from suite.access.event import Event
bench = suite.start()
def call(name, **given):
    try:
        return bench.tools.call(name, **given).audit_seq
    except suite.errors.SuiteError as error:
        return error.facts.get("audit_seq")
call("list_files"), call("read_file", path="absent.md"), call("list_files", actor="mallory")"""
SHOW = "panel = suite.panels.audit(bench)\npanel"


@pytest.fixture(scope="module")
def env(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("audit")
    return {"DATA_DIR": str(folder / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "HOME": str(folder),
            "IPYTHONDIR": str(folder), "RATE_LIMIT_ENABLED": "false"}


@pytest.fixture(scope="module")
def kernel(env: dict[str, str]) -> Iterator[Book]:
    opened = Book(env, Path(env["HOME"]))
    try:
        assert opened.value(START)[2] > 0
        yield opened
    finally:
        opened.close()


@pytest.fixture
def book(kernel: Book) -> Iterator[Book]:
    """A fresh panel, shown."""
    kernel.seen.clear()
    kernel.run(SHOW)
    yield kernel
    kernel.run("panel.close(); panel.renewing.join()")


def test_it_shows_the_newest_first_the_state_of_the_chain_and_its_head(book: Book) -> None:
    head = book.value("bench.audit.head()")
    assert set(book.twin) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert book.shows("mallory", "list_files", "denied", "The chain is whole", f"Head: entry {head[0]}", head[1], "the newest first", "kernel")
    assert book.value("[entry.seq for entry in panel.entries]") == list(range(head[0], 0, -1))
    rows, chain = book.value("[panel.rows.value, panel.chain.value]")
    assert ">denied</span>" in rows and "#b42318" in rows and "#1a7f37" in rows and ">pass</span>" in chain and head[1] in chain


def test_a_filter_narrows_and_the_table_follows(book: Book) -> None:
    book.enter("panel.outcome", index=3)
    wanted = book.value("panel.outcome.options[3][1]")
    book.until(f"panel.outcome.value == {wanted!r} and all(entry.outcome == {wanted!r} for entry in panel.entries) and 'of those that fit' in panel.said")
    book.enter("panel.outcome", index=0)
    book.enter("panel.actor", value=" mallory ")
    book.until("panel.entries and {entry.actor for entry in panel.entries} == {'mallory'}")
    assert book.shows("mallory", "of those that fit") and "local-owner" not in book.twin["text/plain"]
    book.enter("panel.actor", value="")
    book.enter("panel.subject", value="read_file")
    book.until("panel.entries and {entry.subject for entry in panel.entries} == {'read_file'}")
    book.enter("panel.kind", value="approval")
    book.until("panel.entries == [] and panel.said == '0 shown, the newest first of those that fit.'")
    assert book.value("[{'mallory', 'local-owner'} <= set(panel.actor.options), 'tool_call' in panel.kind.options]") == [True, True]
    book.enter("panel.subject", value="a\0b")
    book.until("panel.said.startswith('BadRequest: subject ') and '#b42318' in panel.notice.value")


def test_new_entries_come_by_themselves(book: Book) -> None:
    book.run("seq = call('list_files', actor='new-here')")
    book.until("panel.entries[0].seq >= seq and any(entry.actor == 'new-here' for entry in panel.entries)")
    assert book.shows("new-here")
    other = book.value("panel._turn")
    book.until("panel._ticks % 2 == 0 and panel._ticks > 4")
    assert book.value("panel._turn") == other, "what has not moved is not read again"


def test_verify_reads_the_whole_chain_and_an_edited_entry_is_named(book: Book) -> None:
    count = book.value("bench.audit.head()[0]")
    book.click("panel.verify")
    book.until(f"panel.verification.entries == {count} and not panel.verify.disabled")
    book.run("import sqlalchemy as sa\nwith bench._behind.storage.begin() as db:\n    db.execute(sa.text(\"UPDATE audit SET reason = '<b>fine</b>' WHERE seq = 2\"))")
    book.click("panel.verify")
    book.until("panel.verification.findings == ('Entry 2 was changed after it was written.',) and not panel.verify.disabled")
    assert book.shows("NOT as it was written", "Entry 2 was changed") and ">fail</span>" in book.value("panel.chain.value")
    assert ">fail</span>" in book.twin["text/html"] and "<b>fine" not in book.twin["text/html"] + book.value("panel.rows.value")


def test_of_two_questions_the_later_one_is_shown_and_the_kernel_goes_on(book: Book) -> None:
    book.run("import threading; panel.close(); panel.renewing.join(); gate, listed = threading.Event(), bench._behind.trail.list\n"
             "bench._behind.trail.list = lambda *given, **more: (gate.wait(), listed(*given, **more))[1]\nslow = panel.refresh()")
    assert book.value("[1 + 1, slow.is_alive()]") == [2, True]
    book.run("del bench._behind.trail.list")
    book.enter("panel.actor", value="mallory")
    book.until("{entry.actor for entry in panel.entries} == {'mallory'}")
    book.run("gate.set(); slow.join()")
    assert book.value("{entry.actor for entry in panel.entries}") == {"mallory"}


def test_a_guest_has_the_same_trail_and_the_same_panel(book: Book, env: dict[str, str]) -> None:
    guest = Process(env, Path(env["HOME"]))
    try:
        guest.ask("import suite; bench = suite.start(); panel = suite.panels.audit(bench)")
        for code in ("bench.audit.list().to_csv()", "bench.audit.list(3, outcome='denied').to_csv()", "str(bench.audit.list().dtypes)",
                     "str(bench.audit.verify())", "list(bench.audit.head())", "[list(map(str, entry)) for entry in panel.entries]", "panel._findings()"):
            assert guest.ask(code) == book.value(code), code
        assert guest.ask("bench.hosting") is False and book.value("bench.audit.list(actor='mallory').shape[0]") >= 1
        guest.ask("import suite.errors\ntry:\n    bench.audit.list(0)\nexcept suite.errors.BadRequest as error:\n    said = str(error)")
        assert guest.ask("said") == "limit must be from 1 to 10000, not 0."
    finally:
        guest.kill()


# ---- parts: no kernel, a real trail ----


def staged(tmp_path: Path, entries: int = 0) -> tuple[Stage, AuditPanel]:
    stage = set_stage(tmp_path)
    for number in range(entries):
        stage.audit.record(Event("somebody", "tool_call", f"tool {number}", "done", "done"))
    bench: Any = SimpleNamespace(stopped=False, audit=Trail(stage.audit, stage.actors))
    return stage, audit(bench)


def test_an_empty_trail_is_whole_and_says_so(tmp_path: Path) -> None:
    stage, panel = staged(tmp_path)
    assert panel.entries == [] and panel.said == "0 shown, the newest first." and "The chain is whole: 0 entries" in panel.twin()[1]
    stage.storage.close()


def test_a_long_trail_is_shown_in_part_and_verified_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[AuditPanel.__module__], "AT_ONCE", MOST)
    stage, panel = staged(tmp_path, MOST + 5)
    assert len(panel.entries) == MOST and panel.entries[0].subject == f"tool {MOST + 4}" and panel.verification is None
    assert "was not verified yet" in panel.twin()[1] and "not-run" in panel.chain.value
    panel._verify_again()
    assert panel.verification is not None and panel.verification.entries == MOST + 5 and "is whole" in panel.twin()[1]
    stage.storage.close()


def test_many_findings_are_counted_and_hidden_characters_shown(tmp_path: Path) -> None:
    stage, panel = staged(tmp_path, 20)
    with stage.storage.begin() as connection:
        connection.execute(sa.text("UPDATE audit SET reason = :text"), {"text": "a\u202eb<i>"})
    panel._verify_again()
    for shown in (*panel.twin(), panel.chain.value):
        assert "NOT as it was written: 20 found in 20 entries" in shown and "and 10 more" in shown and shown.count("was changed") == 10
    for shown in (*panel.twin(), panel.rows.value):
        assert "a\\u202eb" in shown and "\u202e" not in shown
    assert "<i>" not in panel.twin()[0] + panel.rows.value
    stage.storage.close()


def test_trouble_is_said_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, panel = staged(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(panel._bench.audit, "head", lambda: 1 / 0)
        for _ in range(2):
            panel._guarded(panel._renew_once, trouble=True)
        assert panel.said == "ZeroDivisionError: division by zero"
    panel._guarded(panel._renew_once, trouble=True)
    assert panel.said == "2 shown, the newest first."
    stage.storage.close()


def test_it_raises_nothing_over_a_bench_that_is_none() -> None:
    panel = audit(SimpleNamespace())  # type: ignore[arg-type]
    assert panel.said.startswith("AttributeError: ") and "AttributeError" in panel.twin()[0]


def test_it_ends_with_the_bench(book: Book) -> None:
    book.run("bench.stop()")
    book.until("not panel.renewing.is_alive()")
    assert book.value("panel.said") == "HostGone: This bench was stopped; call suite.start() for a new one." and book.shows("was stopped")
    assert book.value("panel.verify.disabled") is True
