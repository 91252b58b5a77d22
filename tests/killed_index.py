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
from dataclasses import dataclass
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
    from suite.text.terms import terms

    knowledge, store, storage = part(data, docs)
    terms("한국어")  # loads the analyser: what takes so long must not be what is killed each time
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


def run(data: Path, docs: Path, moment: float | None) -> tuple[bool, float]:
    """An indexing run in a process of its own, killed so many seconds after its work began; whether it was, and the seconds that it worked."""
    process = subprocess.Popen([sys.executable, __file__, "child", str(data), str(docs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n", "the indexing process did not start"
    began = time.monotonic()
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    seconds = time.monotonic() - began
    process.stdout.close()
    assert process.returncode in (0, -9), f"the indexing run ended with status {process.returncode}"
    return process.returncode == -9, seconds


@dataclass(frozen=True)
class Round:
    """What became of one round: was the run killed, how many points were lost or too many after the next, and what a third one found to do."""

    killed: bool
    points: int
    lost: int
    doubled: int
    left: int

    @property
    def whole(self) -> bool:
        """Nothing lost, nothing doubled, nothing left to do, and something there to lose."""
        return self.points > 0 and self.lost == self.doubled == self.left == 0


def rounds(number: int, seed: int, folder: Path) -> list[Round]:
    """So many rounds in `folder`."""
    chance = random.Random(seed)
    docs, data, found_out = folder / "docs", folder / "data", []
    docs.mkdir()
    change(docs, chance)
    _, usual = run(data, docs, None)
    for which in range(number):
        change(docs, chance)
        killed, _ = run(data, docs, chance.random() * usual)
        run(data, docs, None)
        peace = folder / f"peace-{which}"
        run(peace, docs, None)
        (found, again), (expected, _) = content(data, docs), content(peace, docs)
        left = again["new"] + again["changed"]
        found_out.append(Round(killed, found.total(), (expected - found).total(), (found - expected).total(), left))
    return found_out


def main(arguments: list[str]) -> int:
    """The rounds, or one run of a child."""
    if arguments[0] == "child":
        child(Path(arguments[1]), Path(arguments[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        done = rounds(int(arguments[0]), int(arguments[1]), Path(folder).resolve())
    print(f"{len(done)} rounds, seed {arguments[1]}: {sum(one.killed for one in done)} indexing runs were killed midway; "
          f"{sum(one.lost for one in done)} points lost, {sum(one.doubled for one in done)} too many, {sum(one.left for one in done)} documents left to do")
    return 0 if all(one.whole for one in done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
