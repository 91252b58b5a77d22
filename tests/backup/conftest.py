"""What tests of backups share: a database with turns and actors, a vector store with collections, and what makes snapshots of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backup_stage import SECRET, fill, living

from suite.backup.create import create
from suite.backup.snapshot import Snapshot
from suite.backup.source import everything
from suite.settings import Settings, load
from suite.storage.engine import Storage
from suite.vectors.disk import copy_folder
from suite.vectors.edge import EdgeStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "qdrant_api_key": SECRET}, environ={}, cwd=tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that holds something, made once: turns, actors, two collections, and a snapshot of all that in `snapshot`."""
    place = tmp_path_factory.mktemp("template")
    for name in ("sqlite", "vectors", "backups"):
        (place / "data" / name).mkdir(parents=True, mode=0o700)
    settings = load({"data_dir": str(place / "data")}, environ={})
    with living(place / "data") as (storage, store):
        fill(storage, store, settings)
        Path(create(place, everything(storage, store, settings)).path).rename(place / "snapshot")
    return place


@pytest.fixture
def data(template: Path, settings: Settings) -> Path:
    """A data directory of the test's own that holds the same; nothing is open in it."""
    copy_folder(template / "data", settings.data_dir)
    return settings.data_dir


@pytest.fixture
def snapshot(template: Path, data: Path) -> Path:
    """A snapshot among the backups of that data directory, made when it held the same."""
    copy_folder(template / "snapshot", data / "backups" / "20261128T030000Z-0a0b0c0d")
    return data / "backups" / "20261128T030000Z-0a0b0c0d"


@pytest.fixture
def opened(data: Path) -> Iterator[tuple[Storage, EdgeStore]]:
    """The data directory's database and store, open."""
    with living(data) as both:
        yield both


@pytest.fixture
def made(opened: tuple[Storage, EdgeStore], settings: Settings, data: Path) -> Callable[..., Snapshot]:
    """Makes a snapshot of all of it."""
    return lambda key=None: create(data / "backups", everything(*opened, settings), key)
