"""The stores that must all behave alike."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from suite.http import serve
from suite.http.problem import add_problems
from suite.http.vectors import app
from suite.vectors.edge import EdgeStore
from suite.vectors.remote import RemoteStore, connect

sys.path.insert(0, str(Path(__file__).parent))

from clusters import SIZE, clustered


@contextmanager
def opened_edge(folder: Path) -> Iterator[EdgeStore]:
    store = EdgeStore(folder)
    store.open()
    try:
        yield store
    finally:
        store.close()


@contextmanager
def served(store) -> Iterator[str]:
    """The URL of our own 6333 over a store, on a free port."""
    api = app(store)
    add_problems(api)
    sock = serve.bind("127.0.0.1", 0, "qdrant")
    servers = serve.HttpServers()
    servers.start({"qdrant": (sock, api)})
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        servers.stop()


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[EdgeStore | RemoteStore]:
    """The embedded store, or the store for servers pointed at our own port."""
    with opened_edge(folder) as edge:
        if kind == "edge":
            yield edge
            return
        with served(edge) as url:
            remote = connect(url, 10)
            try:
                yield remote
            finally:
                remote.close()


@pytest.fixture
def edge_store(tmp_path):
    with opened_edge(tmp_path / "vectors") as store:
        yield store


@pytest.fixture
def our_port(edge_store):
    with served(edge_store) as url:
        yield url


def local_mode() -> RemoteStore:
    """qdrant-client's local mode: plain numpy, so slow and right."""
    return RemoteStore(QdrantClient(":memory:"), "memory")


@pytest.fixture
def oracle():
    store = local_mode()
    yield store
    store.close()


@pytest.fixture(params=["edge", "remote"])
def store(request, tmp_path):
    with opened(request.param, tmp_path / "vectors") as opened_store:
        yield opened_store


@pytest.fixture(params=["edge", "remote"], scope="module")
def shared_pair(request, tmp_path_factory):
    """A store and the oracle with the same 160 points in the collection `c`, for tests that only read."""
    with opened(request.param, tmp_path_factory.mktemp("shared") / "vectors") as opened_store:
        oracle = local_mode()
        for each in (opened_store, oracle):
            each.create("c", SIZE)
            each.upsert("c", clustered(160))
        yield opened_store, oracle
        oracle.close()
