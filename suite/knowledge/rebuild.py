"""Move a collection over to another embedding model while it goes on being searched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from suite.knowledge.prepare import Preparation
from suite.knowledge.register import Register, Registered, other_store_name
from suite.vectors.store import Point

PAGE = 256  # points that are read, embedded and written together

Progress = Callable[[Iterator[Sequence[Point]], int], Iterator[Sequence[Point]]]  # wraps the pages; told the number of points


def rebuild(store: Any, register: Register, preparation: Preparation, known: Registered, progress: Progress) -> int:
    """Embed all stored chunks of a collection with the model in use, and return how many; searches find the old ones until the last is written.

    The texts come from the store, so that documents whose files are gone move over too. One that breaks off leaves the collection as it was; what
    it had written is dropped by the next one.
    """
    target = other_store_name(known)
    if any(info.name == target for info in store.collections()):
        store.drop(target)
    store.create(target, preparation.embedder.model.dim)
    total = 0
    for page in progress(_pages(store, known.store), store.count(known.store)):
        vectors = preparation.vectors([(str(point.payload["text"]), tuple(point.payload.get("headings") or ())) for point in page])
        store.upsert(target, [replace(point, vector=vector) for point, vector in zip(page, vectors, strict=True)])
        total += len(page)
    store.flush()
    register.switch(known, target, preparation.embedder.model.name)
    store.drop(known.store)
    return total


def _pages(store: Any, name: str) -> Iterator[Sequence[Point]]:
    after = None
    while page := store.scroll(name, limit=PAGE, offset=after):
        yield page
        after = page[-1].id
