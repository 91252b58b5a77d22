"""What a model server is asked and what it answers: Request, Reply, ReplyStream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from suite.errors import BadRequest, NotReady
from suite.render import card

ROLES = ("system", "user", "assistant")
MOST_STOPS, LONGEST_STOP = 16, 200
# name -> (least, most, whether the least itself is allowed)
RANGES = {"temperature": (0.0, 2.0, True), "top_p": (0.0, 1.0, False), "repeat_penalty": (0.5, 2.0, True), "timeout": (0.0, 86_400.0, False)}


@dataclass(frozen=True)
class Request:
    """A conversation and how to answer it; `max_tokens` of reply, None leaves a number to the server's settings, `timeout` is in seconds."""

    messages: tuple[dict[str, str], ...]
    max_tokens: int = 256
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repeat_penalty: float | None = None
    model: str = ""
    timeout: float | None = None

    @classmethod
    def of(cls, messages: str | list[dict[str, Any]] | tuple[dict[str, Any], ...], **options: Any) -> Request:
        """A checked request; a plain text is one message of the user. Raises BadRequest naming the value that cannot be used."""
        known = {field.name for field in fields(cls)} - {"messages"}
        for name in options:
            if name not in known:
                raise BadRequest(f"There is no option {name!r}; use {', '.join(sorted(known))}.", param=name)
        options = {name: value for name, value in options.items() if value is not None}
        stop = options.pop("stop", ())
        options["stop"] = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, (list, tuple)) else stop
        rows = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return checked(cls(messages=tuple(rows) if isinstance(rows, (list, tuple)) else rows, **options))


def checked(request: Request) -> Request:
    """The request with plain-text messages, if all of it can be used. Raises BadRequest naming the first value that cannot."""
    if not isinstance(request.messages, (list, tuple)) or not request.messages:
        raise BadRequest("messages is empty; send at least one {'role': 'user', 'content': ...}.", param="messages")
    messages = tuple(_message(row, f"messages[{index}]") for index, row in enumerate(request.messages))
    if not any(row["content"].strip() for row in messages):
        raise BadRequest("All messages are blank; write a question.", param="messages")
    if isinstance(request.max_tokens, bool) or not isinstance(request.max_tokens, int) or request.max_tokens < 1:
        raise BadRequest(f"max_tokens is {request.max_tokens!r} but must be a whole number from 1.", param="max_tokens")
    for name, (least, most, closed) in RANGES.items():
        value = getattr(request, name)
        if value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not least <= value <= most or (value == least and not closed):
            raise BadRequest(f"{name} is {value!r} but must be a number {'from' if closed else 'above'} {least:g} to {most:g}.", param=name)
    seed = request.seed
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 32):
        raise BadRequest(f"seed is {seed!r} but must be a whole number from 0 to {(1 << 32) - 2}.", param="seed")
    stops = request.stop
    if not isinstance(stops, tuple) or len(stops) > MOST_STOPS or not all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in stops):
        raise BadRequest(f"stop is {stops!r} but must be at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters.", param="stop")
    if not isinstance(request.model, str):
        raise BadRequest(f"model is {request.model!r} but must be a text.", param="model")
    return replace(request, messages=messages)


def _message(row: Any, where: str) -> dict[str, str]:
    if not isinstance(row, dict):
        raise BadRequest(f"{where} is {row!r:.80} but must be {{'role': ..., 'content': ...}}.", param=where)
    role, content = row.get("role"), row.get("content")
    if role not in ROLES:
        raise BadRequest(f"{where}.role is {role!r} but must be one of {', '.join(ROLES)}.", param=f"{where}.role")
    if isinstance(content, list) and all(_is_text(part) for part in content):
        content = "".join(part["text"] for part in content)  # OpenAI's list form, as far as it is text
    if not isinstance(content, str):
        raise BadRequest(f"{where}.content is {content!r:.80} but must be text.", param=f"{where}.content")
    return {"role": role, "content": content.encode("utf-8", "replace").decode("utf-8")}  # a lone surrogate cannot be tokenized


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


@dataclass(frozen=True, repr=False)
class Reply:
    """A finished reply: its text, its size in tokens, how long it took in seconds, who wrote it and why that one.

    `finish` is stop, length or cancelled; `smoke` says that a random-weights model was at work; `fallback` that another server stood in.
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
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        short = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        marks = ", smoke model: random words" * self.smoke + ", stand-in" * self.fallback
        return f"Reply({short!r}, {self.tokens} tokens, {self.seconds:.2f} s, {self.alias or self.model}{marks})"

    def _repr_html_(self) -> str:
        rows = [("text", self.text), ("model", f"{self.model} {f'as {self.alias}' if self.alias else ''}".strip()), ("why", self.why or "-"),
                ("size", f"{self.tokens} tokens in {self.seconds:.2f} s ({self.tokens_per_s:.0f} per s), ended by {self.finish}")]
        return card("Reply", rows, "Smoke model: its weights are random, so these words mean nothing." if self.smoke else "")


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
