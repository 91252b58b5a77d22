"""What tests of backups share: a database with turns and actors, a vector store with collections, and what makes snapshots of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backup_stage import SECRET, fill, living, sources

from suite.backup.create import create
from suite.backup.snapshot import Snapshot
from suite.settings import Settings, load
from suite.storage.engine import Storage
from suite.vectors.edge import EdgeStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "qdrant_api_key": SECRET}, environ={}, cwd=tmp_path)


@pytest.fixture
def data(settings: Settings) -> Path:
    """A data directory that holds something: turns, actors, two collections; nothing is open in it."""
    for name in ("sqlite", "vectors", "backups"):
        (settings.data_dir / name).mkdir(parents=True, mode=0o700)
    with living(settings.data_dir) as (storage, store):
        fill(storage, store, settings)
    return settings.data_dir


@pytest.fixture
def opened(data: Path) -> Iterator[tuple[Storage, EdgeStore]]:
    """The data directory's database and store, open."""
    with living(data) as both:
        yield both


@pytest.fixture
def made(opened: tuple[Storage, EdgeStore], settings: Settings, data: Path) -> Callable[..., Snapshot]:
    """Makes a snapshot of all of it."""
    return lambda key=None: create(data / "backups", sources(*opened, settings), key)
