"""A memory that is filled with made turns, grown to one size after another, and asked: the parts themselves, without ports and without a gateway."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from suite.benchmark.memory_texts import LANGUAGES, Made, Talk, check
from suite.benchmark.scene import OWN
from suite.embedding.embed import Embedder
from suite.embedding.model import SMOKE
from suite.errors import RunFailed
from suite.memory.importance import DAY
from suite.memory.memory import Memory
from suite.memory.project import corpus
from suite.memory.record import Remembered, store_name
from suite.memory.remember import insert
from suite.memory.words import marked
from suite.settings import Settings, load
from suite.storage.engine import open_storage
from suite.text.terms import terms
from suite.vectors.edge import EdgeStore
from suite.vectors.store import Point

PORTION = 1_000  # turns that are written in one transaction
KEPT = 2_000  # turns are all kept to be asked about; of more, fewer and fewer
NOISE = 0.6  # how far a made vector is from the real one that it is made of, both of unit length
WAIT, REST, LOOK_EVERY = 3 * 3600.0, 2.0, 0.2  # seconds: for the index, without work until it counts as done, between looks
TOPK = 5


def own(settings: Settings, folder: Path) -> Settings:
    """The settings of a memory in `folder` alone: the bundled embedder without a cache, nothing of the user's but where the models are."""
    return load({**OWN, "data_dir": str(folder), "models_dir": str(settings.models_dir), "embedding_threads": settings.embedding_threads,
                 "embedding_model": SMOKE, "embedding_cache_mb": 0, "default_project_id": "made"})


class Bank:
    """A project in `folder` that is filled and asked; use it in a `with`. `real` turns get the embedder's own vectors, the others made ones.

    Vectors of made turns lie around those of real English turns, so that each has near ones, and a question has them too; Korean turns get such a
    vector as well, as under a model that reads Korean.
    """

    def __init__(self, folder: Path, settings: Settings, real: int, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.talk, self.size = folder, Talk(settings.models_dir), 0
        self._real, self._say = real, say
        self._chance = np.random.default_rng(5)
        self._kept: dict[str, list[Made]] = {language: [] for language in LANGUAGES}
        self._centres: Any = None
        self._open(own(settings, folder))

    def _open(self, settings: Settings) -> None:
        self.storage, self.store = open_storage("", self.folder), EdgeStore(self.folder / "vectors")
        self.store.open()
        self.embedder = Embedder(settings, settings.models_dir, self.folder / "cache")
        self.embedder.start()
        self.memory = Memory(self.storage, self.store, self.embedder, settings)
        self.memory.start()
        self.project = self.memory.default

    def __enter__(self) -> Bank:
        ready = self.embedder.ready()
        if not ready.ok:
            self.close()
            raise RunFailed(f"The embedder is not ready: {' '.join(ready.reasons)}".rstrip("."))
        check(self.talk, [made for language in LANGUAGES for made in self.talk.turns(language, 20)])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every part."""
        self.memory.close()
        self.embedder.close()
        self.store.close()
        self.storage.close()

    def grow(self, size: int) -> float:
        """Fill up to so many turns, half of them Korean; gives the turns per second."""
        began, before = time.perf_counter(), self.size
        while self.size < size:
            count = min(PORTION, size - self.size)
            self._portion(count, made_vectors=self.size >= self._real)
            if self.size % (100 * PORTION) == 0:
                self._say(f"{self.size:,} turns, {(self.size - before) / (time.perf_counter() - began):,.0f} a second")
            if self.size <= self._real and self.size in (self._real, size):
                self.memory.sync()  # these get theirs as ever
                self._centres = self._real_vectors()
        return (size - before) / (time.perf_counter() - began)

    def _portion(self, count: int, made_vectors: bool) -> None:
        half = count // 2
        turns = [*self.talk.turns("ko", half), *self.talk.turns("en", count - half)]
        records, found = [], []
        for number, made in enumerate(turns):
            question, reply, words = self.talk.stored(made)
            records.append(self._record(question, reply, self.size + number, "synced" if made_vectors else "pending"))
            found.append(words)
            if number % max(1, self.size // KEPT) == 0:
                self._kept[made.language].append(made)
        insert(self.storage, records, stored=found)
        if made_vectors:
            self._write_vectors([record.id for record in records])
        self.size += count

    def _record(self, question: str, reply: str, number: int, state: str) -> Remembered:
        """A turn of one of many sessions; turns are a minute apart, and none expires while this lasts."""
        level, now = 3 + number % 8, time.time()
        tags = (f"tag{number % 50}",) if number % 10 == 0 else ()
        return Remembered(str(uuid.uuid4()), self.project, question, reply, "made", f"session-{number // 12}", tags, level, now - 6e7 + 60 * number,
                          None if level == 10 else now + level * 30 * DAY, state, valid_from=now - 6e7 + 60 * number)

    def _real_vectors(self) -> Any:
        rows = self.store.scroll(store_name(self.project), limit=min(self._real, 2_000))
        return np.array([row.vector for row in rows if row.vector is not None], np.float32)

    def _write_vectors(self, ids: Sequence[str]) -> None:
        centres = self._centres[self._chance.integers(0, len(self._centres), len(ids))]
        noise = self._chance.standard_normal(centres.shape, np.float32)
        rows = centres + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        payload = {"project": self.project, "embedder": self.embedder.model.name}
        self.store.upsert(store_name(self.project), [Point(identity, row, None, payload) for identity, row in zip(ids, rows.tolist(), strict=True)])

    def settle(self) -> float:
        """Wait until nobody works on the vectors' index; gives the seconds. Raises RunFailed when that fails or never ends."""
        began = busy = time.perf_counter()
        while True:
            row = self.store.stats()[store_name(self.project)]
            if row["failed"]:
                raise RunFailed(f"The index was not made: {self.store.info(store_name(self.project)).indexing.error}".rstrip("."))
            busy = time.perf_counter() if row["optimizing"] else busy
            if time.perf_counter() - busy > REST:
                return busy - began
            if busy - began > WAIT:
                raise RunFailed(f"The index of {self.size:,} vectors was not done within {WAIT:.0f} s")
            time.sleep(LOOK_EVERY)

    def number(self) -> int:
        """The number of the project, which marks its search terms."""
        with self.storage.read() as connection:
            found = corpus(connection, self.project)
        assert found is not None
        return found.number

    def disk(self) -> tuple[int, int]:
        """Bytes on disk of the database and of the vectors."""
        taken = {path: path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file()}
        vectors = sum(size for path, size in taken.items() if "vectors" in path.relative_to(self.folder).parts)
        return sum(size for path, size in taken.items() if path.name.startswith("suite.db")), vectors

    def saves(self, language: str, count: int) -> list[float]:
        """Seconds of so many saves, one after the other, each on the disk when it returns; vectors are written beside them as ever."""
        marks = []
        for made in self.talk.turns(language, count):
            question, reply = self.talk.text(made)
            began = time.perf_counter()
            self.memory.remember(question, reply, session="while the clock runs", tags=("saved",))
            marks.append(time.perf_counter() - began)
        return marks

    def questions(self, language: str, count: int) -> list[str]:
        """So many questions, each about a stored turn."""
        kept = self._kept[language]
        return [self.talk.question(kept[int(place)]) for place in self._chance.integers(0, len(kept), count)]

    def recalls(self, questions: Sequence[str], how: Any) -> list[float]:
        """Seconds of each recall. Raises RunFailed when one finds less than it is asked for."""
        marks = []
        for question in questions:
            began = time.perf_counter()
            found = self.memory.recall(question, how=how, limit=TOPK)
            marks.append(time.perf_counter() - began)
            if len(found) != TOPK:
                raise RunFailed(f"A question found {len(found)} of {TOPK} turns, so its time means nothing")
        return marks


class Plain:
    """What a user would write: the same terms in a table of FTS5 as it comes, asked for any of a question's terms, best by `bm25()` first."""

    def __init__(self, bank: Bank) -> None:
        self._file, self._bank = bank.folder.parent / "plain.db", bank

    def fill(self) -> None:
        """Bring it to what the bank holds."""
        with closing(sqlite3.connect(self._file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS plain USING fts5(terms, content='', tokenize='ascii')")
            connection.execute("CREATE TABLE IF NOT EXISTS reached (seq INTEGER)")
            connection.execute("ATTACH ? AS bank", (str(self._bank.storage.file),))
            reached = connection.execute("SELECT coalesce(max(seq), 0) FROM reached").fetchone()[0]
            last = connection.execute("SELECT coalesce(max(seq), 0) FROM bank.memories").fetchone()[0]
            connection.execute("INSERT INTO plain (rowid, terms) SELECT rowid, terms FROM bank.memory_words WHERE rowid > ? AND rowid <= ?",
                               (reached, last))
            connection.execute("INSERT INTO reached VALUES (?)", (last,))
            connection.commit()

    def asks(self, questions: Sequence[str]) -> list[float]:
        """Seconds of each question, its terms found and the best turns read."""
        marks = []
        with closing(sqlite3.connect(self._file)) as connection:
            number = self._bank.number()
            for question in questions:
                began = time.perf_counter()
                match = " OR ".join(f'"{marked(number, term)}"' for term in dict.fromkeys(terms(question)))
                rows = connection.execute("SELECT rowid FROM plain WHERE plain MATCH ? ORDER BY rank LIMIT ?", (match, TOPK)).fetchall()
                marks.append(time.perf_counter() - began)
                if len(rows) != TOPK:
                    raise RunFailed(f"The peer found {len(rows)} of {TOPK} turns, so its time means nothing")
        return marks
