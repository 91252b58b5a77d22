"""Which cell of this notebook changed how much memory the kernel holds: the difference over its run, whatever else ran meanwhile."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from suite.monitoring.model_memory import resident
from suite.monitoring.nvidia import Sizes
from suite.text.secret import masked_text

MOST_CELLS = 200
MOST_NESTED = 20
MOST_CHARS = 60
SLACK = 512  # characters beyond, so that no secret is cut in two before it is masked
COLUMNS = ("cell", "source", "at", "seconds", "ram", "gpu")
Cards = Mapping[int, tuple[int | None, int | None]]


class Reader(Protocol):
    """What says how many bytes of each card a process holds, and everybody; `close` ends it."""

    def read(self, pid: int) -> Cards: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Cell:
    """One run of a cell: its number, its first line, when it began (UTC seconds), how long it took, and the bytes by which memory differed then.

    `gpu` is None where no NVIDIA driver says it.
    """

    cell: int
    source: str
    at: float
    seconds: float
    ram: int
    gpu: int | None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class _Begun:
    info: Any
    at: float
    moment: float
    resident: int
    cards: Cards


class CellWatch:
    """The last cells of the notebook that this process is the kernel of; elsewhere there are none. Looks from `open` to `close`."""

    def __init__(self, shell: Any = None, sizes: Callable[[], Reader] = Sizes, clock: Callable[[], float] = time.time) -> None:
        self._shell, self._sizes, self._clock = shell, sizes, clock
        self._reader: Reader | None = None
        self._begun: deque[_Begun] = deque(maxlen=MOST_NESTED)  # a cell may run another one
        self._done: deque[Cell] = deque(maxlen=MOST_CELLS)

    def open(self) -> None:
        """Look at each cell from the next one on."""
        self._shell = self._shell or _shell()
        if self._shell is None or self._reader is not None:
            return
        self._reader = self._sizes()
        self._shell.events.register("pre_run_cell", self._before)
        self._shell.events.register("post_run_cell", self._after)

    def close(self) -> None:
        """Look no more; what was seen stays."""
        if self._reader is None:
            return
        self._shell.events.unregister("pre_run_cell", self._before)
        self._shell.events.unregister("post_run_cell", self._after)
        self._reader.close()
        self._reader = None

    def rows(self) -> list[Cell]:
        """The cells, the oldest first."""
        return list(self._done)

    def _before(self, info: Any) -> None:
        if self._reader is not None and info.store_history:  # what has no number is part of the cell that runs it
            self._begun.append(_Begun(info, self._clock(), time.perf_counter(), resident(), self._reader.read(os.getpid())))

    def _after(self, result: Any) -> None:
        began = next((one for one in reversed(self._begun) if one.info is result.info), None)
        if began is None or self._reader is None:  # the cell in which this began to look
            return
        self._begun.remove(began)
        gpu = _grown(began.cards, self._reader.read(os.getpid()))
        seconds = time.perf_counter() - began.moment
        self._done.append(Cell(result.execution_count, _first_line(result.info.raw_cell), began.at, seconds, resident() - began.resident, gpu))


def _shell() -> Any:
    """IPython's shell where this process has one; nothing is loaded to find that out."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _first_line(source: str) -> str:
    line = next((line for line in source[:1 << 16].splitlines() if line.strip()), "").strip()
    return masked_text(line[:MOST_CHARS + SLACK])[:MOST_CHARS]


def _grown(before: Cards, after: Cards) -> int | None:
    """Over all cards: this process' own bytes where the driver lists it, else everybody's."""
    sizes = []
    for index, (own_now, everybody_now) in after.items():
        own, everybody = before.get(index, (None, None))
        if own is not None and own_now is not None and (own or own_now):
            sizes.append(own_now - own)
        elif everybody is not None and everybody_now is not None:
            sizes.append(everybody_now - everybody)
        else:
            return None
    return sum(sizes) if sizes else None
