"""A memory on a fresh SQLite database, with fakes for the store and the embedder where their own work is of no matter."""

from __future__ import annotations

import pytest

from suite.memory.memory import Memory
from suite.settings import load
from suite.testing import MemoryStore, StandInEmbedder


@pytest.fixture
def settings(tmp_path):
    return load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path)


@pytest.fixture
def light(storage, settings):
    """Words are real, vectors are stand-ins."""
    return Memory(storage, MemoryStore(), StandInEmbedder(), settings)
