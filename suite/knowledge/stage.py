"""How long the stages of a question take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STAGES = ("embed", "search", "rerank", "llm", "total")
Observe = Callable[[str, float, bool], None]  # a stage, its seconds, and whether it failed


@contextmanager
def timed(observe: Observe | None, stage: str) -> Iterator[None]:
    """Tell how long the block took, also when it raised."""
    began, failed = time.perf_counter(), True
    try:
        yield
        failed = False
    finally:
        if observe is not None:
            observe(stage, time.perf_counter() - began, failed)
