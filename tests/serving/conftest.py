"""A loaded server for tests that only ask it, fresh ones for tests that change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from models_stage import smoke_maker, smoke_server
from vocabulary import Vocabulary, write_bpe

from suite.serving.server import ModelServer


@pytest.fixture(scope="session")
def make_smoke() -> ModuleType:
    """tests/random_smoke.py as a module."""
    return smoke_maker()


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    """A small byte-level BPE."""
    path = tmp_path_factory.mktemp("vocabulary") / "tiny.gguf"
    write_bpe(path)
    made = Vocabulary(path)
    yield made
    made.close()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., ModelServer]]:
    """Makes servers that are closed at the end; keywords are settings."""
    made: list[ModelServer] = []

    def make(role: str = "chat", **settings: object) -> ModelServer:
        made.append(smoke_server(tmp_path, role, **settings))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """One loaded server for a module's tests that only ask it."""
    shared = smoke_server(tmp_path_factory.mktemp("serving"))
    shared.load()
    yield shared
    shared.close()
