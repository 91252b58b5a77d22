"""Copies opened to be asked: a database in a folder of its own, and collections one after the other."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from suite.backup.copy import hollow
from suite.errors import StorageError, SuiteError
from suite.storage.engine import Storage, open_storage
from suite.storage.quick import Quick
from suite.vectors.disk import ROOM_TO_OPEN, require_room
from suite.vectors.shard import Shard
from suite.vectors.store import Point

FILE = "suite.db"
LINES = ".jsonl"  # a collection of a Qdrant server: a line that describes it, then a line for each point
BATCH = 1000
GROWN = 2048  # blocks of 512 bytes: by how much a file grows when its holes are filled


@contextmanager
def database(folder: Path) -> Iterator[Storage]:
    """The SQLite file in a folder, opened as the suite would; one file again afterwards, with no log beside it."""
    storage = open_storage("", folder)
    try:
        yield storage
    finally:
        storage.close()
    single(folder / FILE)


def single(file: Path) -> None:
    """Make a SQLite file that nobody has open one file, with no log beside it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


class Frozen:
    """A storage whose every reading is one transaction that is already open: what a dump is made from."""

    def __init__(self, storage: Any, connection: Any) -> None:
        self.file, self.engine, self._connection = storage.file, storage.engine, connection
        self.quick = Quick(self, str, 0)

    @contextmanager
    def read(self) -> Iterator[Any]:
        """The transaction."""
        yield self._connection


def names(folder: Path) -> list[str]:
    """The collections that lie in a folder of copies."""
    return sorted({path.name.removesuffix(LINES) for path in folder.iterdir() if path.is_dir() or path.name.endswith(LINES)})


@contextmanager
def collection(folder: Path, name: str, scratch: Path) -> Iterator[Shard]:
    """One collection of a folder of copies; what came from a server is loaded into `scratch`. StorageError when it cannot be opened."""
    lines, place = folder / f"{name}{LINES}", folder / name
    taken = {path: path.stat().st_blocks for path in place.rglob("*") if path.is_file()}
    try:
        require_room(folder, name, ROOM_TO_OPEN)
        shard = _loaded(lines, scratch / name) if lines.is_file() else Shard.load(place)
    except (SuiteError, OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"The collection {name} cannot be opened ({str(error)[:200]}).") from error
    try:
        yield shard
    finally:
        shard.close()
        for path in place.rglob("*"):  # the engine reads its log through a map, which fills the holes of it on some filesystems
            if path.is_file() and path.stat().st_blocks > taken.get(path, 0) + GROWN:
                hollow(path)


def _loaded(lines: Path, folder: Path) -> Shard:
    """A collection made anew from its lines."""
    with lines.open(encoding="utf-8") as file:
        about = json.loads(next(file))
        folder.parent.mkdir(parents=True, exist_ok=True)
        shard = Shard.create(folder, int(about["size"]), str(about["distance"]))
        try:
            batch: list[Point] = []
            for line in file:
                batch.append(_point(json.loads(line)))
                if len(batch) == BATCH:
                    shard.upsert(batch)
                    batch = []
            shard.upsert(batch)
        except BaseException:
            shard.close()
            raise
    return shard


def _point(row: Mapping[str, Any]) -> Point:
    sparse = None if row["sparse"] is None else {int(term): weight for term, weight in row["sparse"].items()}
    return Point(row["id"], row["vector"], sparse, row["payload"])
