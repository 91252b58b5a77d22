"""The stores that must all behave alike."""

import sys
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from suite.http import serve
from suite.http.problem import add_problems
from suite.http.vectors import app
from suite.vectors.edge import EdgeStore
from suite.vectors.remote import RemoteStore, connect

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def edge_store(tmp_path):
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    yield store
    store.close()


@pytest.fixture
def oracle():
    """qdrant-client's local mode: plain numpy, so slow and right."""
    store = RemoteStore(QdrantClient(":memory:"), "memory")
    yield store
    store.close()


@pytest.fixture
def our_port(edge_store):
    """The URL of our own 6333 over the embedded store, on a free port."""
    api = app(edge_store)
    add_problems(api)
    sock = serve.bind("127.0.0.1", 0, "qdrant")
    servers = serve.HttpServers()
    servers.start({"qdrant": (sock, api)})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    servers.stop()


@pytest.fixture(params=["edge", "remote"])
def store(request):
    """The embedded store, and the store for servers pointed at our own port."""
    if request.param == "edge":
        yield request.getfixturevalue("edge_store")
    else:
        remote = connect(request.getfixturevalue("our_port"), 10)
        yield remote
        remote.close()
