"""A reply while it is being written: what was read, what was said, and when."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from suite.serving.job import Job
from suite.serving.model import LoadedModel
from suite.serving.pieces import Pieces
from suite.serving.prefix import Sequence
from suite.serving.reply import Piece, Reply
from suite.serving.sampling import Sampler, logprobs


class Slot:
    """One running job in its sequence of the cache; `cached` tokens of its prompt were there already."""

    def __init__(self, job: Job, sequence: Sequence, cached: int, model: LoadedModel, defaults: dict[str, float]) -> None:
        self.job, self.sequence, self.cached, self.model = job, sequence, cached, model
        self.sampler = Sampler(model, job.request, defaults, constrained=job.matcher is not None)
        self.pieces = Pieces(job.request.stop, strip=not job.request.raw)
        self.index, self.last, self.count = -1, -1, 0  # place in the step, token to compute next, tokens said
        self.parts: list[str] = []
        self.rows: list[dict[str, Any]] = []  # log-probabilities, one per token
        self._shown = 0  # how many of them went out with a piece
        self.began = time.monotonic()
        self.first = 0.0  # when the first token was chosen
        self.due = 0.0  # when the reader is to get what is said next

    @property
    def unread(self) -> np.ndarray:
        """The tokens of the prompt that are still to be read."""
        return self.job.tokens[self.sequence.count:] if not self.first else self.job.tokens[:0]

    @property
    def promised(self) -> int:
        """How many more cells this reply may yet need."""
        return len(self.job.tokens) + self.job.most - self.sequence.count

    def take(self, scores: np.ndarray) -> str:
        """Choose the next token from its scores and say its text; gives why the reply ends here (stop, length), or nothing.

        Raises NoNumbers when there is nothing to choose from.
        """
        job = self.job
        values, top = logprobs(scores, job.request.logprobs) if job.request.logprobs is not None else (None, ())
        if job.matcher is not None:
            job.matcher.restrict(scores)
        token = self.sampler.choose(scores)
        if not self.first:
            self.first = time.monotonic()
        if token in self.model.ends:
            return "stop"
        self.last, self.count = token, self.count + 1
        if job.matcher is not None:
            job.matcher.accept(token)
        if values is not None:
            self.rows.append({**self._row(token, values), "top_logprobs": [self._row(int(each), values) for each in top]})
        self.say(self.pieces.feed(self.model.piece(token)))
        if self.pieces.stopped or (job.matcher is not None and job.matcher.ended):
            return "stop"
        return "length" if self.count >= job.most else ""

    def say(self, text: str) -> None:
        """Hand text to the reader of the reply, except what may yet become a tool call."""
        self._give(self.job.reader.feed(text) if self.job.reader is not None else text)

    def finish(self, why: str) -> Reply:
        """The whole reply, after what was held back has been said."""
        self.say(self.pieces.end())
        calls: tuple[dict[str, Any], ...] = ()
        if self.job.reader is not None:
            rest, calls = self.job.reader.end()
            self._give(rest)
        now = time.monotonic()
        return Reply("".join(self.parts), self.count, len(self.job.tokens), now - self.job.asked, "", finish="tool_calls" if calls else why,
                     timings=self._timings(now), tool_calls=calls, logprobs=tuple(self.rows))

    def _give(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.job.out.put(Piece.of(text, tuple(self.rows[self._shown:]), self.due))
            self._shown = len(self.rows)

    def _row(self, token: int, values: np.ndarray) -> dict[str, Any]:
        raw = self.model.piece(token)
        return {"token": raw.decode("utf-8", "replace"), "bytes": list(raw), "logprob": max(float(values[token]), -9999.0)}

    def _timings(self, now: float) -> dict[str, float]:
        first = self.first or now
        read = (len(self.job.tokens) if self.first else self.sequence.count) - self.cached
        reading, writing = first - self.began, now - first
        return {"prompt_n": read, "prompt_ms": round(1000 * reading, 3), "prompt_per_second": round(read / reading, 3) if reading > 0 else 0.0,
                "cache_n": self.cached, "predicted_n": self.count, "predicted_ms": round(1000 * writing, 3),
                # the first token belongs to the reading of the prompt
                "predicted_per_second": round((self.count - 1) / writing, 3) if self.count > 1 and writing > 0 else 0.0,
                "queue_ms": round(1000 * (self.began - self.job.asked), 3), "first_token_ms": round(1000 * (first - self.job.asked), 3)}
