"""Several rankings made into one."""

from __future__ import annotations

from collections.abc import Sequence

from suite.vectors.store import Scored


def fuse(rankings: Sequence[Sequence[Scored]], k: int, limit: int, weights: Sequence[float] | None = None) -> list[Scored]:
    """Reciprocal rank fusion: a point's score is the sum of 1 / (k + rank) over the rankings that hold it, rank 0 being the best.

    With `weights`, one for each ranking, it is the sum of 1 / ((rank + 1) / weight + k - 1), as with Qdrant; a weight of 0 adds nothing.
    """
    scores: dict[str, float] = {}
    seen: dict[str, Scored] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, hit in enumerate(ranking):
            scores[hit.id] = scores.get(hit.id, 0.0) + (1 / ((rank + 1) / weight + k - 1) if weight > 0 else 0.0)
            seen.setdefault(hit.id, hit)
    best = sorted(scores, key=lambda id: (-scores[id], id))[:limit]
    return [Scored(id, scores[id], seen[id].payload) for id in best]
