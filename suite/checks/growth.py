"""How much more a data directory takes once everything in it is as old as it may get."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from suite.backup.prune import SCHEDULE
from suite.backup.snapshot import MANIFEST, PARTIAL
from suite.monitoring.history import MOST_BYTES
from suite.monitoring.log_file import KEPT, MAX_BYTES

SAVED = ("sqlite", "vectors", "memory")  # what a snapshot holds
DAY = 86_400.0


def growth(data: Path, log_days: float) -> dict[str, int]:
    """Bytes that are still to come, by kind, never below 0.

    The log goes on as fast as so far for the days that its lines are kept (`log_days`), metrics up to their limit, and backups until as many are
    there as are kept, each as large as the newest one (or, before the first, as what would be saved now).
    """
    log, history, backups = data / "logs", _bytes(data / "monitoring"), data / "backups"
    full = MAX_BYTES * (KEPT + 1)
    days = max(_age(log), 1.0)
    newest = _newest(backups)
    one = _bytes(newest) if newest else sum(_bytes(data / name) for name in SAVED)
    wanted = {"log": (min(full, int(_bytes(log) / days * log_days)), _bytes(log)), "metrics": (MOST_BYTES, history),
              "backups": (one * sum(number for _, number, _ in SCHEDULE), _bytes(backups))}
    return {name: max(0, most - now) for name, (most, now) in wanted.items()}


def _files(folder: Path) -> Iterator[os.stat_result]:
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                yield path.stat()
        except FileNotFoundError:  # it was deleted meanwhile
            continue


def _bytes(folder: Path) -> int:
    return sum(found.st_size for found in _files(folder))


def _age(folder: Path) -> float:
    """Days since the oldest file of a folder was last written."""
    return (time.time() - min((found.st_mtime for found in _files(folder)), default=time.time())) / DAY


def _newest(backups: Path) -> Path | None:
    found = [path.parent for path in backups.glob(f"[!.]*/{MANIFEST}") if not path.parent.name.endswith(PARTIAL)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
