"""The databases that the storage is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import postgres_stage
import pytest

from suite.storage.engine import Storage, open_storage


@pytest.fixture(scope="session")
def server() -> Iterator[postgres_stage.Server]:
    """One PostgreSQL server for the whole run."""
    try:
        postgres_stage.binaries()
    except postgres_stage.NoServer as reason:
        pytest.skip(str(reason))
    with postgres_stage.running() as started:
        yield started


@pytest.fixture
def database(server: postgres_stage.Server) -> str:
    """The URL of an empty PostgreSQL database."""
    return server.fresh()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    return f"sqlite:///{tmp_path / 'suite.db'}" if request.param == "sqlite" else request.getfixturevalue("database")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Storage]]:
    """Opens storages that are closed at the end."""
    storages: list[Storage] = []

    def open_one(url: str) -> Storage:
        storages.append(open_storage(url, tmp_path))
        return storages[-1]

    yield open_one
    for storage in storages:
        storage.close()


@pytest.fixture
def storage(opened: Callable[[str], Storage], address: str) -> Storage:
    """An open storage on each kind of database."""
    return opened(address)
