"""The model server as Python sees it, measured in a process of its own by those who read its streams."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.benchmark.figures import gaps
from suite.errors import RunFailed, SuiteError
from suite.serving.catalog import profile
from suite.serving.reply import ReplyStream
from suite.serving.request import Request
from suite.serving.server import ModelServer
from suite.settings import load

WAIT_SECONDS = 300
SETTLED = 4  # pieces that every stream must have given before it counts as running


class Reader:
    """A thread that reads one stream to its end; `marks` are seconds from `began` to each piece, `error` what went wrong."""

    def __init__(self, open_stream: Callable[[], ReplyStream], began: float) -> None:
        self.marks: list[float] = []
        self.tokens = 0
        self.error: SuiteError | None = None
        self.settled = threading.Event()
        self.stop = threading.Event()
        self._open, self._began = open_stream, began
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._open() as stream:
                for _ in stream:
                    self.marks.append(time.perf_counter() - self._began)
                    if len(self.marks) == SETTLED:
                        self.settled.set()
                    if self.stop.is_set():
                        return
                self.tokens = stream.reply.tokens
        except SuiteError as error:
            self.error = error
        finally:
            self.settled.set()

    def join(self) -> Reader:
        """Wait for the end. Raises what went wrong, RunFailed when it takes too long."""
        self._thread.join(WAIT_SECONDS)
        if self._thread.is_alive():
            raise RunFailed(f"A stream did not end within {WAIT_SECONDS} s.")
        if self.error is not None:
            raise self.error
        return self


class Face:
    """One loaded model server; `settings` are rows of the settings table."""

    def __init__(self, settings: dict[str, Any]) -> None:
        read = load(settings)
        self._server = ModelServer("inference-chat", "chat", read, read.models_dir, Path(read.data_dir) / "cache", profile(read.profile).chat)
        self._server.load()

    def ready(self) -> dict[str, Any]:
        """What is loaded."""
        return self._server.info()

    def many(self, prompts: list[str], tokens: int) -> list[dict[str, Any]]:
        """All prompts at once, each with a reader of its own: tokens and marks of each reply."""
        began = time.perf_counter()
        readers = [Reader(self._opener(prompt, tokens), began) for prompt in prompts]
        rows = [{"tokens": reader.join().tokens, "marks": reader.marks} for reader in readers]
        short = next((row for row in rows if row["tokens"] != tokens or not row["marks"]), None)
        if short is not None:
            raise RunFailed(f"A reply ended after {short['tokens']} of {tokens} tokens in {len(short['marks'])} pieces, so its time means nothing.")
        return rows

    def turns(self, prompt: str, follow: str, tokens: int) -> dict[str, Any]:
        """Seconds to the first piece of a new conversation and of its second turn, and the prompt tokens of each."""
        messages = [{"role": "user", "content": prompt}]
        cold, first = self._first(messages, tokens)
        messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": follow}]
        second, last = self._first(messages, tokens)
        return {"cold": cold, "second": second, "prompt_tokens": [first.prompt_tokens, last.prompt_tokens]}

    def _first(self, messages: list[dict[str, Any]], tokens: int) -> tuple[float, Any]:
        began = time.perf_counter()
        stream = self._server.stream(self._request(messages, tokens)).begin()
        seconds = time.perf_counter() - began
        return seconds, stream.read()

    def beside(self, prompts: list[str], longs: list[str], tokens: int, lasting: int) -> dict[str, Any]:
        """Streams without company, a long prompt without company, then both: gaps between pieces in seconds, and seconds to its first piece.

        `longs` are two prompts of the same length, because the second reading of one would be answered from the cache. The streams that have
        company are of `lasting` tokens, and ended when the long prompt has been read. Raises RunFailed when one of them ends by itself before.
        """
        quiet = [gap for row in self.many(prompts, tokens) for gap in gaps(row["marks"])]
        alone, _ = self._first([{"role": "user", "content": longs[0]}], 1)
        began = time.perf_counter()
        readers = [Reader(self._opener(prompt, lasting), began) for prompt in prompts]
        try:
            for reader in readers:
                if not reader.settled.wait(WAIT_SECONDS):
                    raise RunFailed(f"{len(prompts)} streams were not all running after {WAIT_SECONDS} s.")
            start = time.perf_counter() - began
            together, _ = self._first([{"role": "user", "content": longs[1]}], 1)
            end = start + together
        finally:
            for reader in readers:
                reader.stop.set()
        if any(reader.join().tokens for reader in readers):
            raise RunFailed(f"A stream of {lasting} tokens ended while the long prompt was still being read, so neither time means anything.")
        spans = [pair for reader in readers for pair in itertools.pairwise(reader.marks)]
        return {"quiet": quiet, "alone": alone, "together": together, "busy": [b - a for a, b in spans if b > start and a < end]}

    def _opener(self, prompt: str, tokens: int) -> Callable[[], ReplyStream]:
        request = self._request([{"role": "user", "content": prompt}], tokens)
        return lambda: self._server.stream(request)

    @staticmethod
    def _request(messages: list[dict[str, Any]], tokens: int) -> Request:
        return Request.of(messages, max_tokens=tokens, temperature=0.0, repeat_penalty=1.0, ignore_eos=True, timeout=float(WAIT_SECONDS))

