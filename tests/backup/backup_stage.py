"""What tests of backups fill and back up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from suite.access.actor import Actors
from suite.memory.memory import Memory
from suite.storage.engine import Storage, open_storage
from suite.testing import MemoryStore, StandInEmbedder
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point

TURNS = [("default", "When does the nightly backup start?", "At 03:15."), ("default", "What does the canteen serve?", "Bibimbap on Fridays."),
         ("default", "휴가는 언제까지 신청해야 하나요?", "두 주 전에 신청합니다."), ("default", "Where is the archive room?", "On the third floor."),
         ("tower", "Who keeps the lighthouse?", "The keeper counts 417 steps."), ("tower", "When does the ferry leave?", "At noon.")]
SECRET = "hunter2-hunter2"


class living:
    """The open database and store of a data directory."""

    def __init__(self, data: Path) -> None:
        self.storage, self.store = open_storage("", data / "sqlite"), EdgeStore(data / "vectors")

    def __enter__(self) -> tuple[Storage, EdgeStore]:
        self.store.open()
        return self.storage, self.store

    def __exit__(self, *_: Any) -> None:
        self.store.close()
        self.storage.close()


def fill(storage: Any, store: Any, settings: Any) -> None:
    """Turns in two projects, the policy's actors, and a collection of 40 points beside that of the first project's turns."""
    Actors(storage).seed()
    # the vectors of the second project elsewhere: every collection takes 170 MB of holes to be read
    memories = {project: Memory(storage, store if project == "default" else MemoryStore(), StandInEmbedder(), settings) for project, _, _ in TURNS}
    for project, memory in memories.items():
        memory.create_project(project)
    for project, question, reply in TURNS:
        memories[project].remember(question, reply, project=project)
    for project, memory in memories.items():
        memory.sync(project)
    numbers = random.Random(7)
    store.create("notes", 8)
    store.upsert("notes", [Point(f"n{number}", [numbers.gauss(0, 1) for _ in range(8)], {number % 5: 1.0}, {"n": number}) for number in range(40)])
