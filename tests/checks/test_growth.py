"""What is still to come on a disk: by what the log has grown so far, by the limit of the metrics, and by as many backups as are kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from suite.backup.prune import DAILY, MONTHLY, WEEKLY
from suite.checks.growth import DAY, growth
from suite.monitoring.history import MOST_BYTES
from suite.monitoring.log_file import KEPT, MAX_BYTES

SNAPSHOTS = DAILY + WEEKLY + MONTHLY


def put(path: Path, size: int, days_ago: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)
    os.utime(path, (time.time() - days_ago * DAY,) * 2)


def test_an_empty_directory_may_take_what_metrics_take(tmp_path: Path) -> None:
    assert growth(tmp_path, 30) == {"log": 0, "metrics": MOST_BYTES, "backups": 0}


@pytest.mark.parametrize(("size", "days_ago", "kept", "more"), [
    (1_000_000, 0.5, 30, 29_000_000), (1_000_000, 10, 30, 2_000_000), (1_000_000, 0.5, 1, 0), (10_000_000, 0, 30, MAX_BYTES * (KEPT + 1) - 10_000_000),
])
def test_the_log_goes_on_as_fast_as_so_far_up_to_its_limit(size: int, days_ago: float, kept: float, more: int, tmp_path: Path) -> None:
    put(tmp_path / "logs" / "suite.jsonl", size, days_ago)
    assert abs(growth(tmp_path, kept)["log"] - more) < 1000


def test_metrics_that_are_there_are_not_still_to_come(tmp_path: Path) -> None:
    put(tmp_path / "monitoring" / "history.db", 1_000_000)
    assert growth(tmp_path, 30)["metrics"] == MOST_BYTES - 1_000_000


def test_before_the_first_backup_what_would_be_saved_is_its_size(tmp_path: Path) -> None:
    for name in ("sqlite", "vectors", "memory"):
        put(tmp_path / name / "deep" / "x", 1000)
    put(tmp_path / "cache" / "x", 1_000_000)
    assert growth(tmp_path, 30)["backups"] == 3000 * SNAPSHOTS


def test_later_the_newest_whole_backup_is(tmp_path: Path) -> None:
    for name, size, days_ago in (("a", 500, 3.0), ("b", 1000, 2.0), ("c.partial", 9_000_000, 1.0), (".scratch-x", 9_000_000, 0.0)):
        put(tmp_path / "backups" / name / "suite.db", size)
        put(tmp_path / "backups" / name / "manifest.json", 0, days_ago)
    put(tmp_path / "backups" / "no-manifest" / "suite.db", 7_000_000)
    there = 500 + 1000 + 2 * 9_000_000 + 7_000_000
    assert growth(tmp_path, 30)["backups"] == max(0, 1000 * SNAPSHOTS - there) == 0
    for name in ("c.partial", ".scratch-x", "no-manifest"):
        (tmp_path / "backups" / name / "suite.db").unlink()
    assert growth(tmp_path, 30)["backups"] == 1000 * SNAPSHOTS - 1500
