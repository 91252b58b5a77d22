"""What is read out of times: rates, percentiles, and medians of what was measured in the same round."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Material, Outcome = TypeVar("Material"), TypeVar("Outcome")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed: always one of them, the greatest of few."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of ours over theirs, round by round: what slowed one round down slowed both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def rate(rows: Sequence[dict[str, Any]]) -> float:
    """Tokens per second of replies that began together, the reading of their prompts included."""
    return sum(row["tokens"] for row in rows) / max(row["marks"][-1] for row in rows)


def gaps(marks: Sequence[float]) -> list[float]:
    """Seconds between neighbouring pieces."""
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def evenness(rows: Sequence[dict[str, Any]]) -> float:
    """When the first of streams that began together ends, as a share of when the last does: near 1 all are served alike, near 0 one waits."""
    ends = [row["marks"][-1] for row in rows]
    return min(ends) / max(ends)


def in_turns(contenders: dict[str, Callable[[Material], Outcome]], material: Callable[[int], Material], rounds: int) -> dict[str, list[Outcome]]:
    """The outcome of each contender in each round, all on the same material, one after the other; who begins changes from round to round."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        given = material(turn)
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            outcomes[name].append(contenders[name](given))
    return outcomes
