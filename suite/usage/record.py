"""What one request used: who asked, who answered, how much. Never what was said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OK, FALLBACK, CANCELLED = "ok", "fallback", "cancelled"


@dataclass(frozen=True)
class Usage:
    """One request. `at` is in UTC seconds since 1970; tokens are counts, `cached` those of the prompt that needed no reading.

    `who` is the actor, `server` the one that answered, `outcome` ok, fallback (another server stood in), cancelled, or the kind of the error.
    Of its `seconds`, `queue_seconds` were spent waiting in the model server, and after `first_seconds` the first piece of the reply was there; None
    where nobody knows: another server's queue, a reply that came in one piece, or none.
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
    queue_seconds: float | None = None
    first_seconds: float | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second once the reply had begun; None where that is not known."""
        writing = self.seconds - self.first_seconds if self.first_seconds is not None else 0.0
        return (self.tokens - 1) / writing if self.tokens > 1 and writing > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)
