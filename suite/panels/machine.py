"""What a panel sees of the machine at one moment: processor, memory, the host's processes, and the cards with who holds their memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from suite.monitoring.gpu import Gpu
from suite.panels.live import short

FAMILY_SECONDS = 10.0  # between two looks at which children there are: that reads the list of all processes
HOST, CHILD = "this stack's host", "child of the host"


@dataclass(frozen=True)
class Seen:
    """A process of the host: `resident` bytes of memory, `cpu` as a share of one core since the look before."""

    pid: int
    name: str
    role: str
    resident: int
    cpu: float


@dataclass(frozen=True)
class Look:
    """One look: `cpu` is the share of all cores that is busy (None at the first), `used` and `total` bytes of memory, `at` UTC seconds."""

    at: float
    cpu: float | None
    used: int
    total: int
    processes: tuple[Seen, ...]
    cards: tuple[Gpu, ...]

    @property
    def share(self) -> float:
        """How full the memory is."""
        return self.used / self.total if self.total else 0.0


class Machine:
    """Looks at the machine on which process `host` hosts a stack; `cards` asks the driver. Used by one thread at a time."""

    def __init__(self, host: int, cards: Callable[[], Iterable[Gpu]]) -> None:
        self._host, self._cards = host, cards
        self._before: tuple[float, float] | None = None
        self._family: dict[int, psutil.Process] = {}
        self._family_at = -FAMILY_SECONDS

    def look(self) -> Look:
        """What is so now."""
        memory, at = psutil.virtual_memory(), time.time()
        return Look(at, self._busy(), memory.total - memory.available, memory.total, tuple(self._processes()), tuple(self._cards()))

    def role(self, pid: int) -> str:
        """Whose a process is, seen from the stack; its name where it is none of ours."""
        if pid in self._family:
            return HOST if pid == self._host else CHILD
        if pid == os.getpid():
            return "this kernel"
        try:
            return short(psutil.Process(pid).name(), 40)
        except psutil.Error:
            return "not to be seen from here"

    def _busy(self) -> float | None:
        times = psutil.cpu_times()
        total = sum(times[:8])  # guests are counted in user already
        idle = times.idle + getattr(times, "iowait", 0.0)
        before, self._before = self._before, (total, idle)
        if before is None or total <= before[0]:
            return None
        return min(1.0, max(0.0, 1 - (idle - before[1]) / (total - before[0])))

    def _processes(self) -> Iterable[Seen]:
        if time.monotonic() - self._family_at >= FAMILY_SECONDS:
            self._family_at = time.monotonic()
            known = self._family  # whose processor time is counted since the look before
            self._family = {one.pid: known[one.pid] if known.get(one.pid) == one else one for one in _family(self._host)}
        for pid, process in list(self._family.items()):
            try:
                with process.oneshot():
                    yield Seen(pid, short(process.name(), 40), self.role(pid), process.memory_info().rss, process.cpu_percent() / 100)
            except psutil.Error:
                del self._family[pid]  # it has ended meanwhile


def _family(host: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(host)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []

