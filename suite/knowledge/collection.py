"""One collection as a person holds it: `docs = bench.collection("handbook")`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite.knowledge.progress import shown
from suite.knowledge.read import absolute
from suite.knowledge.record import Added, Answer, Document, Hits, checked_name
from suite.render import card


class Collection:
    """A named set of documents behind `face`, the host's knowledge or a guest's remote one; relative paths start at `cwd`."""

    def __init__(self, face: Any, name: str, cwd: Path) -> None:
        self._face, self.name, self._cwd = face, checked_name(name), Path(cwd)

    def add(self, *patterns: str) -> Added:
        """Index the files that the patterns name, skipping what has not changed; a folder stands for everything in it.

        What takes longer than a second shows its progress, in the host.
        """
        return self._face.add(self.name, list(patterns), self._cwd, shown)

    def search(self, question: str, topk: int | None = None, retriever: str = "default") -> Hits:
        """The chunks that match, best first; `retriever` other than the default is for comparing."""
        return self._face.search(self.name, question, topk, retriever)

    def ask(self, question: str, topk: int | None = None) -> Answer:
        """An answer written from the chunks that match, with citations."""
        return self._face.ask(self.name, question, topk)

    def rebuild(self) -> int:
        """Move the collection over to the embedding model in use, while it goes on being searched; returns the number of chunks."""
        return self._face.rebuild(self.name, shown)

    def documents(self) -> list[Document]:
        """The indexed documents, by path."""
        return self._face.documents(self.name)

    def remove(self, path: str | Path) -> bool:
        """Take one document out; false when it was not there."""
        return self._face.remove(self.name, absolute([str(path)], self._cwd)[0])

    def drop(self) -> bool:
        """Take the whole collection out; false when it was empty."""
        return self._face.drop(self.name)

    def count(self) -> int:
        """The number of chunks."""
        return sum(document.chunks for document in self.documents())

    def __repr__(self) -> str:
        found = self.documents()
        return f"Collection({self.name!r}, {len(found)} documents, {sum(document.chunks for document in found)} chunks)"

    def _repr_html_(self) -> str:
        return card(f"Collection {self.name}", [(document.path, f"{document.chunks} chunks") for document in self.documents()])
