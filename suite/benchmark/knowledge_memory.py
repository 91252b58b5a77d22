"""How much memory indexing takes: does it stay flat when there is more to index?"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from suite.benchmark.child import Child
from suite.benchmark.knowledge_job import LONG, Job
from suite.benchmark.knowledge_texts import fill
from suite.benchmark.row import Limit
from suite.errors import RunFailed

OWN = "the child that makes the index and pages of mapped files not counted"
IDLE = Limit("indexing: resident memory of the idle stack", "MB", "<=")
ABOVE = Limit("indexing: most resident memory above the idle stack", "MB", "<=", 1000.0)
FLAT = Limit("indexing five times as much: most resident memory", "x", "<=", 1.1, "the smaller run")
OWN_ABOVE = Limit(f"indexing: most above the idle stack, {OWN}", "MB", "<=")
OWN_FLAT = Limit(f"indexing five times as much, {OWN}", "x", "<=", None, "the smaller run")
LIMITS = (IDLE, ABOVE, FLAT, OWN_ABOVE, OWN_FLAT)
LOOK_EVERY = 0.05  # seconds
KOREAN_EVERY = 10  # every so-many-th file


@dataclass(frozen=True)
class Held:
    """Bytes of a contender: all that are resident, its children's too; and its own that are no pages of mapped files."""

    resident: int
    own: int


class Peak:
    """The most of both that a contender holds while this is open; `most`, and `first` at the beginning."""

    def __init__(self, child: Child) -> None:
        self._child, self._over = child, threading.Event()
        self.first = self.most = Held(*child.memory())
        self._error: RunFailed | None = None
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        try:
            while not self._over.wait(LOOK_EVERY):
                now = Held(*self._child.memory())
                self.most = Held(max(self.most.resident, now.resident), max(self.most.own, now.own))
        except RunFailed as error:
            self._error = error

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error


def memory(job: Job) -> list[dict[str, Any]]:
    """The peaks of two stacks that index made texts, the second five times as many; the model's share of the work is thinned (see Load)."""
    (idle, small), (other, large) = (_run(job, kilobytes) for kilobytes in job.load.memory)
    sizes = " and ".join(f"{kilobytes / 1000:g}" for kilobytes in job.load.memory)
    note = job.note(f"{sizes} MB of text, every {KOREAN_EVERY}th file Korean", f"1 of {job.load.real} batches embedded, made vectors for the others")
    above = max(small.resident - idle.resident, large.resident - other.resident), max(small.own - idle.own, large.own - other.own)
    return [IDLE.row(idle.resident / 1e6, note=note), job.held(ABOVE).row(above[0] / 1e6, note=note),
            job.held(FLAT).row(large.resident / small.resident, note=note), OWN_ABOVE.row(above[1] / 1e6, note=note),
            OWN_FLAT.row(large.own / small.own, note=note)]


def _run(job: Job, kilobytes: int) -> tuple[Held, Held]:
    """What a fresh stack holds that has embedded one text, and the most that it holds while it indexes."""
    name, folder = f"the stack that indexes {kilobytes / 1000:g} MB", job.folder(f"memory-{kilobytes}")
    fill(folder, "memory", 1000 * kilobytes, korean_every=KOREAN_EVERY)
    stack = job.stack(name)
    with Peak(stack) as peak:
        stack.ask("index", LONG, collection="memory", folder=str(folder), real=job.load.real)
    job.scene.end(name)
    shutil.rmtree(folder)
    return peak.first, peak.most
