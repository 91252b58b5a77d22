"""The records of memory: a project, a remembered turn, one that was recalled, and all that one recall found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from suite.errors import BadRequest, NotFound
from suite.render import card, table

MAX_CHARS = 200_000  # in a question or a reply; more is a document, not a turn
MAX_NAME = 120
MAX_CONTEXT = 20_000  # characters of JSON
SMOKE_TAG = "smoke"  # on every turn whose reply a smoke model wrote
KINDS = ("turn", "fact", "summary")
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
class Project:
    """Whose memory: `path` is the folder that it belongs to, empty for none; `memories` its living turns, `newest` the last one's time or None."""

    id: str
    name: str
    path: str
    created: float
    memories: int = 0
    importance_mean: float | None = None
    newest: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Project:
        """The record that `to_dict` gave."""
        return cls(**{each.name: body[each.name] for each in fields(cls)})


@dataclass(frozen=True)
class Remembered:
    """A remembered turn, or a fact or summary that somebody wrote (`kind`; its text is the `reply`). Times are UTC seconds since 1970.

    `expires` None is never. `rules` say why the `importance` is what it is. It holds from `valid_from` to `valid_until` (None: still), when the
    turn `superseded_by` took its place. `tokens` and `seconds` are those of the reply, None where not known. `sync` says whether its vector is in
    the store yet: pending, synced, or failed, which the next sync tries again.
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
    kind: str = "turn"
    rules: tuple[str, ...] = ()
    favourite: bool = False
    edited: float | None = None
    valid_from: float = 0.0
    valid_until: float | None = None
    superseded_by: str = ""
    tokens: int | None = None
    seconds: float | None = None
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def smoke(self) -> bool:
        """Whether a smoke model wrote the reply, so that its words are no measure."""
        return SMOKE_TAG in self.tags

    @property
    def text(self) -> str:
        """What it is found by: question and reply."""
        return f"{self.question}\n{self.reply}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "tags": list(self.tags), "rules": list(self.rules), "smoke": self.smoke}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Remembered:
        """The record that `to_dict` gave."""
        known = {each.name: body[each.name] for each in fields(cls) if each.name in body}
        return cls(**{**known, "tags": tuple(body["tags"]), "rules": tuple(body.get("rules", ()))})

    def __repr__(self) -> str:
        marks = f"{', ' + self.kind if self.kind != 'turn' else ''}{', favourite' if self.favourite else ''}{', smoke' if self.smoke else ''}"
        return f"Remembered({self.id[:8]}, {self.project}, importance={self.importance}, {self.sync}{marks}, {(self.question or self.reply)[:60]!r})"

    def _repr_html_(self) -> str:
        kept = "always" if self.expires is None else "until " + day(self.expires)
        rows = [("question", self.question or "-"), ("reply", self.reply[:500]), ("importance", f"{self.importance} ({'; '.join(self.rules)})"),
                ("kept", kept), ("tags", ", ".join(self.tags) or "-"), ("vector", self.sync)]
        if self.valid_until is not None:
            rows.append(("held", f"{day(self.valid_from)} to {day(self.valid_until)}"))
        return card(f"Memory of {self.project}" + (f": {self.kind}" if self.kind != "turn" else ""), rows, "", "smoke" if self.smoke else "")


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


class Recall(list[Recalled]):
    """What one recall found, best first: a list of Recalled. `note` says what was left out, even where nothing was found."""

    def __init__(self, rows: Iterable[Recalled] = (), note: str = "") -> None:
        super().__init__(rows)
        self.note = note

    def __repr__(self) -> str:
        lines = [f"{place}. {row!r}" for place, row in enumerate(self, 1)] or ["nothing was found"]
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        rows = [(f"{row.score:.3g}", row.arm, day(row.memory.created), row.question[:200], row.reply[:300]) for row in self]
        return table(("score", "by", "day", "question", "reply"), rows, title="Recalled", note=self.note)


@dataclass(frozen=True)
class Forgotten:
    """What became of a turn that was to be forgotten, counted afterwards: the `rows`, `words` and `vectors` that are left of it.

    `vectors` is None where the store did not answer; its removal is queued then (`queued`). True when the turn was there and nothing is left
    but what is queued.
    """

    id: str
    found: bool
    rows: int = 0
    words: int = 0
    vectors: int | None = 0
    queued: int = 0

    def __bool__(self) -> bool:
        return self.found and self.rows == 0 and self.words == 0 and (not self.vectors or self.queued > 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Forgotten:
        """The record that `to_dict` gave."""
        return cls(**{each.name: body[each.name] for each in fields(cls)})


@dataclass(frozen=True)
class Imported:
    """What an import did: turns that are `new`, and those that were there already (`known`, by id), which were left as they are."""

    project: str
    new: int
    known: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"project": self.project, "new": self.new, "known": self.known}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Imported:
        """The record that `to_dict` gave."""
        return cls(**body)


def from_row(row: Any) -> Remembered:
    """The record of a row of the table `memories`."""
    return Remembered(row.id, row.project, row.question, row.reply, row.model, row.session, tuple(json.loads(row.tags)), row.importance,
                      row.created, row.expires, row.sync, row.kind, tuple(json.loads(row.rules)), bool(row.favourite), row.edited, row.valid_from,
                      row.valid_until, row.superseded_by, row.tokens, row.seconds, json.loads(row.context))


def absent(identity: str) -> NotFound:
    """The error about a turn that is not there."""
    return NotFound(f"There is no memory {identity!r}; it was never saved, was forgotten, or has expired.", param="id")


def is_text(value: Any) -> bool:
    """Whether a database can hold it, or even be asked for it: a text without NUL and half surrogate pairs."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def as_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags; a single text is one tag, not its letters. Raises BadRequest for what is no list."""
    try:
        return (tags,) if isinstance(tags, str) else tuple(tags)
    except TypeError:
        raise BadRequest(f"The tags are {type(tags).__name__}; pass a list of texts.", param="tags") from None


def flatten(reply: Any, model: str, tags: Iterable[str]) -> tuple[str, str, tuple[str, ...]]:
    """Text, model and tags of a reply, which is text or a Reply record; a smoke model's reply is tagged so."""
    tags = as_tags(tags)
    if isinstance(reply, str) or not hasattr(reply, "smoke"):
        return reply, model, tags  # what is neither is refused where the text is checked
    if reply.smoke and SMOKE_TAG not in tags:
        tags = (*tags, SMOKE_TAG)
    return reply.text, model or reply.model, tags


def size_of(reply: Any, tokens: int | None, seconds: float | None) -> tuple[int | None, float | None]:
    """Tokens and seconds of a reply: as given, else those of a Reply record."""
    return (getattr(reply, "tokens", None) if tokens is None else tokens), (getattr(reply, "seconds", None) if seconds is None else seconds)


def checked_text(value: Any, what: str, limit: int = MAX_CHARS, blank: bool = False) -> str:
    """The text as given; raises BadRequest when it is blank, too long, or nothing that a database can hold."""
    if not isinstance(value, str):
        raise BadRequest(f"The {what} is {type(value).__name__}, not text; pass a string.", param=what)
    if not blank and not value.strip():
        raise BadRequest(f"The {what} is blank; pass some words.", param=what)
    if len(value) > limit:
        raise BadRequest(f"The {what} has {len(value)} characters; at most {limit} are allowed, so shorten it.", param=what)
    if not is_text(value):
        raise BadRequest(f"The {what} holds a NUL character or half of a surrogate pair, which no database keeps; remove it.", param=what)
    return value


def checked_number(value: Any, what: str, least: int, most: int) -> int:
    """The whole number as given; raises BadRequest for anything else, and for one out of range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"The {what} is {value!r}; it must be a whole number from {least} to {most}.", param=what)
    return value


def checked_context(value: Any) -> dict[str, Any]:
    """The JSON object as given; raises BadRequest for anything else, and for one of more than MAX_CONTEXT characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"The context cannot be written as JSON ({error}); pass an object of texts and numbers.", param="context") from error
    if not isinstance(value, dict):
        raise BadRequest(f"The context is {type(value).__name__}, not an object; pass a dict.", param="context")
    checked_text(text, "context", MAX_CONTEXT)
    checked_text(json.dumps(value), "context", MAX_CONTEXT * 6)
    if "\\u0000" in text:
        raise BadRequest("The context holds a NUL character, which no database keeps; remove it.", param="context")
    return value


def checked_time(value: Any, what: str) -> float | None:
    """UTC seconds since 1970 of a moment: seconds, a datetime (without a zone: local time), ISO 8601 text, or None; raises BadRequest."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e11):
        return None if value is None else float(value)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.timestamp()
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise BadRequest(f"The time {what} is {value!r}; pass seconds since 1970, a datetime, or text such as 2026-11-28 or 2026-11-28T09:30.",
                         param=what) from error


def day(moment: float) -> str:
    """The UTC day of a moment, 2026-11-28."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def store_name(project: str) -> str:
    """The store's collection for a project's vectors: the project's name where the store takes that, else a digest of it."""
    plain = _PLAIN.fullmatch(project) and not project.startswith("x-")
    return "memory-" + (project if plain else "x-" + sha256(project.encode()).hexdigest()[:32])
