"""Many chunks without documents: made vectors that have true neighbours, and texts in which few words are frequent, as in any language."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from suite.benchmark.knowledge_texts import vocabulary
from suite.errors import RunFailed
from suite.knowledge.index import weights
from suite.knowledge.prepare import Passage, term_id
from suite.knowledge.retrieve import retrieve
from suite.knowledge.split import Chunk
from suite.text.language import language
from suite.text.terms import terms
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point

COLLECTION, DIM, BATCH, TOPK = "made", 384, 1000, 4
NEAREST = 10  # recall@10
TOPICS, BELOW, OF_ONE_DOCUMENT = 50, 20, 10  # topics, subjects of each, chunks of a document
WEIGHTS = (1.0, 0.7, 0.5, 0.4)  # of topic, subject, document and chunk in a vector: nearer means more in common
WORDS, OF_A_SUBJECT, IN_A_CHUNK, IN_A_QUESTION = 30_000, 200, 90, 5
SHARES = (0.45, 0.25)  # of a chunk's words: function words, words that any text may have; the rest belongs to its subject
_LITTLE = ("the of and to in is was for on as by at from with that it this are be an or which not were but its have has had they their his her he "
           "she who what when where how why did do does can will would there one all")
LITTLE = _LITTLE.split()
COSINES = (0.2, 0.8)  # as the bundled model's
WAIT, REST, LOOK_EVERY = 3 * 3600.0, 2.0, 0.2  # seconds: for the index, without work until it counts as done, between looks


@dataclass(frozen=True)
class Question:
    """What is asked: words of one chunk among function words, and a vector near that chunk's."""

    text: str
    vector: Any


class Corpus:
    """`count` chunks, the same for the same `seed`; `questions` of them are filled while the chunks are drawn."""

    def __init__(self, count: int, asked: int, seed: int = 3) -> None:
        self.count, self.questions = count, list[Question]()
        self._asked_every = max(1, count // asked)
        self._chance = np.random.default_rng(seed)
        topics = self._directions(TOPICS)
        self._subjects = WEIGHTS[0] * np.repeat(topics, BELOW, axis=0) + WEIGHTS[1] * self._directions(TOPICS * BELOW)
        self._words = [*LITTLE, *vocabulary(WORDS)]
        self._terms = [term_id(terms(word)[0]) for word in self._words]
        frequency = 1 / np.arange(1, WORDS + 1)  # Zipf's law
        self._frequent = np.cumsum(frequency / frequency.sum())
        self._own = self._chance.integers(0, WORDS, (TOPICS * BELOW, OF_A_SUBJECT)) + len(LITTLE)

    def points(self) -> Iterator[list[Point]]:
        """The chunks in batches of at most BATCH, of whole documents."""
        mean = float(IN_A_CHUNK)
        for start in range(0, self.count, BATCH):
            size = min(BATCH, self.count - start)
            documents = -(-size // OF_ONE_DOCUMENT)
            subjects = self._chance.integers(0, len(self._subjects), documents)
            places = np.arange(size) // OF_ONE_DOCUMENT
            vectors = (self._subjects[subjects] + WEIGHTS[2] * self._directions(documents))[places] + WEIGHTS[3] * self._directions(size)
            vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
            drawn = self._drawn(self._own[subjects[places]])
            batch = [self._point(start + at, start // OF_ONE_DOCUMENT + int(places[at]), vectors[at], drawn[at].tolist(), mean) for at in range(size)]
            for at in range(-start % self._asked_every, size, self._asked_every):
                self.questions.append(self._question(vectors[at], drawn[at]))
            yield batch

    def _directions(self, count: int) -> Any:
        drawn = self._chance.standard_normal((count, DIM))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def _drawn(self, own: Any) -> Any:
        """The numbers of the words of each chunk; `own` are those of its subject."""
        shape = (len(own), IN_A_CHUNK)
        little = self._chance.integers(0, len(LITTLE), shape)
        anywhere = np.searchsorted(self._frequent, self._chance.random(shape)).clip(0, WORDS - 1) + len(LITTLE)
        of_subject = np.take_along_axis(own, self._chance.integers(0, OF_A_SUBJECT, shape), axis=1)
        kind = self._chance.random(shape)
        return np.where(kind < SHARES[0], little, np.where(kind < sum(SHARES), anywhere, of_subject))

    def _point(self, number: int, document: int, vector: Any, drawn: list[int], mean: float) -> Point:
        text, path = " ".join([self._words[word] for word in drawn]), f"/made/{document:07}.txt"
        place = number % OF_ONE_DOCUMENT
        chunk = Chunk(place, place * 600, place * 600 + len(text), text)
        passage = Passage(chunk, None, dict(Counter(self._terms[word] for word in drawn)), len(drawn))
        payload = {"document": path, "version": "0" * 16, "chunk": place, "start": chunk.start, "end": chunk.end, "page": None, "text": text,
                   "after": "\n\n", "headings": [], "length": passage.length}
        return Point(str(uuid.UUID(int=number + 1)), vector.tolist(), weights(passage, mean), payload)

    def _question(self, vector: Any, drawn: Any) -> Question:
        content = [word for word in drawn.tolist() if word >= len(LITTLE)][:IN_A_QUESTION]
        asked = vector + WEIGHTS[3] * self._directions(1)[0]
        return Question(" ".join(["what did the", *(self._words[word] for word in content)]), (asked / np.linalg.norm(asked)).tolist())


class Prepared:
    """An embedder that is given the vector of the next question, so that embedding takes no time."""

    model = SimpleNamespace(cosines=COSINES)

    def __init__(self) -> None:
        self.vector: Any = None

    def reads(self, text: str) -> bool:
        """As the bundled model: finding that out takes its time."""
        return language(text) == "en"

    def head(self, text: str, kind: str = "passage") -> str:
        """The whole text: no question is too long."""
        return text

    def embed(self, texts: Sequence[str], kind: str = "passage") -> Any:
        """The vector that was prepared, as the only row."""
        return np.array([self.vector], np.float32)


class Points:
    """An embedded store with `count` made chunks in `folder`, to be filled and then asked."""

    def __init__(self, folder: str, count: int, asked: int) -> None:
        self._corpus = Corpus(count, asked)
        self._store = EdgeStore(Path(folder))
        self._store.open()

    def fill(self) -> dict[str, float]:
        """Write all chunks and wait until nobody works on the index: seconds of writing and of waiting, and how many chunks it lacks then."""
        began = time.perf_counter()
        self._store.create(COLLECTION, DIM)
        for batch in self._corpus.points():
            self._store.upsert(COLLECTION, batch)
        written = busy = time.perf_counter()
        row = self._indexing()
        while row["optimizing"] or time.perf_counter() - busy < REST:
            busy = time.perf_counter() if row["optimizing"] else busy
            if time.perf_counter() - written > WAIT:
                raise RunFailed(f"The index of {self._corpus.count:,} chunks was not done within {WAIT:.0f} s")
            time.sleep(LOOK_EVERY)
            row = self._indexing()
        self._store.flush()
        return {"write": written - began, "index": busy - written, "lacks": row["unoptimized_points"]}

    def ask(self, warm: int) -> list[float]:
        """Seconds of each retrieval by both arms, in order; the first `warm` questions are asked once before."""
        embedder, marks = Prepared(), []
        for question in [*self._corpus.questions[:warm], *self._corpus.questions]:
            embedder.vector = question.vector
            began = time.perf_counter()
            hits = retrieve(self._store, COLLECTION, question.text, TOPK, embedder)
            marks.append(time.perf_counter() - began)
            if len(hits) != TOPK:
                raise RunFailed(f"A question found {len(hits)} of {TOPK} chunks, so its time means nothing")
        return marks[-len(self._corpus.questions):]

    def recall(self, asked: int) -> float:
        """The share of the ten nearest vectors, by exact search, that the index finds too."""
        found = 0
        questions = self._corpus.questions[:asked]
        for question in questions:
            exact, by_index = ({row.id for row in self._store.query(COLLECTION, vector=question.vector, limit=NEAREST, effort=effort)}
                               for effort in (0, None))
            found += len(exact & by_index)
        return found / (NEAREST * len(questions))

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _indexing(self) -> dict[str, Any]:
        row = self._store.stats()[COLLECTION]
        if row["failed"]:
            raise RunFailed(f"The index was not made: {self._store.info(COLLECTION).indexing.error}".rstrip("."))
        return row
