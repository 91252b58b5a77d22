"""The three questions that every part answers: `live`, `ready`, `deep`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class State:
    """An answer: `ok`, why not, and the facts seen. `retry_after` is in seconds."""

    ok: bool
    reasons: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    retry_after: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the body of `/health`, `/live` and `/deep`."""
        return {"status": "ok" if self.ok else "unavailable", "ok": self.ok, "reasons": list(self.reasons), "retry_after": self.retry_after,
                **{"facts": dict(self.facts)}}


def good(**facts: Any) -> State:
    """A positive answer."""
    return State(True, (), facts)


def bad(*reasons: str, retry_after: int | None = 5, **facts: Any) -> State:
    """A negative answer; each reason is a sentence that says what to do."""
    return State(False, reasons, facts, retry_after)


class Part(Protocol):
    """One of the nine parts that a release check counts."""

    name: str

    def live(self) -> State:
        """Is the process (or thread) there?"""

    def ready(self) -> State:
        """Would it serve a request now?"""

    def deep(self) -> State:
        """Does it do its work? For runbooks only: it costs a real request and leaves nothing behind."""


def guarded(question: Callable[[], State]) -> State:
    """The answer, or a negative one that carries the exception: a probe never raises."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - the edge where any failure of a part becomes an answer about it
        return bad(f"{type(error).__name__}: {error}")
