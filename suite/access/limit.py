"""How often and how much at once: sliding windows by actor and tool, and caps on calls that run at the same time."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerSecond
from limits.strategies import MovingWindowRateLimiter

from suite.access.permission import Permission
from suite.access.window import Windows
from suite.errors import TooMany


@dataclass(frozen=True)
class Used:
    """How much of a tool's limit an actor has used: calls in the window now, how many there may be, seconds until there is room, calls running."""

    calls: int
    most: int
    seconds: int
    remaining: int
    retry_after: float
    running: int
    at_once: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Limits:
    """Counts in memory, by actor and tool: nobody can use up another's. A call that is refused takes no room."""

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(Windows())
        self._running: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def take(self, actor: str, row: Permission) -> None:
        """Count a call; raises TooMany when the window is full."""
        if row.most and not self._windows.hit(_window(row), actor, row.tool):
            used = self.used(actor, row)
            wait = max(1, math.ceil(used.retry_after))
            raise TooMany(f"Actor {actor!r} has called {row.tool} {row.most} times in {row.seconds} s, which is the most; try again in {wait} s.",
                          tool=row.tool, actor=actor, retry_after=wait)

    @contextmanager
    def running(self, actor: str, row: Permission) -> Iterator[None]:
        """Hold one of an actor's places for a tool while the block runs; raises TooMany when all are taken."""
        mine = (actor, row.tool)
        with self._lock:
            if self._running[mine] >= row.at_once:
                raise TooMany(f"{row.at_once} calls of {row.tool} by {actor!r} are running, which is the most; try again when one has ended.",
                              tool=row.tool, actor=actor, retry_after=1)
            self._running[mine] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[mine] -= 1
                if not self._running[mine]:
                    del self._running[mine]

    def used(self, actor: str, row: Permission) -> Used:
        """How much of a tool's limit an actor has used."""
        running = self._running.get((actor, row.tool), 0)
        if not row.most:
            return Used(0, 0, row.seconds, 0, 0.0, running, row.at_once)
        left = self._windows.get_window_stats(_window(row), actor, row.tool)
        wait = max(0.0, left.reset_time - time.time()) if left.remaining == 0 else 0.0
        return Used(row.most - left.remaining, row.most, row.seconds, left.remaining, wait, running, row.at_once)


def _window(row: Permission) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(row.most, row.seconds)
