"""The contenders that read documents, each in a process of its own: a stack whose knowledge indexes and is asked, and fastembed alone."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite import host
from suite.benchmark.knowledge_texts import paragraph_files
from suite.embedding.load import load as load_model
from suite.embedding.model import embedding_model
from suite.errors import RunFailed, StartError
from suite.knowledge.evaluate import Evaluation, Question, evaluate, evaluate_dataset
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.prepare import Preparation, in_context
from suite.knowledge.read import Reader
from suite.settings import load
from suite.stack import Stack
from suite.storage.place import open_data_dir
from suite.text.terms import terms

ARMS = ("sparse", "dense")
RETRIEVERS = ("default", *ARMS)
RANKS = (1, 5)


class Thinned:
    """The embedding part with most of the work left out: every `real`-th call embeds, the others are given made vectors at once."""

    def __init__(self, embedder: Any, real: int) -> None:
        self._embedder, self._real, self._calls = embedder, real, 0
        self._chance = np.random.default_rng(5)
        self.model = embedder.model
        self.tokens, self.reads, self.head, self.ready = embedder.tokens, embedder.reads, embedder.head, embedder.ready

    def embed(self, texts: Sequence[str], kind: str = "passage") -> Any:
        """One unit row per text."""
        self._calls += 1
        if self._calls % self._real == 1 % self._real:
            return self._embedder.embed(texts, kind)
        rows = self._chance.standard_normal((len(texts), self.model.dim)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Indexer:
    """A stack of its own with these settings; `verbs` are what it can be asked."""

    def __init__(self, settings: dict[str, Any]) -> None:
        read = load(settings)
        data = open_data_dir(Path(read.data_dir))
        claim = host.claim(data / "run")
        if not isinstance(claim, host.Claim):
            raise StartError(f"{data} has a stack already; give the measurement a folder of its own.")
        self._stack = Stack(read, data, claim)
        self._stack.start()
        self._knowledge = self._stack.knowledge

    def close(self) -> None:
        """End the stack."""
        self._stack.stop()

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """What the other process may call, by name."""
        return {"ready": self.ready, "index": self.index, "drop": self.drop, "texts": self.texts, "quality": self.quality, "together": self.together,
                "ask": self.ask}

    def ready(self) -> bool:
        """Embed one text, so that the model is loaded, and fail when it cannot."""
        self._stack.embedder.embed(["The backup runs at three in the morning."])
        return True

    def index(self, collection: str, folder: str, warm: bool = False, real: int = 1) -> dict[str, Any]:
        """Index a folder: seconds, chunks. `warm` loads what Korean needs before the clock runs; see Thinned for `real`."""
        knowledge, stack = self._knowledge, self._stack
        if real > 1:  # another of the same parts, but for the embedder
            knowledge = Knowledge(stack.storage, stack.store, Thinned(stack.embedder, real), _silent, stack.settings)
        if warm:
            terms("낱말")
        try:
            began = time.perf_counter()
            added = knowledge.add(collection, [folder], Path(folder))
            seconds = time.perf_counter() - began
        finally:
            if knowledge is not self._knowledge:
                knowledge.close()
        if added.skipped or not added.chunks:
            raise RunFailed(f"{len(added.skipped)} of the files in {folder} were skipped, so the time means nothing: {added.skipped[:1]}")
        return {"seconds": seconds, "chunks": added.chunks}

    def drop(self, collection: str) -> bool:
        """Take a collection out again."""
        return self._knowledge.drop(collection)

    def texts(self, folder: str, file: str) -> int:
        """Write into `file`, as JSON, the texts that indexing a folder embeds, in the order of the documents; how many there are."""
        settings, embedder = self._stack.settings, self._stack.embedder
        reader, preparation = Reader(settings, Path(settings.data_dir), Path(folder)), Preparation(embedder, settings)
        found = []
        for path in reader.find([folder])[0]:
            chunks = preparation.chunks(reader.read(path))
            found += [text for text in (in_context(chunk.text, chunk.headings) for chunk in chunks) if embedder.reads(text)]
        Path(file).write_text(json.dumps(found), encoding="utf-8")
        return len(found)

    def quality(self, file: str, folder: str) -> dict[str, Any]:
        """Recall in percent of each retriever on a file in SQuAD's format, whose paragraphs are a collection of their own."""
        Path(folder).mkdir()
        try:
            return _recalls(evaluate_dataset(self._knowledge, Path(file), Path(folder), RETRIEVERS))
        finally:
            shutil.rmtree(folder)

    def together(self, files: list[str], folder: str) -> dict[str, dict[str, Any]]:
        """The same for each of the files, when the paragraphs of all are one collection."""
        questions: dict[str, list[Question]] = {}
        try:
            for file in files:
                questions[file] = [Question(text, str(Path(folder) / name)) for text, name in paragraph_files(Path(file), Path(folder))]
            self.index("together", folder)
            return {file: _recalls(evaluate(self._search, asked, RETRIEVERS)) for file, asked in questions.items()}
        finally:
            self.drop("together")
            shutil.rmtree(folder)

    def ask(self, collection: str, questions: list[str], topk: int) -> list[dict[str, Any]]:
        """For each question the seconds that finding took, its embedding counted, and the names of the files found, best first."""
        rows = []
        for question in questions:
            began = time.perf_counter()
            hits = self._knowledge.search(collection, question, topk)
            rows.append({"seconds": time.perf_counter() - began, "files": [Path(hit.document).name for hit in hits]})
        return rows

    def _search(self, question: str, limit: int, retriever: str) -> Any:
        return self._knowledge.search("together", question, limit, retriever)


class BareEmbedder:
    """fastembed's own `embed` on the bundled weights."""

    def __init__(self, model: str, models_dir: str, cache_dir: str, threads: int, batch: int) -> None:
        known = embedding_model(model)
        self._model = load_model(known, Path(models_dir) / known.id, Path(cache_dir), threads).model
        self._batch = batch
        list(self._model.embed(["The backup runs at three in the morning."]))

    def embed(self, file: str) -> dict[str, Any]:
        """Seconds for the texts in a file, and how many there are."""
        texts = json.loads(Path(file).read_text(encoding="utf-8"))
        began = time.perf_counter()
        rows = list(self._model.embed(texts, batch_size=self._batch))
        return {"seconds": time.perf_counter() - began, "chunks": len(rows)}


def _recalls(found: Evaluation) -> dict[str, Any]:
    rows = {retriever: {str(rank): 100 * found.row(retriever)[f"recall@{rank}"] for rank in RANKS} for retriever in RETRIEVERS}
    return {"n": found.row()["n"], **rows}


def _silent(*_: Any) -> Any:
    raise RunFailed("Nothing is asked of a model here.")
