"""How often and how much at once: sliding windows by actor and tool, and caps on calls that run at the same time."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from suite.access.permission import Permission
from suite.errors import TooMany

SWEPT = 1_000  # windows; when there are more, those that are over are dropped: a caller may name actors that there are not


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

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], deque[float]] = {}  # when the calls in a window are over, the oldest first
        self._running: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def take(self, actor: str, row: Permission) -> None:
        """Count a call; raises TooMany when the window is full."""
        if not row.most:
            return
        with self._lock:
            now = self._clock()
            if len(self._windows) > SWEPT:
                self._windows = {mine: window for mine, window in self._windows.items() if window and window[-1] > now}
            window = _current(self._windows.setdefault((actor, row.tool), deque()), now)
            wait = max(1, math.ceil(window[0] - now)) if len(window) >= row.most else 0
            if not wait:
                window.append(now + row.seconds)
        if wait:
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
        with self._lock:
            now, running = self._clock(), self._running.get((actor, row.tool), 0)
            window = _current(self._windows.get((actor, row.tool), deque()), now)
            left = max(0, row.most - len(window))
            wait = window[0] - now if window and not left else 0.0
            return Used(len(window), row.most, row.seconds, left, wait, running, row.at_once)


def _current(window: deque[float], now: float) -> deque[float]:
    """The window without the calls that are over."""
    while window and window[0] <= now:
        window.popleft()
    return window
