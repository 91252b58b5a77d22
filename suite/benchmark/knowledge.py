"""How good and how fast knowledge is: recall on question sets, indexing, retrieval, memory, and the same job done by LlamaIndex."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.benchmark import knowledge_memory as memory
from suite.benchmark import knowledge_peer as peer
from suite.benchmark import knowledge_quality as quality
from suite.benchmark import knowledge_speed as speed
from suite.benchmark.knowledge_job import MANY, QUICK, Job, Load
from suite.benchmark.scene import Scene
from suite.errors import BadRequest
from suite.knowledge.evaluate import squad
from suite.settings import Settings


def knowledge(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], data: Path | None = None, million: bool = False,
              load: Load | None = None) -> list[dict[str, Any]]:
    """All rows. `data` is a folder with question sets in SQuAD's format; without it their rows say that they were not measured.

    `million` measures retrieval among a million chunks too. `load` stands in for the usual one. Raises BadRequest when `data` holds no question
    sets.
    """
    files = () if data is None else question_sets(data)
    with Scene(settings, say) as scene:
        job = Job(scene, rounds, load or (QUICK if quick else Load()), quick, files, MANY if million else 0)
        return scene.measure(sections(job))


def sections(job: Job) -> list[tuple[str, Any, Callable[[], list[dict[str, Any]]]]]:
    """Title, rows to be, and the work, of each section."""
    found = [
        ("quality", quality.LIMITS, lambda: quality.quality(job)),
        ("indexing beside bare fastembed", (speed.BARE, speed.OURS, speed.ENGLISH), lambda: speed.indexing(job)),
        ("indexing Korean", (speed.KOREAN,), lambda: speed.indexing_korean(job)),
        ("the same job beside LlamaIndex", peer.LIMITS, lambda: peer.beside_peer(job)),
        ("memory while indexing", memory.LIMITS, lambda: memory.memory(job)),
        (f"retrieval among {job.load.chunks:,} chunks", speed.FOUND, lambda: speed.retrieval(job)),
    ]
    if job.many:
        found.append((f"retrieval among {job.many:,} chunks", tuple(map(speed.unheld, speed.FOUND)), lambda: speed.retrieval_among_many(job)))
    return found


def question_sets(data: Path) -> tuple[Path, ...]:
    """The JSON files of a folder. Raises BadRequest when there is none, or one is not in SQuAD's format."""
    files = tuple(sorted(data.resolve().glob("*.json")))
    if not files:
        raise BadRequest(f"{data} holds no *.json file; name a folder with question sets in SQuAD's format.", param="data")
    for file in files:
        if not squad(file)[1]:
            raise BadRequest(f"{file} holds no question that has an answer; take it out of the folder.", param="data")
    return files
