"""One entry of the audit trail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from suite.text.secret import masked, masked_text

Outcome = Literal["allowed", "denied", "ask", "done", "failed"]
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))  # made once: json.dumps makes one a call
LONG = 400  # characters of one value; a longer one is kept as its beginning, its length and its sha256


@dataclass(frozen=True)
class Event:
    """What somebody did or tried. `at` is UTC seconds since 1970; `seq`, `previous` and `digest` are set once it is recorded."""

    actor: str
    kind: str
    subject: str
    outcome: Outcome
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0
    seq: int = 0
    previous: str = ""
    digest: str = ""
    settled: Mapping[str, Any] = field(default_factory=dict, compare=False)  # more details, which went through `settled` before

    def __repr__(self) -> str:
        return f"Event({self.seq}: {self.actor} {self.kind} {self.subject} → {self.outcome})"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"seq": self.seq, "at": self.at, "actor": self.actor, "kind": self.kind, "subject": self.subject, "outcome": self.outcome,
                "reason": self.reason, "detail": self.detail, "previous": self.previous, "digest": self.digest}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Event:
        """The event that `to_dict` described."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name != "settled"})


def writable(event: Event) -> dict[str, Any]:
    """The event's own columns as they may be stored: secrets masked, long values shortened, `detail` as canonical JSON."""
    return {"actor": _line(event.actor, 80), "kind": _line(event.kind, 40), "subject": _line(event.subject, 200), "outcome": event.outcome,
            "reason": _short(masked_text(_clean(event.reason))), "detail": canonical({**event.settled, **settled(event.detail)})}


def settled(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Details as they may be stored: secrets masked, long values shortened."""
    return dict(_shortened(masked(detail)))


def canonical(data: Any) -> str:
    """JSON with one spelling: sorted names, no spaces, ASCII only, no NaN."""
    return _ENCODER.encode(data)


def digest_of(row: dict[str, Any]) -> str:
    """sha256 of a stored row with all of its columns but `digest`; it covers the digest of the row before."""
    covered = {name: row[name] for name in ("seq", "at", "actor", "kind", "subject", "outcome", "reason", "detail", "previous")}
    return hashlib.sha256(canonical(covered).encode("ascii")).hexdigest()


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, dict):
        return {_short(name): _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def _short(text: str) -> str:
    # the digest is that of the masked text: a digest of a secret would let somebody guess it
    if len(text) <= LONG:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{text[:LONG // 2]}… ({len(text)} characters, sha256 {digest})"


def _clean(text: str) -> str:
    """Without lone surrogates and zero characters: neither can be stored by every database."""
    text = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\0", "\\0")


def _line(text: str, limit: int) -> str:
    text = " ".join(masked_text(_clean(text)).split())
    return text if len(text) <= limit else text[:limit - 18] + "…" + hashlib.sha256(text.encode()).hexdigest()[:16]
