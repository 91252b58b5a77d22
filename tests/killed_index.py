"""kill -9 at random moments of an indexing run: nothing is lost, nothing is doubled.

    python tests/killed_index.py ROUNDS SEED

Each round changes, adds and removes some documents, starts an indexing run in a process of its own, kills that at a random moment, lets another run
finish the work and compares the store with one that was filled in peace.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

DOCUMENTS = 60
COLLECTION = "killed"
_TOPICS = ["harbour", "archive", "backup", "canteen", "furnace", "garden", "library", "tunnel", "bridge", "문서고", "백업", "구내식당", "용광로", "정원", "도서관", "터널"]


def part(data: Path, docs: Path) -> tuple[Any, Any, Any]:
    """Knowledge on a real database and a real embedded store, with a stand-in for the embedder, which would only make it slow."""
    from suite.knowledge import index
    from suite.knowledge.knowledge import Knowledge
    from suite.settings import load
    from suite.storage.engine import open_storage
    from suite.testing import FixedChat, StandInEmbedder
    from suite.vectors.edge import EdgeStore

    index.GROUP = 16  # many groups in a short run
    settings = load({"data_dir": str(data), "rag_roots": str(docs), "rag_chunk_size": 24, "rag_chunk_overlap": 0}, environ={}, cwd=docs)
    data.mkdir(exist_ok=True)
    storage, store = open_storage("", data), EdgeStore(data / "vectors", optimize_after=200)
    store.open()
    return Knowledge(storage, store, StandInEmbedder(64), FixedChat("x"), settings), store, storage


def child(data: Path, docs: Path) -> None:
    """Index everything, saying when the work begins and how it ended."""
    knowledge, store, storage = part(data, docs)
    print("begin", flush=True)
    print(json.dumps(knowledge.add(COLLECTION, [str(docs)], docs).to_dict()), flush=True)
    store.close()
    storage.close()


def change(docs: Path, chance: random.Random) -> None:
    """Some new documents, some changed, some gone."""
    for number in chance.sample(range(DOCUMENTS), DOCUMENTS // 2):
        file = docs / f"{number:03}.md"
        if file.exists() and chance.random() < 0.1:
            file.write_text("")  # what became empty takes its chunks with it
            continue
        sentences = (f"The {chance.choice(_TOPICS)} number {chance.randrange(9999)} is beside the {chance.choice(_TOPICS)}." for _ in range(chance.randrange(2, 60)))
        file.write_text(f"# Document {number}\n\n" + " ".join(sentences) + "\n", encoding="utf-8")


def content(data: Path, docs: Path) -> tuple[Counter[tuple[Any, ...]], dict[str, Any]]:
    """Every point as text in its place, and what another `add` finds to do."""
    from suite.knowledge.register import store_name

    knowledge, store, storage = part(data, docs)
    points: Counter[tuple[Any, ...]] = Counter()
    after = None
    while page := store.scroll(store_name(COLLECTION), limit=500, offset=after):
        points.update((point.id, point.payload["document"], point.payload["start"], point.payload["end"], point.payload["text"]) for point in page)
        after = page[-1].id
    again = knowledge.add(COLLECTION, [str(docs)], docs).to_dict()
    store.close()
    storage.close()
    return points, again


def run(data: Path, docs: Path, moment: float | None) -> bool:
    """An indexing run in a process of its own, killed so many seconds after its work began; whether it was."""
    process = subprocess.Popen([sys.executable, __file__, "child", str(data), str(docs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n", "the indexing process did not start"
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    assert process.returncode in (0, -9), f"the indexing run ended with status {process.returncode}"
    return process.returncode == -9


def rounds(number: int, seed: int, folder: Path) -> int:
    """So many rounds in `folder`; returns how many runs were killed before they ended. Raises AssertionError for a loss or a double."""
    chance = random.Random(seed)
    docs, data, killed = folder / "docs", folder / "data", 0
    docs.mkdir()
    began = time.monotonic()
    change(docs, chance)
    run(data, docs, None)
    usual = time.monotonic() - began  # with the start of a process, so that some runs end before they would be killed
    for which in range(number):
        change(docs, chance)
        killed += run(data, docs, chance.random() * usual * 0.6)
        run(data, docs, None)
        peace = folder / f"peace-{which}"
        run(peace, docs, None)
        (found, again), (expected, _) = content(data, docs), content(peace, docs)
        lost, doubled = expected - found, found - expected
        assert not lost and not doubled, f"round {which}, seed {seed}: {len(lost)} points lost, {len(doubled)} too many"
        assert again["new"] == again["changed"] == 0, f"round {which}, seed {seed}: the run after the last one found {again} to do"
    return killed


def main(arguments: list[str]) -> int:
    """The rounds, or one run of a child."""
    if arguments[0] == "child":
        child(Path(arguments[1]), Path(arguments[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        killed = rounds(int(arguments[0]), int(arguments[1]), Path(folder).resolve())
    print(f"{arguments[0]} rounds, seed {arguments[1]}: {killed} indexing runs were killed midway; nothing was lost, nothing doubled")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
