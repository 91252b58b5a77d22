"""A memory on a port of its own, for the tests of port 8005 and of its guests."""

from __future__ import annotations

import pytest

from suite.http import memory as memory_app
from suite.http.client import Client
from suite.http.problem import add_problems
from suite.http.remote_memory import RemoteMemory
from suite.http.serve import HttpServers, bind
from suite.memory.memory import Memory
from suite.settings import load
from suite.storage.engine import open_storage
from suite.testing import MemoryStore, StandInEmbedder


@pytest.fixture
def memory_store():
    return MemoryStore()


@pytest.fixture
def memory_part(tmp_path, memory_store, monkeypatch):
    """The host's memory; the directory that both it and the guest run in belongs to no project."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage("", tmp_path)
    yield Memory(storage, memory_store, StandInEmbedder(), load({"data_dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path))
    storage.close()


@pytest.fixture
def memory_client(memory_part):
    app, servers, sock = memory_app.app(memory_part), HttpServers(), bind("127.0.0.1", 0, "memory-api")
    add_problems(app)
    servers.start({"memory-api": (sock, app)})
    with Client(f"http://127.0.0.1:{sock.getsockname()[1]}", "token") as opened:
        yield opened
    servers.stop()


@pytest.fixture
def memory_guest(memory_client):
    return RemoteMemory(memory_client)
