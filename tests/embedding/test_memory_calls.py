"""What memory asks of the embedder: long turns by their beginning, and queries as queries."""

import pytest

from suite.memory.memory import Memory
from suite.memory.record import store_name
from suite.settings import load
from suite.testing import MemoryStore, StandInEmbedder


class Watched(StandInEmbedder):
    """Notes what it was asked to embed, as (kind, texts)."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []

    def embed(self, texts, kind="passage"):
        self.asked.append((kind, list(texts)))
        return super().embed(texts, kind)


@pytest.fixture
def embedder():
    return Watched(max_tokens=12)


@pytest.fixture
def memory(storage, embedder, tmp_path):
    return Memory(storage, MemoryStore(), embedder, load({"data_dir": tmp_path}, environ={}, cwd=tmp_path))


def test_a_turn_that_is_longer_than_the_model_reads_is_embedded_by_its_beginning(memory, embedder):
    saved = memory.remember("Where is the lamp of the keeper?", "It is in the cellar, and the rest of this reply is far too long for the model.")
    assert memory.sync()["synced"] == 1
    assert embedder.asked == [("passage", ["Where is the lamp of the keeper?\nIt is in"])]
    assert memory._store.count(store_name("default-project")) == 1
    assert memory.recall("rest of this reply", how="words")[0].id == saved.id, "its words are all there"


def test_a_query_is_embedded_as_one_and_of_a_long_one_the_beginning_counts_which_is_said(memory, embedder):
    saved = memory.remember("Where is the lamp?", "In the cellar.")
    memory.sync()
    embedder.asked.clear()
    assert [(row.id, row.note) for row in memory.recall("Where is the lamp?", how="hybrid")] == [(saved.id, "")]
    assert embedder.asked == [("query", ["Where is the lamp?"])]
    for how in ("hybrid", "vector"):
        [row] = memory.recall("Where is the lamp that " * 10, how=how)
        assert row.id == saved.id and row.note == "stand-in reads no more than the query's beginning, so that counted."
    assert embedder.asked[-1] == ("query", ["Where is the lamp that Where is the lamp that"])
