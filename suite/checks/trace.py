"""What a check leaves in a stack while it works, marked so that anybody can tell it, and removed afterwards."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "releasecheck"


@dataclass(frozen=True)
class Fixture:
    """A small document on disk, a question, and the fact that answers it."""

    path: Path
    text: str
    question: str
    fact: str

    def holds(self, start: int, end: int, quote: str) -> bool:
        """Whether these characters of the document are the quote, and the fact is in it."""
        return self.text[start:end] == quote and self.fact in quote


def marker() -> str:
    """Eight hex digits that no other run uses."""
    return secrets.token_hex(4)


@contextmanager
def fixture(name: str, where: Path | None) -> Iterator[Fixture]:
    """A document in a temporary folder in `where`, the system's place for such when None; gone afterwards."""
    fact = f"The lighthouse keeper of {name} counts 417 steps."
    text = f"# Notes of a release check\n\n{fact}\n\nThe ferry leaves at noon. Bread is baked on Fridays.\n"
    with tempfile.TemporaryDirectory(prefix="suite-check-", dir=where) as folder:
        path = Path(folder).resolve() / f"{name}.md"
        path.write_text(text, encoding="utf-8")
        yield Fixture(path, text, "How many steps does the lighthouse keeper count?", fact)


def vectors_of(info: dict[str, Any]) -> tuple[int | None, str | None]:
    """Size and distance of a collection, from Qdrant's `GET /collections/{name}` or {}; of its first dense vector where they are named."""
    vectors = (info["result"]["config"]["params"].get("vectors") or {}) if info else {}
    first = vectors if "size" in vectors else next(iter(vectors.values()), {})
    return first.get("size"), first.get("distance")
