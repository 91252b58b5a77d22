"""Two kernels that write into one database at once: nothing is lost, every number is right; and a disk that is full while a turn is saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import fill, free, mounted
from postgres_stage import NoServer, binaries

from kernels import Process
from suite.benchmark.durability import POSTGRES, SQLITE, address
from suite.benchmark.durability_child import Parts
from suite.benchmark.durability_kill import stored, vectors_wrong, words_wrong
from suite.errors import StorageError

EACH = 60
START = """
import threading
from pathlib import Path
from suite.memory.memory import Memory
from suite.settings import load
from suite.storage.engine import open_storage
from suite.testing import MemoryStore, StandInEmbedder
storage = open_storage(URL, DATA)
memory = Memory(storage, MemoryStore(), StandInEmbedder(), load({"data_dir": str(DATA)}, environ={}, cwd=DATA))
memory.project()
"""
WRITE = """
mine = []
for number in range(EACH):
    mine.append(memory.remember(f"question {NAME} {number}", f"answer {number} harbour " + "lantern " * (number % 7)).id)
    if number % 3 == 2:
        memory.edit(mine[-1], reply=f"other words {NAME} {number}")
    if number % 5 == 4:
        memory.forget(mine.pop(0))
"""


@pytest.fixture(params=[SQLITE, POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == POSTGRES:
        try:
            binaries()
        except NoServer as reason:
            pytest.skip(str(reason))
    with address(request.param) as found:
        yield found


def test_two_kernels_that_write_at_once_lose_nothing(url: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        writers = []
        for name in "ab":
            process = Process({}, tmp_path)
            stack.callback(process.kill)
            process.ask(f"from pathlib import Path; URL, DATA, NAME, EACH = {url!r}, Path({str(tmp_path)!r}), {name!r}, {EACH}")
            process.ask(START)
            writers.append(process)
        for process in writers:
            process.tell(WRITE)
        for process in writers:
            process.answer()
        kept = [identity for process in writers for identity in process.ask("mine")]
    parts = Parts(tmp_path, url)
    try:
        rows = stored(parts.storage)
        assert sorted(rows) == sorted(kept) and len(kept) == 2 * (EACH - EACH // 5)
        assert parts.memory.sync()["pending"] == 0
        assert words_wrong(parts.storage, parts.project) == 0
        assert vectors_wrong(parts, rows) == 0
    finally:
        parts.close()


def test_a_turn_that_a_full_disk_refuses_leaves_nothing_and_the_others_stay(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs") as disk, contextlib.ExitStack() as stack:
        parts = Parts(disk / "data", "")
        stack.callback(parts.close)
        parts.memory.project()
        kept = [parts.memory.remember(f"question {number}", "answer harbour").id for number in range(5)]
        parts.memory.sync()
        fill(disk)
        refused = 0
        for number in range(200):  # what fits into pages that are there already is still saved
            try:
                kept.append(parts.memory.remember(f"late {number}", "lantern " * 900).id)
            except StorageError as error:
                assert "The disk is full: free space and try again; nothing of this step was kept" in error.message
                refused += 1
        assert refused
        with pytest.raises(StorageError, match="full"):
            parts.memory.edit(kept[0], reply="orchard " * 9_000)
        assert sorted(stored(parts.storage)) == sorted(kept)
        free(disk)
        assert words_wrong(parts.storage, parts.project) == 0
        kept.append(parts.memory.remember("again", "there is space").id)
        assert parts.memory.sync()["pending"] == 0
        rows = stored(parts.storage)
        assert sorted(rows) == sorted(kept) and vectors_wrong(parts, rows) == 0
