"""A conversation with a model: the turns so far, and the oldest of them left out when they no longer fit the context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from suite.errors import ContextOverflow, SuiteError
from suite.serving.reply import Reply, ReplyStream

ROOM = 256  # tokens kept free for a reply whose length was not asked for
MARKS = 16  # tokens by which a chat template marks a question and the reply to it
BYTES_PER_TOKEN = 3  # of a question whose tokens nobody has counted yet: one Hangul syllable, or most of a short English word


class Asking(Protocol):
    """What answers: the `chat` of a bench or of a gateway."""

    def __call__(self, message: list[dict[str, Any]], *, model: str, stream: bool, **options: Any) -> ReplyStream: ...


@dataclass(frozen=True)
class Turn:
    """A question, its reply, and how many tokens the two of them are (0: not known)."""

    question: str
    reply: str
    tokens: int


class Conversation:
    """Questions and replies in their order; `context` is the model's in tokens (0: not known, then only a refusal tells that it is full).

    `dropped` is how many of the oldest turns the last question left out for good.
    """

    def __init__(self, ask: Asking, system: str = "", context: int = 0) -> None:
        self.ask, self.system, self.context = ask, system, context
        self.turns: list[Turn] = []
        self.dropped = 0
        self.last: Reply | None = None

    def say(self, question: str, *, model: str = "auto", **options: Any) -> Iterator[str]:
        """Ask and yield the pieces of the reply, which `last` holds afterwards; one that is closed early or breaks off does not become a turn.

        Raises what the asking raises; ContextOverflow only when the question alone is too long.
        """
        self.dropped, self.last = 0, None
        with self._begun(question, model, options) as stream:
            try:
                yield from stream
            except (KeyboardInterrupt, GeneratorExit):
                stream.close()
                with suppress(SuiteError):  # where nothing had come yet there is no reply
                    self.last = stream.reply
                raise
        self.last = stream.reply
        whole = self.last.prompt_tokens + self.last.tokens
        self.turns.append(Turn(question, self.last.text, max(0, whole - sum(turn.tokens for turn in self.turns))))

    def clear(self) -> None:
        """Forget every turn; what the system message says stays."""
        self.turns, self.dropped = [], 0

    def _messages(self, turns: list[Turn], question: str) -> list[dict[str, Any]]:
        rows = [{"role": "system", "content": self.system}] if self.system else []
        for turn in turns:
            rows += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.reply}]
        return [*rows, {"role": "user", "content": question}]

    def _begun(self, question: str, model: str, options: dict[str, Any]) -> ReplyStream:
        """The stream, once the model has accepted it; only then the turns that had to go are gone."""
        turns = self._fitting(question, options.get("max_tokens") or ROOM)
        while True:
            stream = self.ask(self._messages(turns, question), model=model, stream=True, **options)
            try:
                stream.begin()
            except ContextOverflow:
                if not turns:
                    raise
                turns = turns[1:]
            except BaseException:  # an interrupt too: a notebook keeps its last traceback, and with it this stream
                stream.close()
                raise
            else:
                self.dropped, self.turns = len(self.turns) - len(turns), turns
                return stream

    def _fitting(self, question: str, room: int) -> list[Turn]:
        """The latest turns that leave room for a reply: one that is cut off after a few words, because the context is full, helps nobody."""
        turns = list(self.turns)
        if self.context:
            room = MARKS + min(room, self.context // 2) + len(question.encode("utf-8", "replace")) // BYTES_PER_TOKEN
            while turns and sum(turn.tokens for turn in turns) + room > self.context:
                turns.pop(0)
        return turns

    @property
    def note(self) -> str:
        """One sentence about the turns that were left out, or nothing."""
        if not self.dropped:
            return ""
        fit = f"the context of {self.context} tokens" if self.context else "the model's context"
        return f"The oldest {'turn was' if self.dropped == 1 else f'{self.dropped} turns were'} left out, to fit {fit}."


def describe(reply: Reply) -> str:
    """A line about a finished reply: who answered, how much, how fast, and all that a reader must know to judge it."""
    speed = reply.timings.get("predicted_per_second") or reply.tokens_per_s
    first = reply.timings.get("first_token_ms")
    facts = [f"{reply.alias} ({reply.model})" if reply.alias and reply.model else reply.alias or reply.model,
             f"{reply.tokens} tokens" if reply.tokens else "", f"{speed:.0f} tokens/s" if speed else "",
             f"first token after {first:.0f} ms" if first else "",
             {"length": "cut off at its limit of tokens", "cancelled": "stopped before its end"}.get(reply.finish, ""),
             f"answered by a stand-in: {reply.why}" if reply.fallback else "",
             "smoke model: it proves that the stack works, not what is true" if reply.smoke else ""]
    return " · ".join(fact for fact in facts if fact)
