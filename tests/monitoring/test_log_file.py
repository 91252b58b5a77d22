"""The log's files: bounded by size and age, private, whole lines, and there again when somebody deletes them."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from suite.monitoring.log_file import DAY, LogFile
from suite.monitoring.log_line import moment_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "logs"
    made.mkdir()
    return made


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def line(text: str, at: float) -> str:
    return json.dumps({"at": moment_text(at), "level": "info", "service": "stack", "message": text})


def messages(folder: Path) -> dict[str, list[str]]:
    return {path.name: [json.loads(row)["message"] for row in path.read_text().splitlines()] for path in sorted(folder.iterdir())}


def test_a_full_file_is_rotated_and_the_oldest_go_when_all_take_too_much(folder: Path) -> None:
    old = os.umask(0)
    try:
        file = LogFile(folder, max_bytes=500, kept=2)
        for n in range(60):
            file.append(line(str(n), time.time()))
    finally:
        os.umask(old)
    file.close()
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert sum(sizes) <= 1500 and max(sizes) <= 500 and len(sizes) >= 3
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    kept = [text for name in sorted(messages(folder), reverse=True) for text in messages(folder)[name]]
    kept = sorted(kept, key=int)
    assert kept[-1] == "59" and kept == [str(n) for n in range(60 - len(kept), 60)], "the newest, without a gap"


def test_each_day_has_a_file_of_its_own_and_what_is_too_old_is_deleted(folder: Path) -> None:
    clock = Clock()
    began = clock.now
    file = LogFile(folder, days=5, clock=clock)
    for day in range(10):
        clock.now = began + day * 1.01 * DAY
        file.append(line(f"day {day}", clock.now))
        os.utime(folder / "suite.jsonl", (clock.now, clock.now))
    assert messages(folder)["suite.jsonl"] == ["day 9"] and messages(folder)["suite.jsonl.1"] == ["day 8"]
    assert sum(len(rows) for rows in messages(folder).values()) == 5
    clock.now += 20 * DAY
    assert len(file.tidy()) == 5 and messages(folder) == {"suite.jsonl": []}, "nothing was written for long, and it goes all the same"
    file.close()


def test_age_is_looked_at_when_it_is_opened(folder: Path) -> None:
    for name in ("suite.jsonl", "suite.jsonl.1", "suite.jsonl.2", "notes.txt"):
        (folder / name).write_text(line(name, time.time()) + "\n")
    os.utime(folder / "suite.jsonl.2", (0, time.time() - 31 * DAY))
    LogFile(folder).close()
    assert sorted(messages(folder)) == ["notes.txt", "suite.jsonl", "suite.jsonl.1"]


def test_a_clock_that_is_set_back_does_not_keep_a_file_for_ever(folder: Path) -> None:
    clock = Clock()
    file = LogFile(folder, clock=clock)
    file.append(line("ahead", clock.now))
    clock.now -= 2 * DAY
    file.append(line("right", clock.now))
    file.close()
    assert messages(folder) == {"suite.jsonl": ["right"], "suite.jsonl.1": ["ahead"]}


@pytest.mark.parametrize("how", ["deleted", "moved", "folder"])
def test_a_file_that_somebody_takes_away_is_made_anew(folder: Path, how: str) -> None:
    clock = Clock()
    file = LogFile(folder, clock=clock)
    file.append(line("gone", clock.now))
    if how == "moved":
        (folder / "suite.jsonl").rename(folder.parent / "elsewhere")
    else:
        (folder / "suite.jsonl").unlink()
    if how == "folder":
        folder.rmdir()
    clock.now += 2
    file.append(line("here", clock.now))
    file.close()
    assert messages(folder) == {"suite.jsonl": ["here"]} and stat.S_IMODE((folder / "suite.jsonl").stat().st_mode) == 0o600


def test_a_line_that_was_broken_off_does_not_spoil_the_next(folder: Path) -> None:
    (folder / "suite.jsonl").write_text('{"at": "20')
    file = LogFile(folder)
    file.append(line("whole", time.time()))
    file.close()
    assert json.loads((folder / "suite.jsonl").read_text().splitlines()[-1])["message"] == "whole"


def test_a_link_is_not_written_through(folder: Path) -> None:
    (folder / "suite.jsonl").symlink_to(folder / "target")
    with pytest.raises(OSError):
        LogFile(folder)
    assert not (folder / "target").exists()
