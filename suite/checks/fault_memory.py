"""Faults of memory and of its maintainer."""

from __future__ import annotations

import time

from suite.checks.fault import Fault, Stack
from suite.memory.record import Forgotten, Recall


def drop_tables(stack: Stack) -> None:
    """Remove the tables of memories, as a damaged database file would."""
    with stack.storage.begin() as connection:
        for table in ("memory_words", "memory_tags", "memories"):
            connection.exec_driver_sql(f"DROP TABLE {table}")


def ignore_forgetting(stack: Stack) -> None:
    """Let memory acknowledge that a turn is forgotten, and keep it."""
    stack.parts["memory-api"].forget = lambda id: Forgotten(id, True)


def lose_words(stack: Stack) -> None:
    """Let the search by words find nothing."""
    memory = stack.parts["memory-api"]
    honest = memory.recall
    memory.recall = lambda query, how="hybrid", **more: Recall() if how == "words" else honest(query, how=how, **more)


def hang_maintainer(stack: Stack) -> None:
    """Let the maintainer's thread live on without a beat, as one that waits for a lock for ever."""
    maintainer = stack.parts["memory-maintainer"]
    at, moment, count = maintainer._last
    maintainer._mark = lambda: None
    maintainer._last = at - 3600, min(moment, time.monotonic()) - 3600, count


DROPPED_TABLE = Fault("the tables of memories were dropped", drop_tables)
IGNORED_FORGETTING = Fault("memory acknowledges that turns are forgotten and keeps them", ignore_forgetting)
LOST_WORDS = Fault("the search by words finds nothing that was said", lose_words)
STALE_HEARTBEAT = Fault("the maintainer hangs, and its last heartbeat is an hour old", hang_maintainer)
