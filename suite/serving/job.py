"""A request on its way through a decoder, and the reader's end of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suite.errors import SuiteError, UpstreamError
from suite.serving.reply import Piece, Reply, ReplyStream
from suite.serving.request import Request


@dataclass(eq=False)
class Job:
    """`tokens` is the prompt, `most` how many tokens may follow; `out` gets pieces of text, then one Reply or one error."""

    request: Request
    tokens: np.ndarray
    most: int
    matcher: Any = None
    reader: Any = None
    on_cancel: Callable[[Job], None] = lambda _job: None
    out: queue.SimpleQueue[Piece | Reply | SuiteError] = field(default_factory=queue.SimpleQueue)
    asked: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def end(self, last: Reply | SuiteError) -> None:
        """Say the last of it: nothing that is still held back for an even pace is held back any longer."""
        self.out.put(last)
        self.ended.set()

    def cancel(self) -> None:
        """Nobody reads on: the decoder stops within one step. Takes no lock, since a stream may be dropped wherever Python collects it."""
        if not self.cancelled:
            self.cancelled = True
            self.on_cancel(self)


def reading(job: Job, name: str) -> ReplyStream:
    """The stream that a reader gets. It knows the job only, so a reader that is dropped can be noticed."""
    deadline = None if job.request.timeout is None else job.asked + job.request.timeout
    last: list[Reply | SuiteError] = []
    taking = threading.Lock()  # who closes a stream may ask for its reply while its reader still waits for a piece: only one of them gets the end

    def take() -> Piece | None:
        with taking:
            return None if last else taken()

    def taken() -> Piece | None:
        try:
            item = job.out.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            job.cancel()
            item = UpstreamError(f"{name} gave no complete reply within {job.request.timeout:g} s; ask for fewer tokens, "
                                 "or raise LLM_REQUEST_TIMEOUT.", part=name, timeout=True)
        if isinstance(item, Piece):
            if (early := item.due - time.monotonic()) > 0:
                job.ended.wait(early)
            return item
        last.append(item)
        return None

    def pieces() -> Iterator[Piece]:
        while (piece := take()) is not None:
            yield piece
        if isinstance(last[0], SuiteError):
            raise last[0]

    def finished() -> Reply:
        while not last:  # closed early: the decoder notices within a step and then says what there is
            take()
        if isinstance(last[0], SuiteError):
            raise last[0]
        return last[0]

    return ReplyStream(pieces(), finished, job.cancel)
