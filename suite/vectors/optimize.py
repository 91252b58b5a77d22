"""Indexes that follow their collections: what has grown is indexed in the background, in a copy, by a child process."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from suite.errors import NotReady, SuiteError
from suite.vectors.apart import Apart, release_freed
from suite.vectors.disk import ROOM, require_room, used
from suite.vectors.shard import Shard

AFTER = 5000  # changed points; below that, exact search is faster than keeping an index fresh
SHARE = 10  # of a large collection a tenth must have changed: each run copies all of it
WAIT = 10  # seconds that stop() waits for the end of a run
log = logging.getLogger("suite.vectors")


@dataclass
class Runs:
    """What was done for one collection: runs that ended well, runs that failed, seconds of both."""

    done: int = 0
    failed: int = 0
    seconds: float = 0.0


class Optimizer:
    """The thread that brings indexes up to date, one collection after another.

    The engine's own call holds Python still for its whole length, and with it every port of the stack: half a minute for 100,000 points. So a copy
    is handed to a child, reads and writes go on, and the shard goes on with the copy once it holds what was written meanwhile.
    """

    def __init__(self, shards: Callable[[], list[Shard]], after: int = AFTER) -> None:
        self._shards, self._after = shards, after
        self._wake = threading.Event()
        self._apart = Apart()
        self._running = True
        self._current: Shard | None = None
        self._again: dict[str, int] = {}  # how many changes a collection waits for whose last run failed
        self.runs: dict[str, Runs] = {}
        self._thread = threading.Thread(target=self._work, name="suite-vectors-optimize", daemon=True)
        self._thread.start()

    def note(self, shard: Shard) -> None:
        """A collection was changed: is it time?"""
        if shard.changed >= self._after and self._due(shard):
            self._wake.set()

    def forget(self, shard: Shard) -> None:
        """A collection was dropped: its run ends and its numbers go."""
        if self._current is shard:
            self._apart.interrupt()
        self.runs.pop(shard.name, None)
        self._again.pop(shard.name, None)

    def stop(self) -> None:
        """End the run that is under way, and the thread."""
        self._running = False
        self._apart.stop()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(WAIT)

    def stats(self) -> dict[str, Any]:
        """What was done since the start, by collection."""
        return {name: vars(runs).copy() for name, runs in dict(self.runs).items()}

    def _due(self, shard: Shard) -> bool:
        return shard.large and shard.changed >= max(self._after, shard.roughly() // SHARE, self._again.get(shard.name, 0))

    def _work(self) -> None:
        for shard in self._shards():
            with contextlib.suppress(SuiteError):  # dropped in this moment, or damaged: whoever reads it is told
                shard.survey()
        while self._running:
            for shard in self._shards():
                with contextlib.suppress(NotReady):  # dropped in this moment
                    if self._running and shard.changed >= self._after and self._due(shard):
                        self._optimize(shard)
            self._wake.wait()
            self._wake.clear()

    def _optimize(self, shard: Shard) -> None:
        """One run. A failure is logged, shown by the collection and counted: search stays exact without the index, only slower."""
        runs, began, waiting = self.runs.setdefault(shard.name, Runs()), time.monotonic(), shard.changed
        shard.optimizing, place, self._current = True, None, shard
        try:
            require_room(shard.folder, shard.name, ROOM + 3 * used(shard.place))
            release_freed()
            place = shard.copy_aside()
            if self._apart.run("optimize", place):
                shard.adopt(place)
                release_freed()
            else:
                shard.forget(place, 0)
            self._again.pop(shard.name, None)
            shard.trouble, runs.done = "", runs.done + 1
        except (SuiteError, OSError) as error:
            if place is not None:
                shard.forget(place, waiting)
            if shard.closed or not self._running:
                return
            self._again[shard.name] = shard.changed + max(self._after, waiting // 2)
            shard.trouble, runs.failed = str(error), runs.failed + 1
            log.warning("optimizing %s failed: %s", shard.name, error)
        finally:
            shard.optimizing, self._current = False, None
            runs.seconds += time.monotonic() - began
