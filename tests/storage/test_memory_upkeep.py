"""Upkeep of memory does the same on each kind of database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from suite.memory.memory import Memory
from suite.settings import load
from suite.testing import MemoryStore, StandInEmbedder


def test_the_word_index_is_made_anew_space_is_given_back_and_a_backup_is_written(storage: Any, tmp_path: Path) -> None:
    memory = Memory(storage, MemoryStore(), StandInEmbedder(), load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path))
    kept = memory.remember("Where is the brass lamp?", "In the cellar.")
    for number in range(40):
        memory.forget(memory.remember(f"filler {number}", f"word{number} " * 2000).id)
    memory.sync()
    with storage.begin() as connection:
        connection.execute(sa.text("DELETE FROM memory_words"))
    assert memory.recall("brass lamp", how="words") == [] and memory.rebuild_words() == 1
    assert [row.id for row in memory.recall("brass lamp", how="words")] == [kept.id]
    done = memory.optimize()
    assert done["bytes"] > 0 and memory.optimize()["bytes"] <= done["bytes"] + 65_536
    assert [row.id for row in memory.recall("brass lamp", how="words")] == [kept.id] and memory.backup()["turns"] == 1
