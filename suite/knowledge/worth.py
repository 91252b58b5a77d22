"""How much the words of a question can be worth in a collection: what a score by words is measured against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def most(store: Any, name: str, sparse: Mapping[int, float]) -> float:
    """The sum of the best score that each term of the question, by term id with its weight, has in any chunk; above 0.

    A term that stands nowhere counts as the rarest would. One small query per term.
    """
    total, nowhere = 0.0, 0.0  # the weights of the terms that stand nowhere
    for term, weight in sparse.items():
        found = store.query(name, sparse={term: weight}, limit=1)
        if found:
            total += found[0].score
        else:
            nowhere += weight
    if nowhere:  # counting is slow in a large collection
        total += nowhere * math.log(1 + (store.count(name) + 0.5) / 0.5)
    return max(total, 1e-9)
