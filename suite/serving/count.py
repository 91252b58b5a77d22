"""What a decoder did since its model was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from suite.serving.reply import Reply

FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class Counts:
    """Totals; written by the decoding thread alone, except `refused`, which is counted under the decoder's lock."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_seconds: float = 0.0
    tokens: int = 0
    predicted_seconds: float = 0.0
    decodes: int = 0
    busy_slots: int = 0
    refused: int = 0
    cancelled: int = 0
    failed: int = 0
    tokens_per_s: float = 0.0
    seconds_each: float = 1.0  # what a reply takes, smoothed: for the hint to callers who are refused
    _first: list[int] = field(default_factory=lambda: [0] * (len(FIRST_TOKEN_BUCKETS_S) + 1))
    _first_sum: float = 0.0

    def step(self, busy: int) -> None:
        """One step that computed for `busy` replies."""
        self.decodes += 1
        self.busy_slots += busy

    def end(self, reply: Reply) -> None:
        """One reply that came to its end, or was cancelled; its timings are counted either way."""
        timings = reply.timings
        self.requests += 1
        self.cancelled += reply.finish == "cancelled"
        self.prompt_tokens += int(timings["prompt_n"])
        self.cached_tokens += int(timings["cache_n"])
        self.prompt_seconds += timings["prompt_ms"] / 1000
        self.tokens += reply.tokens
        self.predicted_seconds += timings["predicted_ms"] / 1000
        self.tokens_per_s = reply.tokens_per_s
        self.seconds_each += 0.2 * (reply.seconds - timings["queue_ms"] / 1000 - self.seconds_each)
        if reply.tokens:
            first = timings["first_token_ms"] / 1000
            self._first_sum += first
            self._first[next((at for at, limit in enumerate(FIRST_TOKEN_BUCKETS_S) if first <= limit), -1)] += 1

    def totals(self) -> dict[str, Any]:
        """All of it; `first_token` has count, sum in seconds, and cumulative `buckets` [[seconds, count], ...]."""
        rows, total = [], 0
        for limit, count in zip(FIRST_TOKEN_BUCKETS_S, self._first, strict=False):
            total += count
            rows.append([limit, total])
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "seconds_each"}
        return {**shown, "first_token": {"count": sum(self._first), "sum": self._first_sum, "buckets": rows}}


def nothing() -> dict[str, Any]:
    """What a decoder's stats() gives before it has done anything, for when there is no decoder to ask."""
    return {**Counts().totals(), **dict.fromkeys(("busy", "waiting", "kv_tokens", "kv_used"), 0)}
