"""The log's files: `suite.jsonl`, and beside it older ones with a number; bounded by size and by age, private, whole lines only."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

FILE = "suite.jsonl"
MAX_BYTES = 5_000_000
KEPT = 5  # as many full files are kept beside the current one; smaller ones, that a day had filled, until all of them together are as large
DAY = 86_400.0
LOOK_SECONDS = 600.0  # between two looks at the age of what is there
_OLDER = re.compile(re.escape(FILE) + r"\.(\d{1,6})")
_BEGIN = re.compile(rb'\{"at": "([^"]{10,40})"')


class LogFile:
    """The file that lines are appended to, and its older ones. Not safe for threads: whoever writes holds a lock of their own."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT, days: float = 30.0,
                 clock: Callable[[], float] = time.time) -> None:
        """Open the file; raises OSError when it cannot be written."""
        self.path, self._folder, self._clock = folder / FILE, folder, clock
        self._max, self._most, self._seconds = max_bytes, max_bytes * (kept + 1), days * DAY
        self._slice = max(DAY, self._seconds / 30)  # the file is rotated after this time though it is not full, so that age can be told by files
        self._fd, self._begun, self._look, self._seen = -1, 0.0, 0.0, 0.0
        if not folder.is_dir():
            raise FileNotFoundError(2, "there is no such folder", str(folder))
        self._open()
        self.tidy()

    def append(self, line: str) -> None:
        """Write one line, whole or not at all. Raises OSError."""
        data, now = line.encode("utf-8", "backslashreplace") + b"\n", self._clock()
        size = self._size(now)
        if size and (size + len(data) > self._max or abs(now - self._begun) > self._slice):
            self._rotate()
            size = 0
        if not size:
            self._begun = now
        written = os.write(self._fd, data)
        if written < len(data):  # the disk is full: half a line would spoil the next one, too
            os.ftruncate(self._fd, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if now >= self._look:
            self.tidy()

    def tidy(self) -> list[str]:
        """Delete older files whose last line is older than the time they are kept, and the oldest while all take too much; gives their names."""
        now = self._clock()
        self._look = now + LOOK_SECONDS
        if self._size(now) and abs(now - self._begun) > self._slice:
            self._rotate()
        gone, total = [], self._size(now)
        for path in older(self._folder):  # the newest first
            status = path.stat()
            total += status.st_size
            if gone or total > self._most or now - status.st_mtime > self._seconds:
                path.unlink()
                gone.append(path.name)
        return gone

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _size(self, now: float) -> int:
        """Bytes of the current file; one that was deleted is made anew at once, one that was moved away within a second."""
        if self._fd < 0:
            self._open()
        status = os.fstat(self._fd)
        if status.st_nlink and abs(now - self._seen) > 1.0:  # to look for the name costs more than all else here
            self._seen = now
            try:
                moved = os.stat(self.path).st_ino != status.st_ino
            except FileNotFoundError:
                moved = True
        else:
            moved = not status.st_nlink
        if not moved:
            return status.st_size
        self._open()
        return os.fstat(self._fd).st_size

    def _open(self) -> None:
        self.close()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        status = os.fstat(self._fd)
        self._begun = self._seen = self._clock()
        if status.st_size:
            self._begun = _moment(os.pread(self._fd, 64, 0)) or status.st_mtime
            if os.pread(self._fd, 1, status.st_size - 1) != b"\n":  # of a process that was killed, or a machine that lost its power
                os.write(self._fd, b"\n")

    def _rotate(self) -> None:
        for path in reversed(older(self._folder)):
            path.rename(self._folder / f"{FILE}.{_number(path) + 1}")
        self.path.rename(self._folder / f"{FILE}.1")
        self._open()
        self._look = 0.0  # there is one file more, and perhaps too many bytes


def older(folder: Path) -> list[Path]:
    """The older files, the newest of them first."""
    try:
        names = [name for name in os.listdir(folder) if _OLDER.fullmatch(name)]
    except FileNotFoundError:
        return []
    return sorted((folder / name for name in names), key=_number)


def _number(path: Path) -> int:
    return int(path.name.rsplit(".", 1)[1])


def _moment(begin: bytes) -> float | None:
    found = _BEGIN.match(begin)
    try:
        return datetime.fromisoformat(found[1].decode("ascii")).timestamp() if found else None
    except ValueError:
        return None
