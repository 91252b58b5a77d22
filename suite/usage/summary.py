"""Requests added up: by whom, of what, at which hour; how many were answered, and how long they took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from suite.errors import BadRequest
from suite.usage.record import CANCELLED, FALLBACK, OK, Usage

KEYS: dict[str, Callable[[Usage], Any]] = {
    "who": lambda row: row.who, "alias": lambda row: row.alias, "model": lambda row: row.model, "server": lambda row: row.server,
    "outcome": lambda row: row.outcome, "day": lambda row: local(row.at).date().isoformat(), "hour": lambda row: local(row.at).hour}
STAGES = ("seconds", "first_seconds", "queue_seconds")
SHARES = (("p50", 0.5), ("p95", 0.95))
COLUMNS = ("requests", "success", "fallbacks", "cancelled", "failed", "prompt_tokens", "cached", "tokens",
           *(f"{stage.removesuffix('_seconds')}_{name}" for stage in STAGES for name, _ in SHARES))


def keys_of(by: str | Sequence[str]) -> tuple[str, ...]:
    """The names in `by`, which is one, several with commas between them, or a list. Raises BadRequest for an unknown one."""
    names = tuple(name.strip() for name in (by.split(",") if isinstance(by, str) else by) if str(name).strip())
    for name in names:
        if name not in KEYS:
            raise BadRequest(f"by is {str(name)[:80]!r} but must be of {', '.join(KEYS)}.", param="by")
    return names


def summed(rows: Iterable[Usage], by: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each combination of the keys in `by`, most requests first: the keys, and COLUMNS.

    `success` is the part of all that nobody cancelled which was answered; `seconds_…`, `first_…` (until the first piece) and `queue_…` are quantiles
    of the answered ones, in seconds. What nobody knows is None.
    """
    groups: dict[tuple[Any, ...], list[Usage]] = {}
    for row in rows:
        groups.setdefault(tuple(KEYS[name](row) for name in by), []).append(row)
    made = [{**dict(zip(by, key, strict=True)), **_numbers(group)} for key, group in sorted(groups.items())]
    return sorted(made, key=lambda row: -row["requests"])


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which that share of all lies, between two neighbours in proportion; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def local(at: float) -> datetime:
    """A moment in this machine's time zone, summer time where it was that."""
    return datetime.fromtimestamp(at).astimezone()


def zone(at: float) -> str:
    """This machine's time zone at a moment, such as `KST (UTC+09:00)`."""
    here = local(at)
    return f"{here.tzname()} (UTC{here.isoformat()[-6:]})"


def _numbers(group: list[Usage]) -> dict[str, Any]:
    answered = [row for row in group if row.outcome in (OK, FALLBACK)]
    cancelled = sum(row.outcome == CANCELLED for row in group)
    decided = len(group) - cancelled
    made: dict[str, Any] = {
        "requests": len(group), "success": len(answered) / decided if decided else None, "fallbacks": sum(row.outcome == FALLBACK for row in group),
        "cancelled": cancelled, "failed": decided - len(answered), **{name: sum(getattr(row, name) for row in group)
                                                                      for name in ("prompt_tokens", "cached", "tokens")}}
    for stage in STAGES:
        known = [value for row in answered if (value := getattr(row, stage)) is not None]
        for name, share in SHARES:
            made[f"{stage.removesuffix('_seconds')}_{name}"] = quantile(known, share)
    return made
