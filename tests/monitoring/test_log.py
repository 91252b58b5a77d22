"""The log file: JSON lines, private, rotated, without secrets; nothing in the cell."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.errors import DataDirError
from suite.monitoring.log import FileLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path)
    yield opened
    opened.close()


def lines(log: FileLog) -> list[dict]:
    return [json.loads(line) for line in log.file.read_text(encoding="utf-8").splitlines()]


def test_what_the_suite_says_becomes_one_json_object_per_line(log: FileLog) -> None:
    logging.getLogger("suite.tools").warning("읽기 %s\n끝", "실패", extra={"part": "mcp-server"})
    (line,) = lines(log)
    assert line["message"] == "읽기 실패\n끝" and line["level"] == "WARNING" and line["logger"] == "suite.tools"
    assert line["extra"] == {"part": "mcp-server"}
    assert line["at"].endswith("+00:00")


def test_other_loggers_do_not_write_here(log: FileLog) -> None:
    logging.getLogger("other").error("no")
    assert lines(log) == []


def test_secrets_are_masked_in_messages_extras_and_tracebacks(log: FileLog) -> None:
    try:
        raise ValueError("password=hunter2pw")
    except ValueError:
        logging.getLogger("suite").exception("sent %s", "Authorization: Bearer abcdefgh12345", extra={"token": "tok-12345", "url": "http://a:pw-999@b"})
    text = log.file.read_text(encoding="utf-8")
    assert not any(secret in text for secret in ("hunter2pw", "abcdefgh12345", "tok-12345", "pw-999")) and "ValueError" in text and "***" in text


def test_nothing_is_printed_even_where_the_root_logger_prints(log: FileLog, capfd: pytest.CaptureFixture[str]) -> None:
    printing = logging.StreamHandler()
    logging.getLogger().addHandler(printing)
    try:
        logging.getLogger("suite").error("quiet")
        log.close()
        logging.getLogger("suite").error("quiet after the end, too")
    finally:
        logging.getLogger().removeHandler(printing)
    assert capfd.readouterr() == ("", "")


def test_only_the_owner_can_read_it_and_the_level_is_kept(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        log = FileLog(tmp_path, "ERROR")
    finally:
        os.umask(old)
    logging.getLogger("suite").warning("no")
    logging.getLogger("suite").error("yes")
    assert [line["message"] for line in lines(log)] == ["yes"] and stat.S_IMODE(log.file.stat().st_mode) == 0o600
    log.close()


def test_a_full_file_is_rotated_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = FileLog(folder, max_bytes=500, kept=2)
    for n in range(30):
        logging.getLogger("suite").info("line %d", n)
    log.close()
    assert sorted(os.listdir(folder)) == ["suite.jsonl", "suite.jsonl.1", "suite.jsonl.2"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_size <= 500 for file in folder.iterdir())


def test_closing_lets_go_of_the_file_and_can_be_done_twice(log: FileLog) -> None:
    before = len(os.listdir("/proc/self/fd"))
    log.close()
    log.close()
    logging.getLogger("suite").error("late")
    assert lines(log) == [] and len(os.listdir("/proc/self/fd")) == before - 1


def test_two_stacks_in_one_process_keep_their_own_levels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    talkative, quiet = FileLog(tmp_path / "a", "DEBUG"), FileLog(tmp_path / "b", "ERROR")
    logging.getLogger("suite").debug("detail")
    assert len(lines(talkative)) == 1 and lines(quiet) == []
    talkative.close()
    assert not logging.getLogger("suite").isEnabledFor(logging.WARNING)
    quiet.close()


def test_a_record_that_cannot_be_written_is_counted_not_printed(log: FileLog, capfd: pytest.CaptureFixture[str]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this platform")
    stream, full = log._sink.stream, open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 (closing it fails, which is the point)
    log._sink.stream = full
    logging.getLogger("suite").error("lost")
    log._sink.stream = stream
    with pytest.raises(OSError, match="No space"):
        full.close()
    logging.getLogger("suite").error("kept")
    assert log.lost == 1 and capfd.readouterr() == ("", "") and [line["message"] for line in lines(log)] == ["kept"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match="cannot be written"):
        FileLog(tmp_path / "gone")


def test_what_the_web_server_warns_of_is_in_the_file_and_not_on_standard_error(tmp_path, capsys):
    log = FileLog(tmp_path)
    logging.getLogger("uvicorn.error").warning("a stream was cut off")
    log.close()
    logging.getLogger("uvicorn.error").warning("after the stack has stopped")
    assert "a stream was cut off" in (tmp_path / "suite.jsonl").read_text(encoding="utf-8")
    assert "a stream was cut off" not in capsys.readouterr().err
