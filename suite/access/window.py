"""The moments of calls that the `limits` library counts, in memory."""

from __future__ import annotations

import threading

from limits.storage import MemoryStorage
from limits.storage.memory import Entry

MANY = 1000  # windows, from which on those that are over are looked for: who calls may give any name


class Windows(MemoryStorage):
    """The library's own memory, but that what is over is forgotten by whoever calls next.

    The library starts a thread for it, up to a hundred in a second: about a fifth of what a call costs over MCP.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()
        self._look = MANY

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` calls, unless there were more than `limit` within `expiry` seconds then."""
        with self._turn:
            fresh = Entry(expiry)
            calls = self.events.setdefault(key, [])  # the newest first
            while calls and calls[-1].atime <= fresh.atime - expiry:
                calls.pop()
            if len(calls) + amount > limit:
                return False
            calls[:0] = [fresh] * amount
            self._forget(fresh.atime)
            return True

    def _forget(self, now: float) -> None:
        if len(self.events) >= self._look:
            for key in [key for key, calls in self.events.items() if not calls or calls[0].expiry < now]:
                del self.events[key]
            self._look = max(MANY, 2 * len(self.events))
