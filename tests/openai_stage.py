"""A scripted model server for the HTTP surface: it writes what it is told to, when it is told to, and knows who still listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from suite.monitoring.probe import State, good
from suite.serving.reply import Piece, Reply, ReplyStream
from suite.serving.request import Request, checked

TIMINGS = {"prompt_n": 6, "prompt_ms": 12.0, "prompt_per_second": 500.0, "cache_n": 4, "predicted_n": 3, "predicted_ms": 30.0,
           "predicted_per_second": 100.0, "queue_ms": 1.0, "first_token_ms": 14.0}


class Scripted:
    """Writes `pieces` (or raises what it finds among them); with `gate` each piece waits for a permit. `reply` overrides fields of its replies."""

    name, model = "scripted", "scripted"

    def __init__(self, pieces: Sequence[str | BaseException] = ("one ", "two ", "three"), gate: threading.Semaphore | None = None,
                 refuse: Callable[[Request], None] = lambda request: None, **reply: Any) -> None:
        self.pieces, self.gate, self.refuse, self.fields = pieces, gate, refuse, reply
        self.asked: list[Request] = []
        self.open = 0
        self.changed = threading.Condition()

    def stream(self, request: Request) -> ReplyStream:
        """A stream that counts as open until it has ended or was closed."""
        request = checked(request)
        self.refuse(request)
        self.asked.append(request)
        closed, written = threading.Event(), []
        self._count(1)

        def pieces() -> Iterator[str]:
            try:
                for piece in self.pieces:
                    while self.gate is not None and not self.gate.acquire(timeout=0.05):
                        if closed.is_set():
                            return
                    if closed.is_set():
                        return
                    if isinstance(piece, BaseException):
                        raise piece
                    written.append(piece)
                    yield piece
            finally:
                stop()

        def finished() -> Reply:
            told = {"text": "".join(written), "tokens": len(written), "prompt_tokens": 10, "seconds": 0.04, "model": "scripted", "smoke": True,
                    "timings": TIMINGS, "finish": "cancelled" if closed.is_set() and len(written) < len(self.pieces) else "stop"}
            return Reply(**{**told, **self.fields})

        once = threading.Lock()

        def stop() -> None:
            with once:
                first = not closed.is_set()
                closed.set()
            if first:
                self._count(-1)

        return ReplyStream(pieces(), finished, stop)

    def complete(self, request: Request) -> Reply:
        """The whole reply."""
        return self.stream(request).read()

    def info(self) -> dict[str, Any]:
        """What is loaded."""
        return {"id": "scripted", "loaded": True, "n_ctx": 512, "slots": 4}

    def models(self) -> list[dict[str, Any]]:
        """As a gateway lists it."""
        return [{"id": "scripted"}]

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """A token per character, after one that says whether control words are read."""
        return [int(special), *map(ord, text)]

    def detokenize(self, tokens: list[int]) -> str:
        """The characters."""
        return "".join(map(chr, tokens))

    def ready(self) -> State:
        """Always."""
        return good(model="scripted")

    def wait_open(self, count: int) -> None:
        """Until exactly so many streams are open."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.open == count, 20), f"{self.open} streams are open, not {count}"

    def _count(self, by: int) -> None:
        with self.changed:
            self.open += by
            self.changed.notify_all()


def with_logprobs(*words: str) -> list[Piece]:
    """Pieces of one token each, with two alternatives."""
    return [Piece.of(word, (row(word),)) for word in words]


def row(word: str) -> dict[str, Any]:
    """A row of Reply.logprobs."""
    one = {"token": word, "bytes": list(word.encode()), "logprob": -0.5}
    return {**one, "top_logprobs": [one, {"token": "?", "bytes": [63], "logprob": float("-inf")}]}


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait for a condition."""
    waits, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        waits.wait(0.01)
