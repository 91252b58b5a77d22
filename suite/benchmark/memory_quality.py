"""How often a remembered turn is found by a question that puts it in other words; some were superseded, and the newer one must be found."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.benchmark.memory_bank import own
from suite.benchmark.memory_texts import LANGUAGES
from suite.benchmark.row import Limit
from suite.benchmark.scene import Scene
from suite.embedding.embed import Embedder
from suite.errors import BadRequest, RunFailed
from suite.memory.importance import DAY
from suite.memory.memory import Memory
from suite.settings import Settings, package_file
from suite.storage.engine import open_storage
from suite.text.language import language
from suite.vectors.edge import EdgeStore

PARTS = ("words", "vector")
HOW = ("hybrid", *PARTS)
RANK = 5
ALL = {**LANGUAGES, "": "all"}


@dataclass(frozen=True)
class Asked:
    """A question, its language, and the id of the turn that answers it."""

    text: str
    language: str
    turn: str


@dataclass(frozen=True)
class Held:
    """The question set: `turns` as written in the file, in the order of time, and the questions."""

    turns: tuple[dict[str, Any], ...]
    questions: tuple[Asked, ...]


def found_by(how: str, of: str) -> Limit:
    """The row of one way to recall."""
    return Limit(f"{ALL[of]} questions: recall@{RANK} by {how}", "%", ">=")


def beside(of: str) -> Limit:
    """The row that says that neither part alone finds more than both together."""
    return Limit(f"{ALL[of]} questions: recall@{RANK} by hybrid beside its parts", "x", ">=", 1.0, "the better part alone")


LIMITS = tuple(limit for of in ALL for limit in (*(found_by(how, of) for how in HOW), beside(of)))


def read(file: Path | None = None) -> Held:
    """The packaged question set, or that of a file. Raises RunFailed when it cannot be read or asks for a turn that there is not."""
    file = file or package_file("runbooks/golden") / "memory.json"
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        turns = tuple(sorted(body["turns"], key=lambda turn: -turn["days"]))
        questions = tuple(Asked(row["question"], language(row["question"]), row["turn"]) for row in body["questions"])
        lost = {one.turn for one in questions} - {turn["id"] for turn in turns}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFailed(f"The question set {file} cannot be read ({type(error).__name__}: {error})") from error
    if lost:
        raise RunFailed(f"The question set {file} asks for turns that it does not have: {', '.join(sorted(lost))}")
    return Held(turns, questions)


def quality(scene: Scene) -> list[dict[str, Any]]:
    """A row for each way to recall, for each language and for all questions. Held to its limits in a quick measurement too."""
    return rows(recalls(scene.settings, scene.scratch.resolve() / "quality", read()))


def recalls(settings: Settings, folder: Path, held: Held) -> dict[str, list[bool]]:
    """For each way to recall and each question: is its turn among the first RANK? A question that the model cannot read is not found by vector."""
    folder.mkdir(parents=True)
    settings = own(settings, folder)
    storage, store, embedder = open_storage("", folder), EdgeStore(folder / "vectors"), Embedder(settings, settings.models_dir, folder / "cache")
    memory = Memory(storage, store, embedder, settings)
    try:
        store.open()
        embedder.start()
        if not (ready := embedder.ready()).ok:
            raise RunFailed(f"The embedder is not ready: {' '.join(ready.reasons)}".rstrip("."))
        ids = remember(memory, held.turns)
        memory.sync()
        return {how: [_finds(memory, one, how, ids[one.turn]) for one in held.questions] for how in HOW}
    finally:
        memory.close()
        embedder.close()
        store.close()
        storage.close()


def remember(memory: Memory, turns: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Store the turns of a set in the default project; gives the memory's id for each of the set's."""
    now, ids = time.time(), dict[str, str]()
    memory.project()  # makes the default one
    for turn in turns:
        saved = memory.remember(turn["question"], turn["reply"], importance=10, supersedes=ids.get(turn.get("supersedes", ""), ""),
                                valid_from=now - turn["days"] * DAY)
        ids[turn["id"]] = saved.id
    return ids


def rows(found: dict[str, list[bool]], questions: Sequence[Asked] | None = None) -> list[dict[str, Any]]:
    """The rows of what was found, by language and for all."""
    questions = read().questions if questions is None else questions
    made = []
    for of in ALL:
        share = {how: _share([hit for hit, one in zip(hits, questions, strict=True) if of in ("", one.language)]) for how, hits in found.items()}
        note = f"{sum(of in ('', one.language) for one in questions)} questions"
        made += [found_by(how, of).row(share[how], note=note) for how in HOW]
        best = max(share[part] for part in PARTS)
        made.append(beside(of).row(share["hybrid"] / best if best else 1.0, note=note))
    return made


def _finds(memory: Memory, one: Asked, how: Any, turn: str) -> bool:
    try:
        return turn in [row.id for row in memory.recall(one.text, how=how, limit=RANK)]
    except BadRequest:
        if how != "vector":
            raise
        return False


def _share(hits: Sequence[bool]) -> float:
    return 100 * sum(hits) / len(hits) if hits else 0.0
