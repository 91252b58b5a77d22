"""The log of one stack: JSON lines in the data directory, secrets masked; nothing is printed in a cell."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from suite.errors import DataDirError
from suite.monitoring.log_file import KEPT, MAX_BYTES, LogFile
from suite.monitoring.log_line import LENT, LEVELS, PACKAGES, SERVICES, Waiting, formatter, level_of, plain, service_of, without_form
from suite.monitoring.log_query import Query
from suite.monitoring.log_read import LogReader
from suite.monitoring.loki import Shipper, open_shipper
from suite.monitoring.probe import State, bad, good
from suite.monitoring.request_context import current

NAME = "suite"
SOON = 0.05  # seconds until a line of an answered request is in the file
MOST_WAITING = 1_000  # lines
BEAT_SECONDS = 240.0  # between two lines that say no more than that; an alert waits for 300
log, top = logging.getLogger("suite.monitoring"), logging.getLogger(NAME)
_LOGGERS = {service: f"suite.{package}" for package, service in PACKAGES.items() if package != "access"}


class Shipping(Protocol):
    """Where lines go besides the file."""

    lost: int

    def put(self, at: float, service: str, level: str, line: str) -> None:
        """Take a line; never waits and never raises."""

    def close(self) -> None:
        """Send what can still be sent, and end."""


class FileLog:
    """The open log of one stack: what the logger `suite` and its children say goes to `suite.jsonl` in `folder`, from `level` on.

    Lines are kept for `days`, and no more of them than fill `kept` files of `max_bytes` beside the current one. `counts` are lines by level,
    `lost` those that could not be written, e.g. on a full disk; `last` is when the last one was written (UTC seconds since 1970).
    """

    def __init__(self, folder: Path, level: str = "INFO", max_bytes: int = MAX_BYTES, kept: int = KEPT, days: float = 30.0,
                 ship: Shipping | None = None, clock: Callable[[], float] = time.time) -> None:
        """Open the file; raises DataDirError when it cannot be written."""
        logger = logging.getLogger(NAME)
        logger.propagate = False  # else the root logger's handlers print in whichever cell runs
        if not any(isinstance(one, logging.NullHandler) for one in logger.handlers):
            logger.addHandler(logging.NullHandler())  # else, without a file, warnings go to standard error
        try:
            opened = LogFile(folder, max_bytes, kept, days, clock)
        except OSError as error:
            raise DataDirError(f"The log in {folder} cannot be written ({error.strerror}); make the folder writable or free space.") from error
        self._file, self.shipper, self._sink = opened, ship, _Sink(opened, ship, clock)
        self.reader = LogReader(folder, days, clock, self._sink.catch_up)
        self._sink.setLevel(level)
        for name in (NAME, *LENT):
            logging.getLogger(name).addHandler(self._sink)
        _settle_level(logger)

    @property
    def file(self) -> Path:
        """The file that is written now."""
        self._sink.catch_up()
        return self._file.path

    @property
    def lost(self) -> int:
        """How many records could not be written, e.g. on a full disk."""
        return self._sink.lost

    @property
    def counts(self) -> dict[str, int]:
        """How many lines were written, by level."""
        self._sink.catch_up()
        return dict(self._sink.counts)

    @property
    def last(self) -> float:
        """When the last line was written, in UTC seconds since 1970; when the log was opened, if none was."""
        return self._sink.last

    @property
    def chatty(self) -> bool:
        """Whether a line comes every few minutes even where nothing happens, so that silence means something: not above level INFO."""
        return self._sink.level <= logging.INFO

    def beat(self) -> dict[str, Any]:
        """Say that lines are still written, and delete what is older than it is kept; gives the names of deleted files."""
        log.info("lines are written; %d since the start, %d lost", sum(self.counts.values()), self.lost)
        return {"deleted": self._sink.tidy()}

    def mark(self, text: str) -> list[str]:
        """Write one line with that text through the logger of each service, at whatever level is written; gives the services."""
        level = max(logging.INFO, self._sink.level)
        for service in SERVICES:
            logging.getLogger(_LOGGERS.get(service, "suite.serving" if service.startswith("inference") else "suite.stack")).log(
                level, "%s", text, extra={"service": service})
        return list(SERVICES)

    def live(self) -> State:
        """Whether lines reach this log at all."""
        return good() if self._sink in logging.getLogger(NAME).handlers else bad("The log was closed; start the stack anew.")

    def ready(self) -> State:
        """Whether the last line that came could be written."""
        facts = {"lines": sum(self._sink.counts.values()), "lost": self.lost, "last": self.last, "file": str(self.file)}
        if self._sink.failed:
            return bad(f"The last line could not be written to {self.file} ({self._sink.failed}); free space or make the folder writable.", **facts)
        return good(**facts) if self.live().ok else self.live()

    def deep(self) -> State:
        """Write a line for each service and find it again."""
        marker = f"marker {secrets.token_hex(8)}"
        wanted = set(self.mark(marker))
        found = {row["service"] for row in self.reader.newest(Query.of(contains=marker, since="5m", n=len(wanted)))}
        return good(services=sorted(found)) if found == wanted else bad(f"A line of {', '.join(sorted(wanted - found))} was written and not found.")

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        for name in (NAME, *LENT):
            logging.getLogger(name).removeHandler(self._sink)
        self._sink.close()
        _settle_level(logging.getLogger(NAME))
        if self.shipper is not None:
            self.shipper.close()


def open_log(settings: Any, folder: Path, clock: Callable[[], float] = time.time) -> FileLog:
    """The log under these settings, shipped to a Loki where LOKI_URL names one. Raises DataDirError, SettingsError."""
    ship: Shipper | None = open_shipper(settings)
    try:
        return FileLog(folder, settings.log_level, days=settings.loki_retention, ship=ship, clock=clock)
    except BaseException:
        if ship is not None:
            ship.close()
        raise


def soon(logger: logging.Logger, level: int, message: str, numbers: Mapping[str, int | float]) -> None:
    """Have the line written that `logger.log(level, "%s", message, extra=numbers)` writes, within SOON seconds.

    Every request has such a line, and to make it costs the next request four times what it costs in a row of them. From WARNING on, and where
    others listen than files of stacks, it is written at once. `logger` is a child of `suite` whose level lets the line through.
    """
    sinks = [one for one in top.handlers if type(one) is not logging.NullHandler]
    if level >= logging.WARNING or logger.handlers or not all(type(one) is _Sink for one in sinks):
        logger.log(level, "%s", message, extra=dict(numbers))
        return
    waiting = Waiting(time.time(), level_of(level), service_of(logger.name), logger.name, message, numbers, current(),
                      threading.current_thread().name)
    for sink in sinks:
        if level >= sink.level:
            sink.soon(waiting)


def _settle_level(logger: logging.Logger) -> None:
    """Two stacks in one process share the logger: it lets through what the more talkative file wants, each file keeps to its own level."""
    logger.setLevel(min((one.level for one in logger.handlers if isinstance(one, _Sink)), default=logging.WARNING))


class _Sink(logging.Handler):
    """Formats a record once, writes it, and hands it on."""

    def __init__(self, file: LogFile, ship: Shipping | None, clock: Callable[[], float]) -> None:
        super().__init__()
        self._file, self._ship, self._clock = file, ship, clock
        self.setFormatter(formatter())
        self.counts, self.lost, self.failed, self.last = dict.fromkeys(LEVELS, 0), 0, "", clock()
        self._waiting: deque[Waiting] = deque()
        self._wanted, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="suite-log", daemon=True)
        self._thread.start()

    def soon(self, line: Waiting) -> None:
        """Take a line that the thread writes."""
        self._waiting.append(line)
        if len(self._waiting) > MOST_WAITING:  # nobody may make lines faster than they are written
            self.catch_up()
        elif not self._wanted.is_set():
            self._wanted.set()

    def catch_up(self) -> None:
        """Write what waits; safe to call at any time."""
        if not self._waiting:
            return
        self.acquire()
        try:
            while self._waiting:
                line = self._waiting.popleft()
                self._write(plain(line), line.level, line.at, line.service)
        finally:
            self.release()

    def _work(self) -> None:
        while self._wanted.wait() and not self._ended.wait(SOON):
            self._wanted.clear()
            self.catch_up()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; what cannot be written is counted: a full disk must not print a traceback in every cell."""
        self.catch_up()
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - whatever the values of a record do when they are made into text, the line is not lost
            line = without_form(record, error)
        self._write(line, level_of(record.levelno), record.created, service_of(record.name, getattr(record, "service", None)))

    def _write(self, line: str, level: str, at: float, service: str) -> None:
        try:
            self._file.append(line)
        except OSError as error:
            self.lost, self.failed = self.lost + 1, error.strerror or str(error)
        else:
            self.counts[level], self.failed, self.last = self.counts[level] + 1, "", self._clock()
        if self._ship is not None:
            self._ship.put(at, service, level, line)

    def tidy(self) -> list[str]:
        """Delete old files, while nobody writes."""
        self.acquire()
        try:
            return self._file.tidy()
        finally:
            self.release()

    def close(self) -> None:
        """Write what waits and let go of the file, when nobody writes."""
        self._ended.set()
        self._wanted.set()
        self._thread.join()
        self.catch_up()
        self.acquire()
        try:
            self._file.close()
        finally:
            self.release()
        super().close()
