"""The records of knowledge: document → chunk → hit → answer with citations."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from suite.errors import BadRequest
from suite.render import card, table
from suite.serving.reply import Reply

MAX_TOPK = 50
# what `ask` uses; by words; by meaning; both by rank, whatever the language; the first without the reranker, where there is one
RETRIEVERS = ("default", "sparse", "dense", "hybrid", "fused")
CURRENT, MOVED, STALE, MISSING = "current", "moved", "stale", "missing"  # states of a citation
MAX_QUESTION = 4000  # characters
_NAME = re.compile(r"\w[\w.-]{0,79}")


class TextEmbedder(Protocol):
    """What knowledge needs of the embedding part."""

    model: Any  # .name, .dim, .max_tokens, .cosines

    def embed(self, texts: list[str], kind: str = "passage") -> Any:
        """One row of `model.dim` numbers per text; `kind` is passage or query."""

    def head(self, text: str, kind: str = "passage") -> str:
        """The longest beginning of a text that `embed` takes whole."""

    def tokens(self, texts: list[str]) -> list[int]:
        """How many tokens each text is to the model, with those it adds itself."""

    def reads(self, text: str) -> bool:
        """Whether the model knows the language of the text."""

    def ready(self) -> Any:
        """A State."""


class Ranker(Protocol):
    """What knowledge needs of a reranker."""

    def scores(self, question: str, texts: list[str]) -> list[float]:
        """How well each text answers the question; higher is better."""


@dataclass(frozen=True)
class Document:
    """An indexed file. `bytes` is its size, `indexed` UTC seconds since 1970; `complete` is false while (or after a broken) indexing."""

    path: str
    bytes: int
    chunks: int
    indexed: float
    embedder: str
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Document:
        """The record that `to_dict` gave."""
        return cls(**body)


@dataclass(frozen=True)
class Added:
    """What `add` did: numbers of documents, and of chunks written; `skipped` pairs a path with the reason."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    chunks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "skipped": [list(pair) for pair in self.skipped]}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Added:
        """The record that `to_dict` gave."""
        return cls(**{**body, "skipped": tuple((path, why) for path, why in body["skipped"])})

    def __repr__(self) -> str:
        skipped = "".join(f"\n  skipped {path}: {why}" for path, why in self.skipped[:20])
        more = f"\n  … and {len(self.skipped) - 20} more" if len(self.skipped) > 20 else ""
        return (f"Added(new={self.new}, changed={self.changed}, unchanged={self.unchanged}, removed={self.removed}, "
                f"skipped={len(self.skipped)}, chunks={self.chunks}){skipped}{more}")

    def _repr_html_(self) -> str:
        rows = [(name, getattr(self, name)) for name in ("new", "changed", "unchanged", "removed", "chunks")]
        return card("Added", [*rows, *(("skipped", f"{path}: {why}") for path, why in self.skipped)])


@dataclass(frozen=True)
class Hit:
    """A chunk that matched: characters `start` to `end` of `document`, below these `headings`, and the white space `after` it.

    `arm` is words, dense or both; scores compare within one search only; `cosine` is that of question and chunk, where the dense arm found it.
    """

    document: str
    page: int | None  # None where the format has no pages
    start: int
    end: int
    text: str
    score: float
    arm: str
    chunk: int = 0
    id: str = ""
    headings: tuple[str, ...] = ()
    after: str = ""
    cosine: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "headings": list(self.headings)}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Hit:
        """The record that `to_dict` gave."""
        return cls(**{**body, "headings": tuple(body["headings"])})

    def __repr__(self) -> str:
        return f"Hit({self.document}[{self.start}:{self.end}], score={self.score:.3g}, arm={self.arm}, {self.text[:60]!r})"


class Hits(list[Hit]):
    """What a search found, best first; a notebook shows it as a table."""

    def frame(self) -> Any:
        """The hits as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([hit.to_dict() for hit in self])

    def __repr__(self) -> str:
        return "[" + ",\n ".join(map(repr, self)) + "]"

    def _repr_html_(self) -> str:
        rows = [(number, hit.document.rsplit("/", 1)[-1], " › ".join(hit.headings), hit.text[:160], f"{hit.score:.3f}", hit.arm)
                for number, hit in enumerate(self, 1)]
        return table(("#", "file", "headings", "text", "score", "found by"), rows)


@dataclass(frozen=True)
class Citation:
    """A passage that the model was given as `[number]`: characters `start` to `end` of the file at `path` are `quote`.

    `state`, by the file as it is when the answer is shown: current; moved, when the quote stands elsewhere in it by now (`start` and `end` say
    where); stale, when it does not stand there any more; missing, when there is no such document any more.
    """

    number: int
    path: str
    page: int | None
    start: int
    end: int
    quote: str
    state: str = CURRENT

    @property
    def current(self) -> bool:
        """Whether the file holds the quote exactly where it was when it was indexed."""
        return self.state == CURRENT

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with `current`."""
        return {**asdict(self), "current": self.current}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Citation:
        """The record that `to_dict` gave."""
        return cls(**{name: value for name, value in body.items() if name != "current"})

    def __repr__(self) -> str:
        page = f", page {self.page}" if self.page else ""
        return f"[{self.number}] {self.path}[{self.start}:{self.end}]{page}{'' if self.current else f' ({self.state})'} {self.quote[:60]!r}"


@dataclass(frozen=True)
class Answer:
    """An answer from documents. `reply` is None when no passage matched, or no model answered; `smoke`: its words prove nothing.

    `extractive` says that the text is sentences of the passages, not a model's words, and `why`; `refused` that the documents do not say it;
    `cached` that the same question was answered before, from the same documents by the same model.
    """

    text: str
    citations: tuple[Citation, ...]
    reply: Reply | None
    smoke: bool
    hits: tuple[Hit, ...]
    extractive: bool = False
    why: str = ""
    refused: bool = False
    cached: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"text": self.text, "citations": [citation.to_dict() for citation in self.citations],
                "reply": None if self.reply is None else self.reply.to_dict(), "smoke": self.smoke, "hits": [hit.to_dict() for hit in self.hits],
                "extractive": self.extractive, "why": self.why, "refused": self.refused, "cached": self.cached}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Answer:
        """The record that `to_dict` gave."""
        return cls(body["text"], tuple(Citation.from_dict(row) for row in body["citations"]),
                   None if body["reply"] is None else Reply.from_dict(body["reply"]), body["smoke"],
                   tuple(Hit.from_dict(row) for row in body["hits"]), body["extractive"], body["why"], body["refused"], body["cached"])

    def __repr__(self) -> str:
        said = {"extractive": self.extractive, "smoke model": self.smoke, "refused": self.refused, "cached": self.cached}
        marks = "".join(f", {word}" for word, so in said.items() if so)
        lines = [f"Answer({self.text!r}{marks})", *(f"  {row!r}" for row in self.citations)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        note = f"Extractive, the passages' own sentences: {self.why}." if self.extractive else \
            "Written by a smoke model: the citations are real, the words are no measure of any model." if self.smoke else ""
        rows = [(row.number, row.path, f"{row.start}–{row.end}", row.quote[:200], "" if row.current else row.state) for row in self.citations]
        return card("Answer", [("text", self.text)], note, "smoke" if self.smoke else "") + table(("#", "file", "characters", "quote", ""), rows)


def checked_name(name: str) -> str:
    """A collection's name as given; raises BadRequest unless it is 1 to 80 letters, digits, `_`, `.` or `-`, beginning with a letter or digit."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest(f"{name!r} cannot name a collection; use up to 80 letters, digits, '_', '.' or '-', beginning with a letter or digit.",
                         param="collection")
    return name


def checked_question(question: Any) -> str:
    """The question without white space around it; raises BadRequest when it is blank, too long or no valid text."""
    if not isinstance(question, str) or not question.strip():
        raise BadRequest("The question is blank; pass some words.", param="query")
    if len(question) > MAX_QUESTION:
        raise BadRequest(f"The question has {len(question)} characters; at most {MAX_QUESTION} are allowed, so shorten it.", param="query")
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise BadRequest("The question holds half of a surrogate pair, which is no valid text; remove it.", param="query")
    return question.strip()


def checked_topk(topk: Any) -> int:
    """The number of hits as given; raises BadRequest unless it is a whole number from 1 to MAX_TOPK."""
    if isinstance(topk, bool) or not isinstance(topk, int) or not 1 <= topk <= MAX_TOPK:
        raise BadRequest(f"topk is {topk!r}; it must be a whole number from 1 to {MAX_TOPK}.", param="topk")
    return topk
