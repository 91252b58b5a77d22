"""What prepares documents on a worker of a cluster, and what it must have in common with the host that ordered it; see suite.knowledge.scale."""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import metadata
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from suite import __version__
from suite.errors import BadRequest, NotReady, SuiteError
from suite.knowledge.prepare import Passage, Preparation
from suite.knowledge.read import Reader, Source
from suite.knowledge.roots import Roots
from suite.knowledge.split import Chunk

_SENT = ("embedding_batch_size", "embedding_threads", "embedding_max_texts", "embedding_max_chars", "rag_chunk_size", "rag_chunk_overlap",
         "rag_max_file_mb", "rag_max_packed_mb", "rag_parse_seconds", "rag_parse_mb")
_MAKES_TEXT = ("beautifulsoup4", "kiwipiepy", "lxml", "py-rust-stemmers", "pypdf", "python-docx", "tokenizers")  # another version: other chunks
_READY_FOR = 2  # orders at once in a process: each has a model in memory
_desks: dict[str, Desk] = {}  # by Order.key, the one that was used last at the end
_opening = threading.Lock()


@dataclass(frozen=True)
class Want:
    """A document to prepare from its chunk `start` on; `sha256` is of its bytes, where an earlier part of it is there already."""

    path: str
    start: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Prepared:
    """Passages of a document in order, perhaps its first, perhaps its last; `source` is without its text."""

    source: Source
    passages: Sequence[Passage]
    first: bool
    last: bool

    @property
    def text(self) -> str:
        """Some of the document's text, blank only if all of it is."""
        return self.passages[0].chunk.text if self.passages else ""


@dataclass(frozen=True)
class Portion:
    """Passages from chunk `start` of `total` on as they travel: `vectors` (float32, one row each) are those of the passages at `embedded`."""

    source: Source
    start: int
    total: int
    passages: Sequence[Passage]
    embedded: Sequence[int]
    vectors: Any

    @property
    def end(self) -> int:
        """The chunk after the last one."""
        return self.start + len(self.passages)

    def prepared(self) -> Prepared:
        """The same as they are stored."""
        passages = list(self.passages)
        for at, vector in zip(self.embedded, self.vectors.tolist(), strict=True):
            passages[at] = replace(passages[at], vector=tuple(vector))
        return Prepared(self.source, passages, self.start == 0, self.end >= self.total)


Found = list[tuple[str, "Portion | BadRequest"]]  # by path; why not, for a document that cannot be read


@dataclass(frozen=True)
class Order:
    """How a worker is to prepare documents. What `facts` say must hold there too, or its chunks would be others."""

    settings: dict[str, Any]
    models_dir: Path
    roots: Roots
    facts: dict[str, str]

    @property
    def key(self) -> str:
        """The same for orders that say the same."""
        return repr((sorted(self.settings.items()), self.models_dir, sorted(vars(self.roots).items()), sorted(self.facts.items())))


def ordered(settings: Any, reader: Reader, preparation: Preparation) -> Order:
    """What workers are told, so that they prepare documents as this host does."""
    models_dir = Path(settings.models_dir)
    # the model by its name, whatever `auto` means there; its cache is for a machine that embeds the same text again
    sent = {name: getattr(settings, name) for name in _SENT} | {"embedding_model": preparation.embedder.model.id, "embedding_cache_mb": 0}
    return Order(sent, models_dir, reader.roots, _versions() | _recipe(preparation, models_dir))


class Desk:
    """What prepares documents in one process. Safe to use from several threads."""

    def __init__(self, reader: Reader, preparation: Preparation) -> None:
        self._reader, self._preparation = reader, preparation
        self._long: tuple[str, Source, list[Chunk]] | None = None  # one that did not fit: its later parts are likely to be wanted next

    def found(self, wants: Sequence[Want], room: int) -> Found:
        """The wanted documents in order, until they have `room` chunks together; the last may be there in part, others after it not at all."""
        taken: list[tuple[Want, Source | BadRequest, list[Chunk], int]] = []
        for want in wants:
            if room <= 0:
                break
            try:
                source, chunks = self._chunks(want, room)
            except BadRequest as error:
                taken.append((want, BadRequest(error.message, **error.facts), [], 0))  # without what it was raised from
                continue
            part = chunks[want.start:want.start + room]
            room -= len(part)
            taken.append((want, source, part, len(chunks)))
        passages = iter(self._preparation.passages([(source, chunk) for _, source, part, _ in taken for chunk in part]))  # all at once: faster
        return [(want.path, source if isinstance(source, BadRequest) else _packed(source, want.start, total, list(islice(passages, len(part)))))
                for want, source, part, total in taken]

    def _chunks(self, want: Want, room: int) -> tuple[Source, list[Chunk]]:
        """The document without its text, and all its chunks."""
        long = self._long
        if long is not None and want.start and long[0] == want.path and long[1].sha256 == want.sha256:
            return long[1], long[2]
        source = self._reader.read(want.path)
        if want.start and source.sha256 != want.sha256:
            raise BadRequest("changed while it was read; add it again")
        chunks = self._preparation.chunks(source)
        source = replace(source, text="")
        if len(chunks) > room:
            self._long = (want.path, source, chunks)
        return source, chunks


def _packed(source: Source, start: int, total: int, passages: Sequence[Passage]) -> Portion:
    import numpy as np  # here: whoever only starts a bench need not load it

    embedded = [at for at, passage in enumerate(passages) if passage.vector is not None]
    vectors = np.array([passages[at].vector for at in embedded], np.float32)
    return Portion(replace(source, pages=()), start, total, [replace(passage, vector=None) for passage in passages], embedded, vectors)


def desk_for(order: Order, worker: Any) -> Desk:
    """What prepares documents as ordered in this process. Raises SuiteError when this installation would prepare them otherwise."""
    with _opening:
        desk = _desks.pop(order.key, None) or _opened(order, worker)
        _desks[order.key] = desk
        while len(_desks) > _READY_FOR:
            del _desks[next(iter(_desks))]
    return desk


def why_not(order: Order, sample: str, worker: Any) -> str:
    """Why this worker cannot prepare documents as ordered, or read the one at `sample`; empty when it can, and then it is ready to."""
    try:
        desk_for(order, worker)
    except SuiteError as error:
        return error.message.rstrip(".")
    return "" if not sample or os.access(sample, os.R_OK) else f"The worker {worker.address} cannot read {sample}"


def _opened(order: Order, worker: Any) -> Desk:
    from suite.embedding.embed import Embedder

    _must_hold(order.facts, _versions(), worker)
    ours = SimpleNamespace(**order.settings, rag_roots="")
    ours.embedding_threads = ours.embedding_threads or worker.state.nthreads  # a machine may have a worker for every few cores
    folder = Path(worker.local_directory) / "suite"
    embedder = Embedder(ours, order.models_dir, folder)
    if not embedder.model.here(order.models_dir):
        raise NotReady(f"The embedding model {embedder.model.id} is not in {order.models_dir} of the worker {worker.address}.", part="rag")
    preparation = Preparation(embedder, ours)
    _must_hold(order.facts, _recipe(preparation, order.models_dir), worker)
    embedder.start()
    state = embedder.ready()
    if not state.ok:
        raise NotReady(f"On the worker {worker.address}: {' '.join(state.reasons)}", part="rag")
    reader = Reader(ours, folder, folder)
    reader.roots = order.roots  # the host's, and its secrets: this worker's home directory means nothing
    return Desk(reader, preparation)


def _must_hold(facts: dict[str, str], here: dict[str, str], worker: Any) -> None:
    other = [f"{name} is {value}, not {facts.get(name)}" for name, value in here.items() if value != facts.get(name)]
    if other:
        raise NotReady(f"On the worker {worker.address} {', '.join(other)}.", part="rag")


def _versions() -> dict[str, str]:
    """What the text of a document and its terms depend on, besides the settings."""
    found = {"suite": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _MAKES_TEXT:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _recipe(preparation: Preparation, models_dir: Path) -> dict[str, str]:
    """How documents are read and split, and by which model they are embedded. Raises WeightsError when its files are not those that they must be."""
    from suite.embedding.verify import fingerprint, verify

    model: Any = preparation.embedder.model
    return {"the recipe of chunks": preparation.label, "the embedding model": model.name,
            "the digest of its entry in the catalogue": sha256(json.dumps(model.to_dict(), sort_keys=True).encode()).hexdigest()[:16],
            "the digest of its files": fingerprint(model, verify(model, models_dir / model.id))[:16]}
