"""What every section of the measurement of knowledge is given: the scene, how much to do, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from suite.benchmark.child import Child
from suite.benchmark.row import Limit
from suite.benchmark.scene import OWN, Scene
from suite.embedding.model import SMOKE

MODEL = SMOKE  # what everybody has: the weights of a larger one would compare models, not programs
LONG = 4 * 3600.0  # seconds that one question to a contender may take: a million chunks are written and indexed in one


@dataclass(frozen=True)
class Load:
    """How much each section does. Kilobytes are of text; `real`: every so-many-th call of the embedder embeds when memory is measured."""

    kilobytes: int = 400  # in each round of indexing, for each language
    chunks: int = 100_000
    asked: int = 1000
    compared: int = 200  # questions whose nearest vectors are searched exactly too
    memory: tuple[int, int] = (10_000, 50_000)  # kilobytes
    real: int = 16
    paragraphs: int = 200  # for the peer, without data


QUICK = Load(kilobytes=40, chunks=8_000, asked=100, compared=20, memory=(300, 1_500), real=4, paragraphs=30)
MANY = 1_000_000  # chunks


@dataclass(frozen=True)
class Job:
    """One measurement. `files` are in SQuAD's format; `many`: how many chunks retrieval is measured at besides, none when 0."""

    scene: Scene
    rounds: int
    load: Load
    quick: bool = False
    files: tuple[Path, ...] = ()
    many: int = 0

    @property
    def threads(self) -> str:
        """The embedder's threads, for notes."""
        return f"{self.scene.settings.embedding_threads or 'all'} threads"

    def note(self, *facts: str) -> str:
        """What a row adds to its name."""
        return ", ".join([*facts, *(["quick"] if self.quick else [])])

    def held(self, limit: Limit) -> Limit:
        """The limit, or in a quick measurement only a figure to know: so little work says nothing about it."""
        return replace(limit, limit=None) if self.quick else limit

    def stack(self, name: str, **settings: Any) -> Child:
        """A contender that is a stack of its own whose knowledge is asked, with the bundled models."""
        own = {**OWN, "embedding_model": MODEL, "rag_reranker": "", "rag_roots": str(self.scene.scratch), "workspace_dir": str(self.scene.scratch),
               "models_dir": str(self.scene.settings.models_dir), "data_dir": str(self.folder(f"data-{name}")), **settings}
        return self.scene.child(name, "knowledge", **own)

    def folder(self, name: str) -> Path:
        """A place in the scratch folder; not made yet."""
        return self.scene.scratch.resolve() / name.replace(" ", "-")
