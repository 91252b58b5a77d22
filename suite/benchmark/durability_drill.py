"""The restore drill: a snapshot is taken, restored and asked; then one byte is altered in file after file, and that must be found and named."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from suite.backup.create import create
from suite.backup.source import database, vectors
from suite.backup.verify import verify
from suite.benchmark.durability_child import TOPICS, Parts
from suite.errors import StorageError

TURNS = 200
ALTERED = 12  # files that are altered at most, one after the other


@dataclass(frozen=True)
class Drill:
    """What the drill found: problems of the untouched snapshot; turns that its copy lacks; files altered, and those not named."""

    seconds: float
    turns: int
    problems: tuple[str, ...]
    missing: int
    altered: int
    unnamed: tuple[str, ...]


def drill(folder: Path, url: str = "") -> Drill:
    """One drill in a new folder, on the database at `url` (empty: SQLite)."""
    parts = Parts(folder / "data", url)
    try:
        parts.memory.project()
        for number in range(TURNS):
            about = TOPICS[number % len(TOPICS)]
            parts.memory.remember(f"question {number} about the {about}", f"answer {number} {' '.join(TOPICS[:number % 9 + 1])}")
        parts.memory.sync()
        made = create(folder / "backups", [database(parts.storage), vectors(parts.store)])
        storage = parts.storage if url else None
        found = verify(made.path, storage=storage)
        unnamed, altered = _altered(Path(made.path), folder / "altered", storage)
    finally:
        parts.close()
    return Drill(found.seconds, TURNS, found.problems, max(0, TURNS - found.points), altered, unnamed)


def _altered(snapshot: Path, place: Path, storage: object) -> tuple[tuple[str, ...], int]:
    """Alter one byte in the middle of file after file, each in a new copy; those that verification did not name, and how many there were."""
    files = sorted((path for path in snapshot.rglob("*") if path.is_file() and path.stat().st_size), key=lambda path: -path.stat().st_size)[:ALTERED]
    unnamed = []
    for path in files:
        name = path.relative_to(snapshot).as_posix()
        copy = place / snapshot.name
        shutil.copytree(snapshot, copy)
        with (copy / name).open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)
            file.seek(path.stat().st_size // 2)
            file.write(bytes([byte[0] ^ 1]))
        try:
            told = " ".join(verify(copy, storage=storage).problems)
        except StorageError as error:  # a manifest that is no manifest any more
            told = error.message
        if path.name not in told:
            unnamed.append(name)
        shutil.rmtree(place)
    return tuple(unnamed), len(files)
