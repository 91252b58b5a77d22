"""Reading the log: what is asked for, from the end, while it is written and rotated; following it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.errors import BadRequest
from suite.monitoring import log_read
from suite.monitoring.log import FileLog
from suite.monitoring.log_file import LogFile
from suite.monitoring.log_line import LEVELS, SERVICES, moment_text, parsed
from suite.monitoring.log_query import COLUMNS, Query, frame
from suite.monitoring.log_read import LogReader
from suite.monitoring.logs import Logs
from suite.monitoring.request_context import enter

NOW = time.time()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path)
    yield opened
    opened.close()


def put(folder: Path, rows: list[dict[str, Any]], name: str = "suite.jsonl") -> LogReader:
    """Lines as the log writes them."""
    with (folder / name).open("a", encoding="utf-8") as file:
        for row in rows:
            whole = {"at": moment_text(row.get("t", NOW)), "level": "info", "service": "stack", "logger": "suite", "message": "", **row}
            whole.pop("t", None)
            file.write(json.dumps(whole, ensure_ascii=False) + "\n")
    return LogReader(folder)


def said(rows: list[dict[str, Any]]) -> list[str]:
    return [row["message"] for row in rows]


def test_a_line_is_found_as_soon_as_it_is_written(log: FileLog) -> None:
    request = enter("rag", "req-1")
    logging.getLogger("suite.knowledge").error("marker %d", 7, extra={"k": "v"})
    table = Logs(log.reader).read(contains="marker 7", since=timedelta(minutes=1))
    assert list(table.columns) == list(COLUMNS) and len(table) == 1
    row = table.iloc[0]
    assert (row.level, row.service, row.message, row.request_id, row.trace, row.extra) == ("error", "rag", "marker 7", "req-1", request.trace, {"k": "v"})
    assert abs(row["at"] - datetime.now(UTC)) < timedelta(minutes=1) and str(table["at"].dtype) == "datetime64[ms, UTC]"
    assert list(Logs(log.reader).read(contains="nowhere").columns) == list(COLUMNS)


def test_each_part_of_a_question_narrows_it(tmp_path: Path) -> None:
    reader = put(tmp_path, [
        {"message": "old", "t": NOW - 7200}, {"message": 'a "debug"', "level": "debug", "t": NOW - 60}, {"message": 'say "하나"', "service": "rag", "t": NOW - 50},
        {"message": "bad", "level": "error", "error": "File \"a.py\"\nKeyError: 'pelican'", "t": NOW - 40}, {"message": "mine", "request_id": "r1", "t": NOW - 30},
        {"message": "extra", "extra": {"path": "/x/y"}, "t": NOW - 20}])
    found = {name: said(reader.newest(Query.of(**asked))) for name, asked in {
        "since": {"since": "1h"}, "until": {"until": NOW - 3600}, "between": {"since": NOW - 55, "until": NOW - 40}, "level": {"level": "WARNING"},
        "service": {"service": "rag"}, "quoted": {"contains": 'say "하나"'}, "plain quotes": {"contains": 'a "debug"'}, "error": {"contains": "\"a.py\"\nKeyError: 'pelican'"}, "request": {"request_id": "r1"},
        "extra": {"contains": "/x/y"}, "n": {"n": 2}, "nothing": {"contains": "zebra"}, "case": {"contains": "BAD"}}.items()}
    assert found == {"since": ['a "debug"', 'say "하나"', "bad", "mine", "extra"], "until": ["old"], "between": ['say "하나"'], "level": ["bad"],
                     "service": ['say "하나"'], "quoted": ['say "하나"'], "plain quotes": ['a "debug"'], "error": ["bad"], "request": ["mine"], "extra": ["extra"], "n": ["mine", "extra"],
                     "nothing": [], "case": []}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.lists(st.fixed_dictionaries({"message": st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["a" * 40, "ab", "b"]),
                                            "level": st.sampled_from(LEVELS), "service": st.sampled_from(SERVICES), "request_id": st.sampled_from(["r1", "r2"])}), max_size=40),
       least=st.sampled_from(["", *LEVELS]), service=st.sampled_from(["", "rag", "stack"]), text=st.sampled_from(["", "a", "ab", "é", '"']),
       request=st.sampled_from(["", "r1"]), n=st.integers(1, 10), block=st.sampled_from([16, 64, 1 << 16]), per_file=st.integers(1, 15))
def test_what_is_found_is_what_a_plain_search_finds(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, rows: list, least: str,
                                                    service: str, text: str, request: str, n: int, block: int, per_file: int) -> None:
    folder = tmp_path_factory.mktemp("logs")
    monkeypatch.setattr(log_read, "BLOCK", block)
    files = [rows[at:at + per_file] for at in range(0, len(rows), per_file)]
    for number, part in enumerate(reversed(files)):
        put(folder, part, "suite.jsonl" + (f".{number}" if number else ""))
    levels = LEVELS[LEVELS.index(least):] if least else LEVELS
    wanted = [row for row in rows if row["level"] in levels and (not service or row["service"] == service) and (not request or row["request_id"] == request)
              and (text in row["message"] or text in json.dumps({"at": "", "logger": "suite", **row}, ensure_ascii=False))]
    found = LogReader(folder).newest(Query.of(level=least, service=service, contains=text, request_id=request, n=n))
    assert [(row["message"], row["level"], row["service"]) for row in found] == [(row["message"], row["level"], row["service"]) for row in wanted[-n:]]


def test_little_is_read_of_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = put(tmp_path, [{"message": f"line {n} " + "x" * 200} for n in range(20_000)])
    read: list[int] = []
    backwards = log_read._backwards
    monkeypatch.setattr(log_read, "parsed", lambda line: (read.append(len(line)), parsed(line))[1])
    monkeypatch.setattr(log_read, "_backwards", lambda file, end: (read.append(len(line)) or line for line in backwards(file, end)))
    assert said(reader.newest(Query.of(n=100)))[-1].startswith("line 19999 ")
    assert sum(read) < 200_000 < (tmp_path / "suite.jsonl").stat().st_size / 20
    old = put(tmp_path, [{"message": "older", "t": NOW - 7200} for _ in range(5000)], "suite.jsonl.1")
    read.clear()
    assert len(old.newest(Query.of(since="1h", contains="line 1 "))) == 1 and len(read) < 20_000 + 1 + 2 * log_read.STRAY, "it stops where all is too old"


def test_a_clock_that_was_set_back_for_a_moment_hides_nothing(tmp_path: Path) -> None:
    reader = put(tmp_path, [{"message": "before", "t": NOW - 60}, *({"message": "slip", "t": NOW - 9999} for _ in range(20)), {"message": "after"}])
    assert said(reader.newest(Query.of(since="1h"))) == ["before", "after"]


def test_a_request_is_not_one_that_a_line_speaks_of(tmp_path: Path) -> None:
    reader = put(tmp_path, [{"message": "mine", "request_id": "r1"}, {"message": "of r1", "request_id": "r2"}, {"message": "r1"}])
    assert said(reader.newest(Query.of(request_id="r1"))) == ["mine"]


def test_a_rotation_while_the_files_are_opened_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (2, 1, 0):
        put(tmp_path, [{"message": str(number)}], "suite.jsonl" + (f".{number}" if number else ""))
    file, find = LogFile(tmp_path), log_read.older

    def older(folder: Path) -> list[Path]:
        listed = find(folder)
        if len(listed) == 2:
            file._rotate()
        return listed

    monkeypatch.setattr(log_read, "older", older)
    assert said(LogReader(tmp_path).newest(Query.of())) == ["2", "1", "0"]
    file.close()


def test_where_files_are_rotated_faster_than_they_are_opened_no_line_is_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (2, 1, 0):
        put(tmp_path, [{"message": str(number)}], "suite.jsonl" + (f".{number}" if number else ""))
    reader, file, opens = LogReader(tmp_path), LogFile(tmp_path), Path.open
    cursor = reader.end()
    file.append('{"at": "2099-01-01T00:00:00.000+00:00", "level": "info", "service": "rag", "logger": "suite", "message": "3"}')

    def opened(path: Path, mode: str) -> Any:
        found = opens(path, mode)
        if path.name == "suite.jsonl":
            file._rotate()  # what was opened is met again under its next name
        return found

    with monkeypatch.context() as fast:
        fast.setattr(Path, "open", opened)
        assert sorted(said(reader.newest(Query.of()))) == ["0", "1", "3"], "each once; the oldest file was not listed yet"
        assert reader.after(cursor, Query.of()) == ([], cursor)
    rows, end = reader.after(cursor, Query.of())
    assert said(rows) == ["3"] and reader.after(end, Query.of())[0] == []
    file.close()


def test_lines_past_their_time_are_not_shown(tmp_path: Path) -> None:
    put(tmp_path, [{"message": "too old", "t": NOW - 8 * 86_400}, {"message": "young", "t": NOW - 6 * 86_400}])
    assert said(LogReader(tmp_path, days=7).newest(Query.of())) == ["young"] and len(LogReader(tmp_path, days=30).newest(Query.of())) == 2


def test_what_is_no_line_is_left_out_and_lines_of_older_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_bytes(
        b'{"at": "2099-01-01T00:00:00.000+00:00", "level": "WARNING", "logger": "suite.x", "message": "of 0.5 \\udc80"}\n\xff\xfe\n[1]\n{"at": 7, "level": "info"}\n'
        b'{"at": "yesterday", "level": "info"}\n\n' + b"[" * 100_000 + b'\n{"at": "2099-01-01T00:00:00.000+00:00", "level": "info", "service": "rag", "mess')
    (row,) = LogReader(tmp_path).newest(Query.of())
    assert (row["message"], row["level"], row["service"]) == ("of 0.5 \udc80", "warning", "stack")
    assert len(frame([row])) == 1


def test_no_file_is_no_line(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "none")
    assert reader.newest(Query.of()) == [] and reader.after(reader.end(), Query.of())[0] == []


@pytest.mark.parametrize(("asked", "words"), [
    ({"n": 0}, "n is 0 but must be a whole number from 1 to 10000"), ({"n": True}, "n is True"), ({"n": "5"}, "n is '5'"), ({"level": "loud"}, "level is 'loud'"),
    ({"service": "nobody"}, "service is 'nobody' but must be one of mcp-server, "), ({"since": "soon"}, "since is 'soon' but must be such as 30m"),
    ({"until": -1}, "until is -1"), ({"since": float("nan")}, "since is nan"), ({"since": True}, "since is True"), ({"since": "1h", "until": "2h"}, "exchange them"),
    ({"contains": 7}, "contains is 7 but must be text"), ({"since": "9" * 400 + "."}, "since is '999"), ({"since": [1]}, r"since is \[1\]"),
])
def test_what_cannot_be_asked_is_refused_in_one_sentence(asked: dict, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        Query.of(**asked)
    assert "\n" not in str(refused.value)


def test_times_are_said_in_many_ways() -> None:
    moment = datetime(2026, 1, 31, 8, tzinfo=UTC)
    for way in (moment, moment.timestamp(), "2026-01-31T08:00+00:00", "1769846400", "1769846400.000000", int(moment.timestamp())):
        assert Query.of(since=way).since == 1769846400.0
    assert abs((Query.of(since="2h").since or 0) - (time.time() - 7200)) < 60 and Query.of(since="").since is None
    assert Query.of(**Query.of(since=moment, level="error", n=5, contains="x").params() | {"n": 5}) == Query.of(since=moment, level="error", n=5, contains="x")


def test_following_gives_new_lines_across_rotations_once_each(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    log = FileLog(tmp_path, max_bytes=2000, kept=100)  # what is deleted before it is looked at would be missed
    request.addfinalizer(log.close)  # a log that stays open writes what the next tests say
    logger = logging.getLogger("suite.tools")
    logger.info("before")
    with Logs(log.reader).follow(service="mcp-server") as lines:
        lines._interval = 0.01
        seen, ended = [], threading.Event()

        def read() -> None:
            for row in lines:
                seen.append(row["message"])
                if len(seen) == 100:
                    ended.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        for n in range(100):
            logger.info("line %d", n)
            logging.getLogger("suite.memory").info("of another")
        assert ended.wait(20) and seen == [f"line {n}" for n in range(100)]
    reader.join(20)
    assert not reader.is_alive(), "closing ends the one who waits"


def test_following_without_waiting_and_from_the_loop_of_a_kernel(log: FileLog) -> None:
    lines = Logs(log.reader).follow()
    assert len(lines.new()) == 0
    logging.getLogger("suite").info("one")
    assert list(lines.new()["message"]) == ["one"] and len(lines.new()) == 0

    async def both() -> list[str]:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while beats < 3:
                await asyncio.sleep(0)
                beats += 1
            logging.getLogger("suite").info("two")

        other = asyncio.create_task(beat())
        row = await anext(aiter(lines))
        await other
        lines.close()
        return [row["message"], *[row["message"] async for row in lines]]

    assert asyncio.run(both()) == ["two"] and lines.closed


def test_following_ends_with_the_stack(log: FileLog) -> None:
    ended = threading.Event()
    lines = Logs(log.reader, ended.is_set).follow()
    ended.set()
    assert list(lines) == [] and len(lines.new()) == 0
    with pytest.raises(BadRequest, match="until goes with lines that were written"):
        Logs(log.reader).follow(until="1h")


def test_following_goes_on_when_the_file_is_deleted_cut_or_half_written(tmp_path: Path) -> None:
    reader = put(tmp_path, [{"message": "one"}])
    cursor = reader.end()
    file = tmp_path / "suite.jsonl"
    with file.open("a") as half:
        half.write('{"at": "2099-01-01T00:00:00.000+00:00", "level": "info", ')
        half.flush()
        rows, same = reader.after(cursor, Query())
        assert (rows, same) == ([], cursor), "half a line waits for its other half"
        half.write('"service": "rag", "logger": "suite", "message": "two"}\n')
    rows, cursor = reader.after(cursor, Query())
    assert said(rows) == ["two"]
    os.truncate(file, 0)
    put(tmp_path, [{"message": "three"}])
    rows, cursor = reader.after(cursor, Query())
    assert said(rows) == ["three"]
    file.unlink()
    assert reader.after(cursor, Query()) == ([], cursor)
    put(tmp_path, [{"message": "four"}])
    for wrong in (cursor, "", "x", "1-x", "-1--1", "99999999999999999999-5"):
        assert said(reader.after(wrong, Query())[0]) == ["four"] or wrong == cursor


def test_what_came_after_a_cursor_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path, [{"message": "oldest"}], "suite.jsonl.1")
    reader = put(tmp_path, [{"message": "old"}])
    cursor = reader.end()
    put(tmp_path, [{"message": "new"}])
    assert said(reader.newest(Query.of(), before=cursor)) == ["oldest", "old"]
    (tmp_path / "suite.jsonl.1").rename(tmp_path / "suite.jsonl.2")
    (tmp_path / "suite.jsonl").rename(tmp_path / "suite.jsonl.1")
    put(tmp_path, [{"message": "newest"}])
    assert said(reader.newest(Query.of(), before=cursor)) == ["oldest", "old"]


def test_much_that_is_new_comes_in_several_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = put(tmp_path, [{"message": "zero"}])
    cursor, begun = reader.end(), (tmp_path / "suite.jsonl").stat().st_size
    put(tmp_path, [{"message": f"{n:02}"} for n in range(30)])
    monkeypatch.setattr(log_read, "MOST_BYTES", (((tmp_path / "suite.jsonl").stat().st_size - begun) // 30) * 4)  # exactly four lines
    (tmp_path / "suite.jsonl").rename(tmp_path / "suite.jsonl.1")
    put(tmp_path, [{"message": f"{n:02}"} for n in range(30, 60)])
    seen = []
    for _ in range(20):
        rows, cursor = reader.after(cursor, Query())
        assert len(rows) <= 4
        seen += said(rows)
    assert seen == [f"{n:02}" for n in range(60)]
