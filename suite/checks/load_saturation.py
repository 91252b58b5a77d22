"""What the levels of a load say together: how many answers a second each gave, and from where on more callers only wait longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suite.checks.load_machine import busiest
from suite.checks.spread import spread

NEARLY = 0.9  # of the highest rate: more callers bring less than a tenth on top


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per level: n, answers per second, seconds waited (see `spread`), and what was wrong.

    Also the most that waited in each server, and how busy and full the machine was at most.
    """
    made = []
    for level in sorted({row["level"] for row in rows}):
        mine = [row for row in rows if row["level"] == level]
        good = [row for row in mine if not row["wrong"]]
        span = max(row["ended"] for row in mine)
        waits = spread([row["seconds"] for row in good])
        made.append({"level": level, "rate": _per_second(len(good), span), "tokens_per_s": _per_second(sum(row["tokens"] for row in good), span),
                     "wrong": len(mine) - len(good), **{key: waits.get(key) for key in ("n", "min", "p50", "p95", "high", "max")},
                     **{f"{server}_waiting": max(row[f"{server}_waiting"] for row in mine) for server in ("chat", "code")}, **busiest(mine)})
    return made


def saturation(levels: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first level that gives nearly the highest rate: {level, rate, p95, reached}; None without levels.

    `reached` says that a higher level was tried, and gave no more: else the load was not enough to find the point.
    """
    if not levels:
        return None
    most = max(row["rate"] for row in levels)
    point = next(row for row in levels if row["rate"] >= NEARLY * most)
    return {"level": point["level"], "rate": point["rate"], "p95": point["p95"], "reached": point is not levels[-1]}


def _per_second(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds > 0 else 0.0
