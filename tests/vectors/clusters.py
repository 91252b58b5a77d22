"""Test data: points that have true neighbours, as text has and random vectors have not."""

import random
import threading

import pytest

from suite.vectors.store import Point

SIZE = 32


def clustered(n: int, seed: int = 3, size: int = SIZE) -> list[Point]:
    """Points in eight clusters, each with words of its own."""
    rng = random.Random(seed)
    centres = [[rng.gauss(0, 1) for _ in range(size)] for _ in range(8)]
    points = []
    for number in range(n):
        cluster = number % 8
        vector = [value + rng.gauss(0, 0.15) for value in centres[cluster]]
        words = {cluster * 10 + rng.randrange(10): 1.0 + rng.random() for _ in range(4)} | {100 + rng.randrange(5): 1.0 + rng.random()}
        payload = {"document": f"doc-{number % 5}.md", "cluster": cluster, "even": number % 2 == 0, "tags": [f"t{number % 3}", "all"], "한글": "값",
                   "deep": {"kind": "odd" if number % 2 else "even"}}
        points.append(Point(f"{'문서' if number % 3 else 'doc'}/{number}#조각", vector, words, payload))
    return points


def until(condition, limit: float = 60) -> None:
    """Wait for a condition, at most `limit` seconds."""
    clock = threading.Event()
    for _ in range(int(limit / 0.02)):
        if condition():
            return
        clock.wait(0.02)
    pytest.fail("the condition never held")
