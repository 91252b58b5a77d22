"""Notices that a loaded model has had nothing to do for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

LOOKS, LONGEST_S = 4, 5.0  # it looks this often in the time that it waits for, and at least every so many seconds


class Idleness:
    """A thread that calls `act` once `seconds` have passed without `busy()`; `act` says whether that was the end of it. `stop()` ends it."""

    def __init__(self, name: str, seconds: float, busy: Callable[[], bool], act: Callable[[], bool]) -> None:
        self.seconds = seconds
        self.used = time.monotonic()
        self._busy, self._act = busy, act
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name=f"idle-{name}", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether the time has passed, as far as was seen."""
        return time.monotonic() - self.used >= self.seconds

    def stop(self) -> None:
        """End the thread at its next look, which is at once; it is not waited for, since it may be the caller's."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(min(self.seconds / LOOKS, LONGEST_S)):
            if self._busy():
                self.used = time.monotonic()
            elif self.over and self._act():
                return


def busy(decoder: Any) -> bool:
    """Whether it writes a reply, or one waits."""
    stats = decoder.stats()
    return bool(stats["busy"] or stats["waiting"])
