"""Which collections there are, with which model each was embedded, and where it lies in the vector store."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from suite.knowledge.table import collections, documents

_PLAIN = re.compile(r"[a-z0-9_-]{1,54}")  # with the prefix no longer than what the store takes


@dataclass(frozen=True)
class Registered:
    """A collection: `store` is its name in the vector store, `embedder` the model of its vectors; `version` grows with every change."""

    name: str
    store: str
    embedder: str
    version: int


class Register:
    """The table of collections. Not locked: the caller sees to one writer per collection."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def get(self, name: str) -> Registered | None:
        """The collection of that name; None where there is none."""
        with self._storage.read() as connection:
            row = connection.execute(sa.select(collections).where(collections.c.name == name)).first()
        return None if row is None else Registered(row.name, row.store, row.embedder, row.version)

    def names(self) -> list[str]:
        """The names of all collections that have a document, sorted."""
        with self._storage.read() as connection:
            return sorted(connection.execute(sa.select(documents.c.collection).distinct()).scalars())

    def create(self, name: str, embedder: str) -> Registered:
        """Write down a new collection, which lies under its usual name."""
        made = Registered(name, store_name(name), embedder, 1)
        with self._storage.begin() as connection:
            connection.execute(sa.insert(collections).values(name=name, store=made.store, embedder=embedder, version=1, created=time.time()))
        return made

    def switch(self, known: Registered, store: str, embedder: str) -> None:
        """From now on the collection is the one in `store`, of another model: both tables or neither."""
        with self._storage.begin() as connection:
            connection.execute(sa.update(collections).where(collections.c.name == known.name)
                               .values(store=store, embedder=embedder, version=collections.c.version + 1))
            connection.execute(sa.update(documents).where(documents.c.collection == known.name).values(embedder=embedder))

    def forget(self, name: str) -> None:
        """Strike the collection out."""
        with self._storage.begin() as connection:
            connection.execute(sa.delete(collections).where(collections.c.name == name))


def bump(connection: Any, name: str) -> None:
    """Count a change of the collection, in the transaction that is open."""
    connection.execute(sa.update(collections).where(collections.c.name == name).values(version=collections.c.version + 1))


def store_name(collection: str) -> str:
    """The store's usual name for a collection: its own where the store takes that, else a digest of it."""
    plain = _PLAIN.fullmatch(collection) and not collection.startswith("x-")
    return "knowledge-" + (collection if plain else "x-" + sha256(collection.encode()).hexdigest()[:32])


def other_store_name(known: Registered) -> str:
    """The name under which a collection is built anew while it is still used under the one it has."""
    usual = store_name(known.name)
    return usual if known.store != usual else "knowledge-x-" + sha256(f"{known.name}\0other".encode()).hexdigest()[:32]
