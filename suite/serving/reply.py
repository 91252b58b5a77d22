"""What a model server answers: Reply, its timings, and ReplyStream while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from suite.errors import NotReady
from suite.render import card

# the keys of Reply.timings, llama-server's names first: tokens of the prompt that were read and that were found in the cache, tokens written
TIMINGS = ("prompt_n", "prompt_ms", "prompt_per_second", "cache_n", "predicted_n", "predicted_ms", "predicted_per_second", "queue_ms",
           "first_token_ms")


class Piece(str):
    """A piece of reply text; `logprobs` has a row for each of its tokens when the request asked for them (see Reply).

    `due` is the moment (time.monotonic) before which it is not to be shown, so that the pieces come evenly.
    """

    logprobs: tuple[dict[str, Any], ...] = ()
    due: float = 0.0

    @classmethod
    def of(cls, text: str, logprobs: tuple[dict[str, Any], ...] = (), due: float = 0.0) -> Piece:
        """A piece with its rows."""
        piece = cls(text)
        piece.logprobs, piece.due = logprobs, due
        return piece


@dataclass(frozen=True, repr=False)
class Reply:
    """A finished reply: its text, its size in tokens, how long it took in seconds, who wrote it and why that one.

    `finish` is stop, length, tool_calls or cancelled; `smoke` says that a smoke model was at work; `fallback` that another server stood in.
    `timings` has the keys of TIMINGS (milliseconds, tokens, tokens per second). `tool_calls` are in OpenAI's shape: `{"id", "type": "function",
    "function": {"name", "arguments": JSON text}}`. `logprobs` has a row per token: `{"token", "bytes", "logprob", "top_logprobs": [the same]}`,
    natural logarithms of what the model itself gave, before temperature and penalties. Of a chat that remembers, `memories` are the earlier turns
    that the model was given (`{"id", "question", "reply", "arm"}`), and `remembered` is the id under which this one is kept.
    """

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float
    model: str
    alias: str = ""
    why: str = ""
    smoke: bool = False
    finish: str = "stop"
    fallback: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    tool_calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    memories: tuple[dict[str, Any], ...] = ()
    remembered: str = ""

    @property
    def tokens_per_s(self) -> float:
        """Tokens of reply per second, the reading of the prompt included."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Reply:
        """The reply that `to_dict` described."""
        known = {each.name: row[each.name] for each in fields(cls) if each.name in row}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        short = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        marks = ", smoke model" * self.smoke + ", stand-in" * self.fallback
        marks += f", given {len(self.memories)} earlier turns" * bool(self.memories) + ", remembered" * bool(self.remembered)
        return f"Reply({short!r}, {self.tokens} tokens, {self.seconds:.2f} s, {self.alias or self.model}{marks})"

    def _repr_html_(self) -> str:
        rows = [("text", self.text), ("model", f"{self.model} {f'as {self.alias}' if self.alias else ''}".strip()), ("why", self.why or "-"),
                *([("given", "; ".join(row["question"][:80] or row["reply"][:80] for row in self.memories))] if self.memories else []),
                *([("remembered", self.remembered)] if self.remembered else []),
                ("size", f"{self.tokens} tokens in {self.seconds:.2f} s ({self.tokens_per_s:.0f} per s), ended by {self.finish}")]
        return card("Reply", rows, "Smoke model: it copies answers out of given passages and knows nothing else." if self.smoke else "")


class ReplyStream:
    """A reply while it is being written: iterate over its pieces of text; `.reply` is the whole afterwards; `.close()` ends it early.

    One consumer. Leaving a `with` block, closing, or dropping the last reference stops the generation within a token.
    """

    def __init__(self, pieces: Iterator[str], finished: Callable[[], Reply], stop: Callable[[], None]) -> None:
        self._pieces, self._finished, self._stop = pieces, finished, stop
        self._ahead: list[str] = []
        self._ended = False

    def begin(self) -> ReplyStream:
        """Wait until the first piece (or the end) is there, so that an error comes now; gives the stream itself."""
        if not self._ahead and not self._ended:
            for piece in self:
                self._ahead.append(piece)
                break
        return self

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._ahead:
            return self._ahead.pop()
        if self._ended:
            raise StopIteration
        try:
            return next(self._pieces)
        except BaseException:
            self._ended = True
            raise

    @property
    def reply(self) -> Reply:
        """The finished reply. Raises NotReady while pieces are outstanding."""
        if not self._ended:
            raise NotReady("The reply is still being written; iterate to its end (or close it) first.", retry_after=1)
        return self._finished()

    def read(self) -> Reply:
        """Consume the rest and give the finished reply; an interrupt stops the generation."""
        try:
            for _ in self:
                pass
        finally:
            self.close()
        return self.reply

    def close(self) -> None:
        """Stop the generation within a token; harmless when it has ended."""
        self._ended = True
        self._ahead.clear()
        self._stop()

    def __enter__(self) -> ReplyStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_stop"):
            self._stop()
