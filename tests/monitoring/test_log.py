"""The log file: JSON lines, private, rotated, without secrets; nothing in the cell."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from disks import fill, free, mounted

from suite.errors import DataDirError
from suite.monitoring.log import FileLog
from suite.monitoring.log_line import MOST_CHARS, SERVICES, service_of
from suite.monitoring.log_series import LogSeries


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path)
    yield opened
    opened.close()


def lines(log: FileLog) -> list[dict]:
    return [json.loads(line) for line in log.file.read_text(encoding="utf-8").splitlines()]


def test_what_the_suite_says_becomes_one_json_object_per_line(log: FileLog) -> None:
    logging.getLogger("suite.tools").warning("읽기 %s\n끝", "실패", extra={"part": "x"})
    (line,) = lines(log)
    assert line["message"] == "읽기 실패\n끝" and line["level"] == "warning" and line["logger"] == "suite.tools"
    assert line["extra"] == {"part": "x"} and line["service"] == "mcp-server" and list(line)[:3] == ["at", "level", "service"]
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


def test_a_record_that_cannot_be_written_is_counted_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A disk that is full, for real, and then is not."""
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        log = FileLog(disk)
        logging.getLogger("suite").info("kept")
        fill(disk)
        for _ in range(200):  # what is left of the last block is filled, too
            logging.getLogger("suite").error("lost " + "x" * 100)
        assert log.lost > 100 and not log.ready().ok and "free space" in log.ready().reasons[0]
        free(disk)
        logging.getLogger("suite").error("kept, too")
        assert log.ready().ok and log.counts["error"] == 201 - log.lost
        seen = [line["message"] for line in lines(log)]  # all lines whole
        log.close()
    assert (seen[0], seen[-1], len(seen)) == ("kept", "kept, too", 202 - log.lost) and capfd.readouterr() == ("", "")


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


def test_a_line_says_whose_it_is() -> None:
    said = {"suite.gateway": "api-gateway", "suite.knowledge.find": "rag", "suite.memory": "memory-api", "suite.maintainer": "memory-maintainer",
            "mcp.server": "mcp-server", "suite.stack": "stack", "suite.novel": "stack", "uvicorn.error": "stack", "suite": "stack"}
    assert contextvars.Context().run(lambda: {name: service_of(name) for name in said}) == said  # outside of any request
    assert (service_of("suite.serving", "inference-code"), service_of("suite.gateway", "nobody")) == ("inference-code", "api-gateway")


def test_a_marker_goes_through_the_logger_of_each_service(log: FileLog) -> None:
    assert log.mark("abc") == list(SERVICES) and [line["service"] for line in lines(log)] == list(SERVICES)
    assert {line["message"] for line in lines(log)} == {"abc"} and not any("extra" in line for line in lines(log)) and log.deep().ok


def test_a_log_that_is_cut_off_from_its_loggers_is_found_out(log: FileLog) -> None:
    logging.getLogger("suite").removeHandler(log._sink)
    assert not log.live().ok and not log.ready().ok and "api-gateway" in log.deep().reasons[0] and "mcp-server" in log.deep().reasons[0]


def test_a_message_of_ten_megabytes_is_cut_and_says_so(log: FileLog) -> None:
    try:
        raise ValueError("begin " + "y" * 10_000_000 + " password=hunter2pw the end")
    except ValueError:
        logging.getLogger("suite").exception("x" * 10_000_000, extra={"given": "z" * 10_000_000, "bytes": b"b" * 10_000_000})
    (line,) = lines(log)
    assert line["message"].endswith("[cut: 10,000,000 characters]") and line["error"].startswith("[cut: 10,0") and line["error"].endswith("*** the end")
    assert "[cut:" in str(line["extra"]) and log.file.stat().st_size < 60_000


def test_a_secret_at_the_place_of_the_cut_is_not_half_shown(log: FileLog) -> None:
    logging.getLogger("suite").error("x" * (MOST_CHARS - 20) + " suite_" + "k" * 43 + " " + "x" * 1000)
    assert "kkk" not in log.file.read_text(encoding="utf-8")


def test_what_ends_a_line_for_some_reader_or_has_no_bytes_is_escaped(log: FileLog) -> None:
    logging.getLogger("suite").error("a\u2028b\x85c\x1b[2Jd\x7f\udc80e\n\0", extra={"v\udfff": "\x9b"})
    text = log.file.read_bytes().decode("utf-8")
    assert len(text.splitlines()) == 1 and text.isascii() and "\x1b" not in text
    (line,) = lines(log)
    assert line["message"] == "a\u2028b\x85c\x1b[2Jd\x7f\\udc80e\n\0" and line["extra"] == {"v\\udfff": "\x9b"}


def test_values_that_are_no_json_or_cannot_be_text_do_not_cost_the_line(log: FileLog) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no")

    circle: list = []
    circle.append(circle)
    logging.getLogger("suite.tools").error("a", extra={"nan": float("nan")})
    logging.getLogger("suite.tools").error("b", extra={"mute": Mute()})
    logging.getLogger("suite.tools").error("c", extra={"circle": circle})
    log._sink.handle(logging.LogRecord("suite.tools", logging.ERROR, "", 0, "d %s %s token=abcdefgh", ("one",), None))  # pytest's own sink raises
    seen = lines(log)
    assert [line["service"] for line in seen] == ["mcp-server"] * 4 and log.lost == 0 and seen[0]["extra"] == {"text": "{'nan': nan}"}
    assert "RuntimeError" in seen[1]["message"] and "RecursionError" in seen[2]["message"] and "not enough arguments" in seen[3]["message"]
    assert "abcdefgh" not in seen[3]["message"]


def test_loggers_of_structlog_write_the_same_lines(log: FileLog) -> None:
    logger = structlog.wrap_logger(logging.getLogger("suite.memory"), wrapper_class=structlog.stdlib.BoundLogger,
                                   processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter])
    logger.bind(project="p").warning("said", token="tok-12345")
    (line,) = lines(log)
    assert (line["message"], line["level"], line["service"], line["extra"]) == ("said", "warning", "memory-api", {"project": "p", "token": "***"})


def test_the_numbers_are_those_of_the_log(log: FileLog) -> None:
    def seen() -> dict:
        return {(one.name, one.labels.get("level", "")): one.value for family in LogSeries(log).collect() for one in family.samples}

    assert seen()["suite_log_lines_total", "error"] == 0
    logging.getLogger("suite").error("one")
    now = seen()
    assert (now["suite_log_lines_total", "error"], now["suite_log_lines_total", "info"], now["suite_log_lost_total", ""]) == (1, 0, 0)
    assert now["suite_log_unshipped_total", ""] == 0 and 0 <= now["suite_log_last_line_age_seconds", ""] < 60
    log._sink.last -= 1000
    log._sink.lost = 3
    assert seen()["suite_log_last_line_age_seconds", ""] >= 1000 and seen()["suite_log_lost_total", ""] == 3
    log.beat()
    assert seen()["suite_log_last_line_age_seconds", ""] < 60 and "1 since the start, 3 lost" in lines(log)[-1]["message"]


def test_the_silence_of_a_log_that_writes_warnings_only_is_not_measured(tmp_path: Path) -> None:
    log = FileLog(tmp_path, "WARNING")
    assert "suite_log_last_line_age_seconds" not in {family.name for family in LogSeries(log).collect()}
    log.close()
