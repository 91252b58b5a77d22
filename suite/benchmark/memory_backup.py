"""A backup of the filled memory while somebody goes on saving, and how long it takes to bring it back."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Any

from suite.backup.create import create
from suite.backup.source import database, vectors
from suite.backup.verify import verify
from suite.benchmark.figures import percentile
from suite.benchmark.memory_bank import Bank
from suite.benchmark.memory_texts import LANGUAGES
from suite.benchmark.row import Limit
from suite.errors import RunFailed

BACKUP = Limit("backup with writes going on", "s", "<=", 60.0)
RTO = Limit("verification, which is a restore (RTO)", "s", "<=")
SIZE = Limit("snapshot on disk", "MB", "<=")
SAVED = Limit("save while the backup runs: p95", "ms", "<=")
LIMITS = (BACKUP, RTO, SIZE, SAVED)
PAUSE = 0.1  # seconds between two saves: somebody writes all the time, and not as fast as the disk can
JOIN_SECONDS = 60.0


class Writer:
    """Somebody who saves turns, one after the other, as long as the `with` lasts; `marks` are the seconds of each save."""

    def __init__(self, bank: Bank) -> None:
        self._bank, self._stop = bank, threading.Event()
        self._thread = threading.Thread(target=self._write, name="suite-bench-writer", daemon=True)
        self.marks: list[float] = []
        self._error: Exception | None = None

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(JOIN_SECONDS)

    def check(self) -> None:
        """Raise RunFailed unless every save was made, and there were some."""
        if self._error is not None or not self.marks:
            raise RunFailed(f"Nobody could save while the backup ran, so its time means nothing: {self._error or 'it was over at once'}".rstrip("."))

    def _write(self) -> None:
        languages = list(LANGUAGES)
        try:
            while not self._stop.is_set():
                self.marks += self._bank.saves(languages[len(self.marks) % len(languages)], 1)
                self._stop.wait(PAUSE)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: whoever measures is told
            self._error = error


def backup(bank: Bank, held: bool) -> list[dict[str, Any]]:
    """The rows of one backup of a bank; its time is held to the limit when the bank is of the size that this is for (`held`).

    Raises RunFailed when nobody could save meanwhile, or the snapshot cannot be restored.
    """
    folder = bank.folder.parent / "backups"
    try:
        with Writer(bank) as writer:
            began = time.perf_counter()
            made = create(folder, [database(bank.storage), vectors(bank.store)])
            seconds = time.perf_counter() - began
        writer.check()
        found = verify(made.path)
        found.check()
        rows = [(BACKUP if held else replace(BACKUP, limit=None)).row(seconds, note=f"{bank.size:,} turns, {len(writer.marks)} saves meanwhile"),
                RTO.row(found.seconds, note=f"{found.rows:,} rows, {found.points:,} points"),
                SIZE.row(sum(path.stat().st_blocks * 512 for path in folder.rglob("*")) / (1 << 20)),
                SAVED.row(1000 * percentile(writer.marks, 0.95), note=f"{len(writer.marks)} saves")]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return rows
