"""Lines of answered requests: they are written soon, in order with all others, and are what a record would have become."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.logging import LogCaptureHandler
from hypothesis import given
from hypothesis import strategies as st
from openai_stage import until

from suite.monitoring import log as module
from suite.monitoring.log import FileLog, soon
from suite.monitoring.log_line import Waiting, formatter, plain, service_of
from suite.monitoring.log_query import Query
from suite.monitoring.request_context import current, enter

http = logging.getLogger("suite.http")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path, "INFO")
    yield opened
    opened.close()


def written(folder: Path) -> list[str]:
    """The messages that are in the file, asked of the file alone."""
    return [json.loads(line)["message"] for line in (folder / "suite.jsonl").read_text().splitlines()]


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens but files; in a test pytest does."""
    top = logging.getLogger("suite")
    monkeypatch.setattr(top, "handlers", [one for one in top.handlers if not isinstance(one, LogCaptureHandler)])


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread never gets to write."""
    alone(monkeypatch)
    monkeypatch.setattr(module, "SOON", 3_600.0)


@given(st.text(max_size=300), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["rag", "security-admin", "logs", ""]),
       st.sampled_from([logging.DEBUG, logging.INFO]))
def test_it_is_the_line_that_a_record_would_have_become(message: str, status: int, ms: float, port: str, level: int) -> None:
    if port:
        enter(port, "mine", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    record = http.makeRecord("suite.http", level, "", 0, "%s", (message,), None, extra={"status": status, "ms": ms})
    name = "debug" if level == logging.DEBUG else "info"
    made = plain(Waiting(record.created, name, service_of("suite.http"), "suite.http", message, {"status": status, "ms": ms}, current(),
                         threading.current_thread().name))
    assert made == formatter().format(record)


def test_it_is_in_the_file_before_long_though_nobody_reads(log: FileLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    soon(http, logging.INFO, "POST /a 200", {"status": 200})
    until(lambda: written(tmp_path) == ["POST /a 200"], 10)
    soon(http, logging.INFO, "POST /b 200", {"status": 200})
    until(lambda: len(written(tmp_path)) == 2, 10)
    assert written(tmp_path) == ["POST /a 200", "POST /b 200"]


def test_lines_stand_in_the_order_in_which_they_were_said(log: FileLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    for number in range(3):
        soon(http, logging.INFO, f"POST /{number} 200", {"status": 200})
    assert written(tmp_path) == []
    http.info("another")
    soon(http, logging.WARNING, "POST /3 500", {"status": 500})
    assert written(tmp_path) == ["POST /0 200", "POST /1 200", "POST /2 200", "another", "POST /3 500"]


def test_whoever_reads_counts_or_closes_finds_all_that_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    log, said = FileLog(tmp_path, "INFO"), 0

    def say() -> str:
        nonlocal said
        said += 1
        soon(http, logging.INFO, f"POST /{said} 200", {"status": 200})
        return f"POST /{said} 200"

    one = say()
    assert [row["message"] for row in log.reader.newest(Query.of())] == [one]
    say()
    assert log.counts["info"] == 2
    three = say()
    assert log.file.read_text().count(three) == 1
    before = threading.active_count()
    last = say()
    log.close()
    assert written(tmp_path)[-1] == last and len(written(tmp_path)) == 4 and threading.active_count() == before - 1


def test_lines_that_come_faster_than_they_are_written_do_not_pile_up(log: FileLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    for number in range(module.MOST_WAITING + 1):
        soon(http, logging.INFO, str(number), {"status": 200})
    assert written(tmp_path) == [str(number) for number in range(module.MOST_WAITING + 1)]


def test_below_the_level_of_a_file_nothing_is_written_there(log: FileLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    (tmp_path / "other").mkdir()
    talkative = FileLog(tmp_path / "other", "DEBUG")
    try:
        soon(http, logging.DEBUG, "GET /a 200", {"status": 200})
        assert talkative.counts["debug"] == 1 and log.counts["debug"] == 0
    finally:
        talkative.close()


@pytest.mark.parametrize("name", ["suite", "suite.http"])
def test_other_handlers_get_their_record(name: str, log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)
    try:
        soon(http, logging.INFO, "POST /a 200", {"status": 200})
    finally:
        logging.getLogger(name).removeHandler(handler)
    assert [(one.getMessage(), one.status) for one in heard] == [("POST /a 200", 200)] and log.counts["info"] == 1  # type: ignore[attr-defined]
