"""How often the right passage is found with the bundled models, on question sets that are given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from suite.benchmark.knowledge_job import LONG, MODEL, Job
from suite.benchmark.row import Limit
from suite.errors import RunFailed
from suite.knowledge.evaluate import squad
from suite.text.language import language

LANGUAGES = {"ko": "Korean", "en": "English"}
GATES = {("ko", "1"): 92.5, ("ko", "5"): 98.5, ("en", "1"): 97.0}  # percent
ARMS = {"sparse": "words alone", "dense": "meaning alone"}
RANKS = ("1", "5")
NO_DATA = "no --data"


def default(of: str, rank: str) -> Limit:
    """The row of what `ask` uses."""
    return Limit(f"{LANGUAGES.get(of, 'other')} questions: recall@{rank}", "%", ">=", GATES.get((of, rank)))


def beside(of: str, rank: str) -> Limit:
    """The row that says that no arm alone is better."""
    return Limit(f"{LANGUAGES.get(of, 'other')} questions: recall@{rank} beside its arms", "x", ">=", 1.0, "the better arm alone")


LIMITS = tuple(make(of, rank) for of in LANGUAGES for rank in RANKS for make in (default, beside))


def quality(job: Job) -> list[dict[str, Any]]:
    """A row per file, retriever and rank: each file as a collection of its own, then all in one. Held to its limits in a quick measurement too."""
    if not job.files:
        raise RunFailed(NO_DATA)
    stack, folder = job.stack("quality"), str(job.folder("paragraphs"))
    rows = []
    try:
        for file in job.files:
            rows += _rows(file, "alone", stack.ask("quality", LONG, file=str(file), folder=folder))
        if len(job.files) > 1:
            found = stack.ask("together", LONG, files=[str(file) for file in job.files], folder=folder)
            for file in job.files:
                rows += _rows(file, f"{len(job.files)} files in one collection", found[str(file)])
    finally:
        job.scene.end("quality")
    return rows


def asked_in(file: Path) -> str:
    """The language of most questions of a file."""
    return Counter(language(text) for text, _ in squad(file)[1]).most_common(1)[0][0]


def _rows(file: Path, how: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    of, note, rows = asked_in(file), f"{file.name}, {how}, {found['n']:,} questions, {MODEL}", []
    for rank in RANKS:
        share = found["default"][rank]
        rows.append(default(of, rank).row(share, note=note))
        best = max(found[arm][rank] for arm in ARMS)
        rows.append(beside(of, rank).row(share / best if best else 1.0, note=note))
        rows += [Limit(f"{LANGUAGES.get(of, 'other')} questions: recall@{rank} by {said}", "%", ">=").row(found[arm][rank], note=note)
                 for arm, said in ARMS.items()]
    return rows
