"""The records of memory: a remembered turn, and one that was recalled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from suite.errors import BadRequest
from suite.render import card

MAX_CHARS = 200_000  # in a question or a reply; more is a document, not a turn
MAX_NAME = 120
SMOKE_TAG = "smoke"  # on every turn whose reply a smoke model wrote
_PLAIN = re.compile(r"[a-z0-9_-]{1,57}")  # with the prefix no longer than what the store takes


class TextEmbedder(Protocol):
    """What memory needs of the embedding part."""

    model: Any  # .name, .dim

    def embed(self, texts: list[str], kind: str = "passage") -> Any:
        """One row of `model.dim` numbers per text; `kind` is passage or query."""

    def head(self, text: str, kind: str = "passage") -> str:
        """The longest beginning of a text that `embed` takes whole."""

    def reads(self, text: str) -> bool:
        """Whether the model knows the language of the text."""

    def ready(self) -> Any:
        """A State."""


@dataclass(frozen=True)
class Remembered:
    """A remembered turn. Times are UTC seconds since 1970, `expires` None is never; `sync` says whether its vector is in the store yet.

    `why` is the reason when the vector could not be written at once; the turn itself is safe then, and the next sync writes it.
    """

    id: str
    project: str
    question: str
    reply: str
    model: str
    session: str
    tags: tuple[str, ...]
    importance: int
    created: float
    expires: float | None
    sync: str
    why: str = ""

    @property
    def smoke(self) -> bool:
        """Whether a smoke model wrote the reply, so that its words are no measure."""
        return SMOKE_TAG in self.tags

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "tags": list(self.tags), "smoke": self.smoke}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Remembered:
        """The record that `to_dict` gave."""
        return cls(**{**{name: value for name, value in body.items() if name != "smoke"}, "tags": tuple(body["tags"])})

    def __repr__(self) -> str:
        smoke = ", smoke" if self.smoke else ""
        return f"Remembered({self.id[:8]}, {self.project}, importance={self.importance}, {self.sync}{smoke}, {self.question[:60]!r})"

    def _repr_html_(self) -> str:
        kept = "always" if self.expires is None else "until " + datetime.fromtimestamp(self.expires, UTC).strftime("%Y-%m-%d")
        rows = [("question", self.question), ("reply", self.reply[:500]), ("importance", self.importance), ("kept", kept), ("vector", self.sync)]
        return card(f"Memory of {self.project}", rows, self.why, "smoke" if self.smoke else "")


@dataclass(frozen=True)
class Recalled:
    """A remembered turn that matched. `arm` is words, vector or both; scores compare within one recall only; `note` says what was left out."""

    memory: Remembered
    score: float
    arm: str
    note: str = field(default="")

    @property
    def id(self) -> str:
        """The memory's id."""
        return self.memory.id

    @property
    def question(self) -> str:
        """What was asked."""
        return self.memory.question

    @property
    def reply(self) -> str:
        """What was answered."""
        return self.memory.reply

    @property
    def smoke(self) -> bool:
        """Whether a smoke model wrote the reply."""
        return self.memory.smoke

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"memory": self.memory.to_dict(), "score": self.score, "arm": self.arm, "note": self.note}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Recalled:
        """The record that `to_dict` gave."""
        return cls(Remembered.from_dict(body["memory"]), body["score"], body["arm"], body["note"])

    def __repr__(self) -> str:
        note = f", {self.note}" if self.note else ""
        return f"Recalled({self.id[:8]}, score={self.score:.3g}, arm={self.arm}{', smoke' if self.smoke else ''}, {self.question[:60]!r}{note})"

    def _repr_html_(self) -> str:
        return card(f"Recalled by {self.arm}, score {self.score:.3g}", [("question", self.question), ("reply", self.reply[:500])], self.note,
                    "smoke" if self.smoke else "")


def from_row(row: Any, why: str = "") -> Remembered:
    """The record of a row of the table `memories`."""
    return Remembered(row.id, row.project, row.question, row.reply, row.model, row.session, tuple(json.loads(row.tags)), row.importance,
                      row.created, row.expires, row.sync, why)


def flatten(reply: Any, model: str, tags: Iterable[str]) -> tuple[str, str, tuple[str, ...]]:
    """Text, model and tags of a reply, which is text or a Reply record; a smoke model's reply is tagged so."""
    tags = (tags,) if isinstance(tags, str) else tuple(tags)
    if isinstance(reply, str):
        return reply, model, tags
    if reply.smoke and SMOKE_TAG not in tags:
        tags = (*tags, SMOKE_TAG)
    return reply.text, model or reply.model, tags


def checked_text(value: Any, what: str, limit: int = MAX_CHARS, blank: bool = False) -> str:
    """The text as given; raises BadRequest when it is blank, too long, or nothing that a database can hold."""
    if not isinstance(value, str):
        raise BadRequest(f"The {what} is {type(value).__name__}, not text; pass a string.", param=what)
    if not blank and not value.strip():
        raise BadRequest(f"The {what} is blank; pass some words.", param=what)
    if len(value) > limit:
        raise BadRequest(f"The {what} has {len(value)} characters; at most {limit} are allowed, so shorten it.", param=what)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRequest(f"The {what} holds a NUL character or half of a surrogate pair, which no database keeps; remove it.", param=what)
    return value


def store_name(project: str) -> str:
    """The store's collection for a project's vectors: the project's name where the store takes that, else a digest of it."""
    plain = _PLAIN.fullmatch(project) and not project.startswith("x-")
    return "memory-" + (project if plain else "x-" + sha256(project.encode()).hexdigest()[:32])
