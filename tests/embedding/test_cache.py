"""The cache of vectors: bounded, durable, never wrong, and never a reason to fail."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from suite.embedding import cache as caching
from suite.embedding.cache import VectorCache, key_of
from suite.embedding.embed import Embedder
from suite.embedding.series import EmbeddingSeries
from suite.settings import load

DIM = 32
PRINT = "ab" * 32


def vectors(count: int, seed: int = 0) -> dict[bytes, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return {key_of(PRINT, f"text {seed} {number}"): row for number, row in enumerate(rows)}


def same(found, wanted) -> bool:
    return set(found) == set(wanted) and all(np.array_equal(found[key], wanted[key]) for key in wanted)


@pytest.fixture
def cache(tmp_path):
    made = VectorCache(tmp_path / "embedding" / "vectors.db", 1 << 20)
    yield made
    made.close()


def reopened(cache) -> VectorCache:
    cache.close()
    return VectorCache(cache.file, cache.limit)


def test_what_was_put_is_there_exactly_also_for_the_next_process(cache):
    kept = vectors(700)
    assert cache.get(list(kept), DIM) == {}
    cache.put(kept)
    assert same(cache.get(list(kept), DIM), kept)
    again = reopened(cache)
    assert same(again.get([*kept, key_of(PRINT, "another")], DIM), kept)
    assert (again.hits, again.misses, again.damaged, again.failures) == (700, 1, 0, 0)
    again.close()


def test_a_key_is_of_the_model_and_the_text_with_its_prefix():
    keys = {key_of(PRINT, "query: a"), key_of(PRINT, "passage: a"), key_of("cd" * 32, "query: a"), key_of(PRINT, "query: b")}
    assert len(keys) == 4 and key_of(PRINT, "query: a") in keys


def test_vectors_of_another_dimension_are_not_taken_for_ours(cache):
    kept = vectors(3)
    cache.put(kept)
    assert cache.get(list(kept), DIM - 1) == {} and cache.get(list(kept), DIM * 2) == {}


def test_the_file_stays_within_its_bound_and_the_least_recently_used_go(cache):
    first = vectors(100, seed=1)
    cache.put(first)
    for seed in range(2, 60):
        cache.put(vectors(200, seed))
        assert same(cache.get(list(first), DIM), first), "what is used again and again stays"
    assert cache.get(list(vectors(200, 2)), DIM) == {}, "what was never used again went"
    assert cache.get(list(vectors(200, 59)), DIM), "what came last is there"
    cache.close()
    assert sum(file.stat().st_size for file in cache.file.parent.iterdir()) <= cache.limit * 1.1


def test_a_lowered_bound_holds_from_the_next_start(tmp_path):
    big = VectorCache(tmp_path / "vectors.db", 8 << 20)
    for seed in range(40):
        big.put(vectors(500, seed))
    big.close()
    assert big.file.stat().st_size > 3 << 20
    small = VectorCache(big.file, 100_000)
    kept = vectors(10, 99)
    small.put(kept)
    assert same(small.get(list(kept), DIM), kept) and small.file.stat().st_size < 1 << 20
    small.close()


def test_a_flipped_bit_never_gives_a_wrong_vector(cache):
    kept = vectors(60)
    cache.put(kept)
    cache.close()
    chance, damaged = random.Random(4), 0
    connection = sqlite3.connect(cache.file)
    for (key, data) in connection.execute("SELECT key, data FROM vectors").fetchall():
        if chance.random() < 0.5:
            place = chance.randrange(len(data))
            changed = data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1:]
            connection.execute("UPDATE vectors SET data = ? WHERE key = ?", (changed, key))
            damaged += 1
    connection.commit()
    connection.close()
    found = cache.get(list(kept), DIM)
    assert 10 < damaged < 50 and len(found) == 60 - damaged == 60 - cache.damaged
    assert all(np.array_equal(vector, kept[key]) for key, vector in found.items())
    cache.put(kept)
    assert same(cache.get(list(kept), DIM), kept), "and what was computed anew takes its place"


def test_vectors_that_changed_places_are_not_believed(cache):
    kept = vectors(2)
    cache.put(kept)
    one, two = kept
    cache.close()
    connection = sqlite3.connect(cache.file)
    data = dict(connection.execute("SELECT key, data FROM vectors"))
    connection.executemany("UPDATE vectors SET data = ? WHERE key = ?", [(data[two], one), (data[one], two)])
    connection.commit()
    connection.close()
    assert cache.get([one, two], DIM) == {} and cache.damaged == 2


def test_a_vector_that_is_not_of_unit_length_is_not_believed(cache):
    [key] = vectors(1)
    cache.put({key: np.full(DIM, 2.0, np.float32)})
    assert cache.get([key], DIM) == {}


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000, "half", "zeros", "head"])
def test_whatever_is_in_the_file_the_cache_begins_anew(cache, content):
    kept = vectors(300)
    cache.put(kept)
    cache.close()
    whole = cache.file.read_bytes()
    cache.file.write_bytes({"half": whole[:len(whole) // 2], "zeros": bytes(len(whole)), "head": whole[:50] + bytes(100) + whole[150:]}.get(content, content)
                           if isinstance(content, str) else content)
    for _ in range(2):
        found = cache.get(list(kept), DIM)
        assert all(np.array_equal(vector, kept[key]) for key, vector in found.items())
        cache.put(kept)
    assert same(cache.get(list(kept), DIM), kept)


def test_noise_anywhere_in_the_file_is_never_a_wrong_vector_and_never_an_error(cache, tmp_path):
    kept = vectors(200)
    cache.put(kept)
    cache.close()
    whole = cache.file.read_bytes()
    chance = random.Random(11)
    for round_ in range(60):
        noisy = bytearray(whole)
        start = chance.randrange(len(noisy))
        for place in range(start, min(start + chance.choice((1, 30, 4000)), len(noisy))):
            noisy[place] = chance.randrange(256)
        other = VectorCache(tmp_path / f"{round_}.db", cache.limit)
        other.file.write_bytes(bytes(noisy))
        for _ in range(3):
            assert all(np.array_equal(vector, kept[key]) for key, vector in other.get(list(kept), DIM).items())
            other.put(dict(list(kept.items())[:5]))
        other.close()


KILLED = """
import sys, numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_cache import vectors
from suite.embedding.cache import VectorCache
cache = VectorCache(Path(sys.argv[1]), 1 << 22)
for seed in range(1000):
    cache.put(vectors(100, seed))
    print(seed, flush=True)
"""


def test_a_killed_process_leaves_a_cache_that_holds_what_was_put(tmp_path):
    for round_ in range(3):
        file = tmp_path / str(round_) / "vectors.db"
        with subprocess.Popen([sys.executable, "-c", KILLED, str(file), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True) as child:
            for _ in range(5 + 20 * round_):
                done = child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        cache = VectorCache(file, 1 << 22)
        kept = vectors(100, int(done))
        assert same(cache.get(list(kept), DIM), kept) and cache.failures == 0
        cache.put(vectors(100, 5000))
        cache.close()


def test_threads_do_not_get_in_each_others_way(cache):
    wrong: list[object] = []

    def work(seed: int) -> None:
        for number in range(10):
            kept = vectors(20, seed * 100 + number)
            cache.put(kept)
            if not same(cache.get(list(kept), DIM), kept):
                wrong.append((seed, number))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and cache.failures == 0


def test_a_cache_that_another_process_writes_to_or_that_cannot_be_written_is_no_error(cache, monkeypatch):
    kept = vectors(5)
    cache.put(kept)
    other = sqlite3.connect(cache.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    cache.put(vectors(5, 1))
    assert cache.failures == 1 and same(cache.get(list(kept), DIM), kept)
    other.execute("COMMIT")
    other.close()
    cache.put(vectors(5, 1))
    assert len(cache.get(list(vectors(5, 1)), DIM)) == 5


def test_a_place_that_cannot_hold_a_file_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = VectorCache(tmp_path / "file" / "vectors.db", 1 << 20)
    cache.put(vectors(2))
    assert cache.get(list(vectors(2)), DIM) == {} and cache.size() == 0 and cache.failures == 3


def test_a_full_disk_is_no_error(cache):
    cache.put(vectors(5))
    pages = cache._connection.execute("PRAGMA page_count").fetchone()[0]
    cache._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite says then what it says on a full disk
    for seed in range(1, 5):
        cache.put(vectors(300, seed))
    assert cache.failures == 4 and same(cache.get(list(vectors(5)), DIM), vectors(5))
    cache._connection.execute("PRAGMA max_page_count = 1000000")
    cache.put(vectors(300, 9))
    assert same(cache.get(list(vectors(300, 9)), DIM), vectors(300, 9))


def test_the_last_of_a_disk_is_left_to_others(cache, monkeypatch):
    cache.put(vectors(5))
    monkeypatch.setattr(caching, "FREE", 1 << 60)
    cache.put(vectors(5, 1))
    assert cache.get(list(vectors(5, 1)), DIM) == {} and same(cache.get(list(vectors(5)), DIM), vectors(5)) and cache.failures == 0


def test_only_its_owner_can_read_it_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        cache = VectorCache(tmp_path / "embedding" / "vectors.db", 1 << 20)
        cache.put(vectors(3))
        assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in cache.file.parent.iterdir() if path.stat().st_mode & 0o077} == {}
        assert stat.S_IMODE(cache.file.parent.stat().st_mode) == 0o700
        cache.close()
    finally:
        os.umask(before)


@pytest.fixture
def part(weights, tmp_path):
    made = Embedder(load({"data_dir": tmp_path}, {}), weights, tmp_path / "cache")
    made.start()
    yield made
    made.close()


def test_a_text_is_embedded_once_and_gets_the_very_same_vector_again(part, weights, tmp_path):
    texts = ["The backup runs at three.", "The gateway listens.", "The backup runs at three."]
    first = part.embed(texts)
    assert np.array_equal(first[0], first[2]) and part.stats()["texts"] == 2, "also within one call"
    assert np.array_equal(part.embed(texts), first) and part.stats()["texts"] == 2
    part.close()
    part.start()
    assert np.array_equal(part.embed(texts[::-1]), first[::-1])
    stats = part.stats()
    assert (stats["texts"], stats["cache_hits"], stats["cache_misses"], stats["cache_failures"]) == (2, 6, 3, 0) and stats["cache_bytes"] > 0
    other = Embedder(load({"data_dir": tmp_path, "embedding_cache_mb": 0}, {}), weights, tmp_path / "other")
    other.start()
    assert np.allclose(other.embed(texts), first, atol=1e-6) and not (tmp_path / "other" / "embedding").exists()


def test_the_health_check_asks_the_model_and_not_the_cache(part):
    assert part.deep().ok
    assert part.stats()["cache_hits"] == part.stats()["cache_misses"] == 0
    read = part.stats()["texts"]
    part.embed([part.model.probe])
    assert part.deep().ok and part.stats()["texts"] == read + 3 and part.stats()["cache_hits"] == 0


def test_a_text_that_is_too_long_is_refused_by_its_own_place_whatever_the_cache_holds(part):
    from suite.errors import BadRequest

    part.embed(["a", "b"])
    with pytest.raises(BadRequest, match=r"texts\[2\] has 602 tokens but minilm reads 512 at most"):
        part.embed(["a", "b", "the " * 600, "c"])


def test_the_numbers_are_metrics(part):
    part.embed(["a", "b"])
    part.embed(["a"])
    found = {sample.name: sample.value for family in EmbeddingSeries(part).collect() for sample in family.samples}
    assert (found["suite_embedding_texts_total"], found["suite_embedding_cache_hits_total"], found["suite_embedding_cache_misses_total"]) == (2, 1, 2)
    assert found["suite_embedding_tokens_total"] == 6 and found["suite_embedding_cache_bytes"] > 0
