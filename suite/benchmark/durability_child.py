"""The process that is killed: it saves, edits, deletes and syncs at random, and says before each what it begins, and after it what is done.

    python -m suite.benchmark.durability_child DATA_DIR DATABASE_URL SEED

A line is one JSON list: ["ready"], ["begin", deed, …], ["done", deed, …]; what follows a deed's name is said in `Deeds`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.memory.memory import Memory
from suite.settings import load
from suite.storage.engine import open_storage
from suite.testing import StandInEmbedder
from suite.vectors.edge import EdgeStore

DIM = 32
CROWD = 120  # turns; from here on as many are deleted as are saved
TOPICS = ("harbour", "archive", "backup", "canteen", "furnace", "garden", "library", "tunnel", "bridge", "lantern", "orchard",
          "ferry", "quarry", "museum")
SHORT, KEPT = 1, 9  # importance: the first expires after an hour, the second after a year
SAVES = ("save", "superseding")
LATER = 2 * 3600.0  # seconds ahead, when the short ones are over


class Parts:
    """Memory on a real database and a real embedded store; a stand-in for the embedder, which would only make it slow."""

    def __init__(self, data: Path, url: str) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.settings = load({"data_dir": str(data)}, environ={}, cwd=data)
        self.storage, self.store, self.embedder = open_storage(url, data), EdgeStore(data / "vectors"), StandInEmbedder(DIM)
        try:
            self.store.open()
        except BaseException:
            self.storage.close()
            raise
        self.memory = Memory(self.storage, self.store, self.embedder, self.settings)
        self.project = self.memory.default

    def close(self) -> None:
        """Close every part."""
        self.memory.close()
        self.store.close()
        self.storage.close()


class Deeds:
    """What the process does. Each deed is told as its name and what it is about; what is saved has its id only once that is done (it comes last).

        save question reply importance · superseding question reply importance old · edit id reply · tag id tag · delete id · expire · sync · recall
    """

    def __init__(self, parts: Parts, seed: int) -> None:
        self._memory, self._chance, self._seed = parts.memory, random.Random(seed), seed
        self._known = [turn.id for turn in self._memory.turns(limit=1000)]
        self._count = 0

    def next(self) -> None:
        """Do one thing."""
        chance, crowded = self._chance.random(), len(self._known) >= CROWD
        if not self._known or chance < (0.25 if crowded else 0.45):
            self._save(superseding="")
        elif chance < 0.5:
            self._save(superseding=self._chance.choice(self._known))
        elif chance < 0.65:
            self._edit()
        elif chance < 0.7:
            self._tag()
        elif chance < 0.88:
            self._delete()
        elif chance < 0.9:
            self._expire()
        elif chance < 0.96:
            self._told("sync", [], self._memory.sync)
        else:
            self._told("recall", [], lambda: self._memory.recall(self._words(), limit=3))

    def _told(self, deed: str, about: list[Any], do: Callable[[], Any]) -> Any:
        say("begin", deed, *about)
        found = do()
        say("done", deed, *about, *([found.id] if deed in SAVES else []))
        return found

    def _save(self, superseding: str) -> None:
        question, reply = f"turn-{self._mark()} {self._words()}", self._words()
        level = SHORT if self._chance.random() < 0.2 else KEPT
        deed, about = ("superseding", [question, reply, level, superseding]) if superseding else ("save", [question, reply, level])
        turn = self._told(deed, about, lambda: self._memory.remember(question, reply, importance=level, supersedes=superseding))
        self._known.append(turn.id)

    def _edit(self) -> None:
        identity, reply = self._chance.choice(self._known), f"edit-{self._mark()} {self._words()}"
        self._told("edit", [identity, reply], lambda: self._memory.edit(identity, reply=reply))

    def _tag(self) -> None:
        identity, tag = self._chance.choice(self._known), f"tag-{self._mark()}"
        self._told("tag", [identity, tag], lambda: self._memory.edit(identity, tags=[tag]))

    def _delete(self) -> None:
        identity = self._known.pop(self._chance.randrange(len(self._known)))
        self._told("delete", [identity], lambda: self._memory.forget(identity))

    def _expire(self) -> None:
        self._told("expire", [], lambda: self._memory.expire(time.time() + LATER))
        self._known = [turn.id for turn in self._memory.turns(limit=1000)]

    def _mark(self) -> str:
        """What no other text has."""
        self._count += 1
        return f"{self._seed}-{self._count}"

    def _words(self) -> str:
        return " ".join(self._chance.choice(TOPICS) for _ in range(self._chance.randint(3, 40)))


def say(*row: Any) -> None:
    """Tell the parent; what was written is in the pipe whatever becomes of this process."""
    print(json.dumps(row), flush=True)


def main(arguments: list[str]) -> None:
    """Do one thing after the other, for ever."""
    parts = Parts(Path(arguments[0]), arguments[1])
    parts.memory.start()  # vectors are written beside the saving, as ever
    deeds = Deeds(parts, int(arguments[2]))
    say("ready")
    while True:
        deeds.next()


if __name__ == "__main__":
    main(sys.argv[1:])
