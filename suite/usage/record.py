"""What one request used: who asked, who answered, how much. Never what was said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OK, FALLBACK, CANCELLED = "ok", "fallback", "cancelled"


@dataclass(frozen=True)
class Usage:
    """One request. `at` is in UTC seconds since 1970; tokens are counts, `cached` those of the prompt that needed no reading.

    `who` is the actor, `server` the one that answered, `outcome` ok, fallback (another server stood in), cancelled, or the kind of the error.
    """

    at: float
    who: str
    alias: str
    model: str
    server: str
    prompt_tokens: int
    tokens: int
    cached: int
    seconds: float
    outcome: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)
