"""Who asks the gateway, and how long the servers behind it took: kept beside a request, not in it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Call:
    """One caller's request. `who` is the actor; `upstream_seconds` is what was spent in model servers until the first piece (or the whole reply)."""

    who: str = ""
    upstream_seconds: float = 0.0


# set by the port for the request it serves; a thread that works for the request sees the same object
CALL: ContextVar[Call | None] = ContextVar("suite_call", default=None)
