"""The log file: JSON lines in the data directory, secrets masked; nothing is printed in a cell."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from suite.errors import DataDirError
from suite.text.secret import masked, masked_text

NAME = "suite"
LENT = ("uvicorn", "mcp")  # libraries whose warnings belong in the file, not on the standard error of whichever cell runs
FILE = "suite.jsonl"
MAX_BYTES = 5_000_000
KEPT = 5  # rotated files beside the current one
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FileLog:
    """The open log of one stack: what the logger `suite` and its children say goes to `suite.jsonl` in `folder`, from `level` on."""

    def __init__(self, folder: Path, level: str = "INFO", max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        """Open the file; raises DataDirError when it cannot be written."""
        logger = logging.getLogger(NAME)
        logger.propagate = False  # else the root logger's handlers print in whichever cell runs
        if not any(isinstance(one, logging.NullHandler) for one in logger.handlers):
            logger.addHandler(logging.NullHandler())  # else, without a file, warnings go to standard error
        try:
            self._sink = _Sink(folder / FILE, maxBytes=max_bytes, backupCount=kept, encoding="utf-8")
        except OSError as error:
            raise DataDirError(f"The log {folder / FILE} cannot be written ({error.strerror}); make the folder writable or free space.") from error
        self._sink.setLevel(level)
        self._sink.setFormatter(_Lines())
        for name in (NAME, *LENT):
            logging.getLogger(name).addHandler(self._sink)
        _settle_level(logger)

    @property
    def file(self) -> Path:
        """The file that is written now."""
        return Path(self._sink.baseFilename)

    @property
    def lost(self) -> int:
        """How many records could not be written, e.g. on a full disk."""
        return self._sink.lost

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        for name in (NAME, *LENT):
            logging.getLogger(name).removeHandler(self._sink)
        self._sink.close()
        _settle_level(logging.getLogger(NAME))


def _settle_level(logger: logging.Logger) -> None:
    """Two stacks in one process share the logger: it lets through what the more talkative file wants, each file keeps to its own level."""
    logger.setLevel(min((one.level for one in logger.handlers if isinstance(one, _Sink)), default=logging.WARNING))


class _Lines(logging.Formatter):
    """One record as one JSON object: at, level, logger, thread, message, what `extra=` gave, error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"), "level": record.levelname,
                                "logger": record.name, "thread": record.threadName, "message": masked_text(record.getMessage())}
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if extra:
            line["extra"] = masked(extra)
        if record.exc_info:
            line["error"] = masked_text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class _Sink(RotatingFileHandler):
    """The rotating file, readable by its owner only."""

    lost = 0

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors="backslashreplace",
                    opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o600))

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1  # a full disk must not print a traceback in every cell
