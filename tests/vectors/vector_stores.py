"""The stores that must all behave alike, opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import SIZE, clustered
from qdrant_client import QdrantClient

from suite.http import serve
from suite.http.problem import add_problems
from suite.http.vectors import app
from suite.vectors.edge import EdgeStore
from suite.vectors.remote import RemoteStore, connect

# read before any test loses the surroundings of the machine: a real server or cluster to run the conformance tests against
SERVER, SERVER_KEY = os.environ.get("QDRANT_URL", ""), os.environ.get("QDRANT_API_KEY", "")
KINDS = ["edge", "remote", "oracle", *(["server"] if SERVER else [])]


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
    """The embedded store, or the store for servers pointed at our own port, at the oracle or at the server that QDRANT_URL names."""
    if kind == "oracle":
        yield from closing(local_mode())
        return
    if kind == "server":
        yield from on_server()
        return
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


def closing(store: RemoteStore) -> Iterator[RemoteStore]:
    try:
        yield store
    finally:
        store.close()


def on_server() -> Iterator[RemoteStore]:
    """The server, emptied afterwards; one that holds collections already is left alone."""
    remote = connect(SERVER, 30, {"api-key": SERVER_KEY} if SERVER_KEY else None)
    if remote._client.get_collections().collections:
        pytest.fail(f"The server at {SERVER} holds collections; name an empty one, because these tests drop what they make.")
    try:
        yield from closing(remote)
    finally:
        again = connect(SERVER, 30, {"api-key": SERVER_KEY} if SERVER_KEY else None)
        for entry in again._client.get_collections().collections:
            again._client.delete_collection(entry.name)
        again.close()


def local_mode() -> RemoteStore:
    """qdrant-client's local mode: plain numpy, so slow and right."""
    return RemoteStore(QdrantClient(":memory:"), "memory")


def filled_pair(stack, kind, folder):
    """A store and the oracle with the same 160 points in the collection `c`; open as long as the stack."""
    two = stack.enter_context(opened(kind, folder)), local_mode()
    stack.callback(two[1].close)
    for each in two:
        each.create("c", SIZE)
        each.upsert("c", clustered(160))
    return two
