"""Delete remembered turns: those whose time is over, or one by id. Their vectors follow through the queue of removals."""

from __future__ import annotations

import time
from typing import Any

from suite.memory.remember import erase
from suite.memory.table import memories


def expire(storage: Any, now: float | None = None) -> int:
    """Delete the turns that expired at or before `now` (UTC seconds since 1970), and return how many."""
    return len(erase(storage, memories.c.expires <= (time.time() if now is None else now)))


def forget(storage: Any, identity: str) -> bool:
    """Delete one turn; false when there is none with this id."""
    return "\0" not in identity and bool(erase(storage, memories.c.id == identity))
