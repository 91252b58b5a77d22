"""The stores that must all behave alike: ours on disk, and qdrant-client's local mode as the oracle."""

import random

import pytest
from qdrant_client import QdrantClient

from suite.vectors.edge import EdgeStore
from suite.vectors.remote import RemoteStore
from suite.vectors.store import Point

SIZE = 32


def clustered(n: int, seed: int = 3) -> list[Point]:
    """Points in eight clusters, each with words of its own: like text, and unlike random vectors, they have true neighbours."""
    rng = random.Random(seed)
    centres = [[rng.gauss(0, 1) for _ in range(SIZE)] for _ in range(8)]
    points = []
    for number in range(n):
        cluster = number % 8
        vector = [value + rng.gauss(0, 0.15) for value in centres[cluster]]
        words = {cluster * 10 + rng.randrange(10): 1.0 + rng.randrange(3) for _ in range(4)} | {100 + rng.randrange(5): 1.0}
        payload = {"document": f"doc-{number % 5}.md", "cluster": cluster, "even": number % 2 == 0, "tags": [f"t{number % 3}", "all"], "한글": "값"}
        points.append(Point(f"{'문서' if number % 3 else 'doc'}/{number}#조각", vector, words, payload))
    return points


@pytest.fixture
def edge_store(tmp_path):
    store = EdgeStore(tmp_path / "vectors")
    store.open()
    yield store
    store.close()


@pytest.fixture
def oracle():
    store = RemoteStore(QdrantClient(":memory:"), "memory")
    yield store
    store.close()
