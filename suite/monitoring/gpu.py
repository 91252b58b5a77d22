"""The NVIDIA cards of this machine and who uses them, read from the driver (NVML); without a driver there are none, never an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a card; `bytes` is None where the driver does not say (WSL2 does not)."""

    pid: int
    bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """One card. `total`, `used` and `free` are bytes; `utilisation` percent, `temperature` °C, `power` watts; None where the driver does not say."""

    index: int
    name: str
    uuid: str
    total: int
    used: int
    free: int
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    driver: str = ""
    processes: tuple[GpuProcess, ...] | None = ()

    def held_by(self, pid: int) -> int | None:
        """Bytes of this card that a process holds; 0 when it is not listed, None when the driver names it without a size or lists nobody."""
        if self.processes is None:
            return None
        sizes = [process.bytes for process in self.processes if process.pid == pid]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


class Glance:
    """The cards as they were at most `seconds` ago: who looks several times at one moment asks the driver once."""

    def __init__(self, look: Callable[[], tuple[Gpu, ...]], seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._look, self._seconds, self._clock = look, seconds, clock
        self._seen: tuple[float, tuple[Gpu, ...]] | None = None

    def __call__(self) -> tuple[Gpu, ...]:
        """The cards."""
        seen, now = self._seen, self._clock()
        if seen is None or now - seen[0] >= self._seconds:
            self._seen = seen = (now, self._look())
        return seen[1]


def gpus(library: Any = None) -> tuple[Gpu, ...]:
    """All cards by index; none when there is no driver, no card, or no permission.

    `library` stands in for the module pynvml, in tests.
    """
    if library is None:
        try:
            import pynvml as library
        except ImportError:
            return ()
    try:
        library.nvmlInit()
    except library.NVMLError:
        return ()
    try:
        driver = _said(library, lambda: _text(library.nvmlSystemGetDriverVersion())) or ""
        found = (_gpu(library, index, driver) for index in range(_said(library, library.nvmlDeviceGetCount) or 0))
        return tuple(gpu for gpu in found if gpu is not None)
    finally:
        _said(library, library.nvmlShutdown)


def _gpu(library: Any, index: int, driver: str) -> Gpu | None:
    def ask(function: str, *more: Any) -> Any:
        return _said(library, lambda: getattr(library, function)(card, *more))

    card = _said(library, lambda: library.nvmlDeviceGetHandleByIndex(index))
    memory = None if card is None else ask("nvmlDeviceGetMemoryInfo")
    if memory is None:  # a card that has fallen off the bus still counts, but nothing can be planned for it
        return None
    utilisation, power = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetPowerUsage")
    return Gpu(index=index, name=_text(ask("nvmlDeviceGetName") or ""), uuid=_text(ask("nvmlDeviceGetUUID") or ""), total=int(memory.total),
               used=int(memory.used), free=int(memory.free), utilisation=None if utilisation is None else int(utilisation.gpu),
               temperature=ask("nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU), power=None if power is None else power / 1000,
               driver=driver, processes=_processes(ask))


def _processes(ask: Callable[..., Any]) -> tuple[GpuProcess, ...] | None:
    found: dict[int, int | None] = {}
    listed = [ask(f"nvmlDeviceGet{kind}RunningProcesses") for kind in ("Compute", "Graphics")]
    if listed == [None, None]:
        return None
    for rows in listed:  # a process that does both is in both lists, with the same size
        for row in rows or ():
            found[row.pid] = None if row.usedGpuMemory is None else int(row.usedGpuMemory)
    return tuple(GpuProcess(pid, size) for pid, size in sorted(found.items()))


def _said(library: Any, ask: Callable[[], Any]) -> Any:
    """The driver's answer, or None where it has none: what a card or WSL2 does not support is an error there."""
    try:
        return ask()
    except library.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
