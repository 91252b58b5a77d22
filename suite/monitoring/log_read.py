"""Reading the log: the newest lines from the end of its files, and what came after a place in them; a block at a time, never all."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from suite.monitoring.log_file import DAY, FILE, older
from suite.monitoring.log_line import moment_text, parsed
from suite.monitoring.log_query import Query

BLOCK = 1 << 16
MOST_BYTES = 1 << 20  # of new lines in one answer
TRIES = 10
STRAY = 100  # lines in a row that are too old, until it is believed that all before are: clocks are set back
_HEAD = re.compile(rb'\{"at": "([^"]{23})\+00:00", "level": "([a-z]+)", "service": "([a-z-]+)"')  # of every line that this version writes


class LogReader:
    """Reads the files in `folder` while somebody else writes them; lines of more than `days` ago count as deleted.

    `catch_up` has whoever writes write what waits, before each look.
    """

    def __init__(self, folder: Path, days: float = 30.0, clock: Callable[[], float] = time.time,
                 catch_up: Callable[[], None] = lambda: None) -> None:
        self.days, self._folder, self._clock, self._catch_up = days, folder, clock, catch_up

    def newest(self, query: Query, before: str = "") -> list[dict[str, Any]]:
        """The newest lines that a query asks for, the oldest of them first; with `before`, a cursor, of those that stood there then."""
        found: list[dict[str, Any]] = []
        for _, row in self._matching(query, before):
            found.append(row)
            if len(found) == query.n:
                break
        return found[::-1]

    def raw(self, query: Query, oldest: bool = False) -> list[tuple[dict[str, Any], str]]:
        """The newest lines (or the oldest) that a query asks for, each read and as it is written, in the order they were written."""
        found: deque[tuple[dict[str, Any], str]] = deque(maxlen=query.n)
        for line, row in self._matching(query):
            if len(found) == query.n and not oldest:
                break
            found.append((row, line.decode("utf-8", "replace")))
        return list(found)[::-1]

    def end(self) -> str:
        """The cursor of the place where the next line will stand."""
        with ExitStack() as stack:
            files, _ = self._open(stack)
            return _cursor(files[0], os.fstat(files[0].fileno()).st_size) if files else "0-0"

    def after(self, cursor: str, query: Query) -> tuple[list[dict[str, Any]], str]:
        """The lines after a cursor that a query asks for, whatever its `n` is, and the cursor behind what was looked at.

        Where the file of a cursor is gone, its lines are, too, and it goes on with the current file.
        """
        with ExitStack() as stack:
            files, whole = self._open(stack)
            if not files or not whole:
                return [], cursor  # the next look finds what is there now: nothing is missed or given twice
            at, offset = _place(files, cursor)
            read, found = 0, []
            while True:
                files[at].seek(offset)
                block = files[at].read(MOST_BYTES - read)
                end = block.rfind(b"\n") + 1
                if not end and len(block) == MOST_BYTES:
                    end = len(block)  # no line of ours is as long
                found += [row for line in block[:end].splitlines() if (row := self._row(line, query))]
                offset, read = offset + end, read + end
                if at == 0 or read >= MOST_BYTES or len(block) > end:
                    return found, _cursor(files[at], offset)
                at, offset = at - 1, 0

    def _matching(self, query: Query, before: str = "") -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Lines that match with what they say, the newest first."""
        begin = max(query.since or 0.0, self._clock() - self.days * DAY)
        since, until, needles = _text(begin), b"" if query.until is None else _text(query.until), query.needles
        levels, service, old = {level.encode() for level in query.levels}, query.service.encode(), 0
        with ExitStack() as stack:
            files, _ = self._open(stack)
            at, offset = _place(files, before) if before and files else (0, None)
            for file in files[at:]:
                for line in _backwards(file, offset):
                    head = _HEAD.match(line)
                    if head:
                        old = old + 1 if head[1] < since else 0
                        if old > STRAY:
                            return
                        if (old or (until and head[1] >= until) or head[2] not in levels or (service and head[3] != service)
                                or any(needle not in line for needle in needles)):
                            continue
                    row = self._row(line, query, begin)
                    if row:
                        yield line, row
                offset = None

    def _row(self, line: bytes, query: Query, begin: float | None = None) -> dict[str, Any] | None:
        row = parsed(line)
        since = query.since if begin is None else begin
        if row is None or (since is not None and row["at"] < moment_text(since)):
            return None
        if query.until is not None and row["at"] >= moment_text(query.until):
            return None
        return row if query.matches(row, line.decode("utf-8", "replace")) else None

    def _open(self, stack: ExitStack) -> tuple[list[BinaryIO], bool]:
        """The files, the newest first, and whether these are all of them in that order.

        Where they get other names meanwhile, one could be missed or met twice: then it is done again, but not for ever.
        """
        self._catch_up()
        files: dict[int, BinaryIO] = {}
        for _ in range(TRIES):
            files, names = {}, [self._folder / FILE, *older(self._folder)]
            for path in names:
                try:
                    file = stack.enter_context(path.open("rb"))
                except FileNotFoundError:
                    continue
                files.setdefault(os.fstat(file.fileno()).st_ino, file)
            if len(files) == len(names) and names[1:] == older(self._folder):
                return list(files.values()), True
        return list(files.values()), False


def _backwards(file: BinaryIO, end: int | None = None) -> Iterator[bytes]:
    """The lines of a file, or of its first `end` bytes, from the last on."""
    position, rest = file.seek(0, os.SEEK_END) if end is None else end, b""
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        file.seek(position)
        lines = (file.read(size) + rest).split(b"\n")
        rest = lines[0]
        yield from (line for line in reversed(lines[1:]) if line)
    if rest:
        yield rest


def _text(seconds: float) -> bytes:
    """A moment as it stands in the head of a line."""
    return moment_text(seconds)[:23].encode()


def _cursor(file: BinaryIO, offset: int) -> str:
    return f"{os.fstat(file.fileno()).st_ino}-{offset}"


def _place(files: list[BinaryIO], cursor: str) -> tuple[int, int]:
    """Which of the files a cursor means, and where in it; the beginning of the current one where that file is gone or was cut."""
    inode, _, offset = cursor.partition("-")
    if inode.isdecimal() and offset.isdecimal():
        for at, file in enumerate(files):
            status = os.fstat(file.fileno())
            if status.st_ino == int(inode) and status.st_size >= int(offset):
                return at, int(offset)
    return 0, 0
