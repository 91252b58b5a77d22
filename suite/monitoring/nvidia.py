"""NVIDIA's cards, read from the driver (NVML)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from suite.monitoring.gpu import MOST_CELSIUS, MOST_MHZ, MOST_WATTS, Gpu, GpuProcess, said, text, within

# bits of nvmlDeviceGetCurrentClocksEventReasons, which older versions call ThrottleReasons
REASONS = {1: "idle", 2: "application clocks", 4: "power cap", 8: "hardware slowdown", 16: "sync boost", 32: "software thermal",
           64: "hardware thermal", 128: "power brake", 256: "display clocks"}
MOST_REASONS = 1 << 32
MOST_BYTES = 1 << 50
GRAPHICS, MEMORY = 0, 2  # kinds of clocks
Answer = Callable[..., Any]


def cards(library: Any = None) -> tuple[Gpu, ...]:
    """All cards by index; none when there is no driver, no card, or no permission. `library` stands in for the module pynvml."""
    library = _opened(library)
    if library is None:
        return ()
    try:
        driver = text(said(lambda: library.nvmlSystemGetDriverVersion()))
        found = (_gpu(library, index, driver) for index in range(within(said(lambda: library.nvmlDeviceGetCount()), 0, 1024) or 0))
        return tuple(gpu for gpu in found if gpu is not None)
    finally:
        said(lambda: library.nvmlShutdown())


class Sizes:
    """Who looks often, and only at memory: the driver stays open until `close`. `read()` gives each card's bytes: a process', and everybody's."""

    def __init__(self, library: Any = None) -> None:
        self._library = _opened(library)
        count = self._library and said(lambda: self._library.nvmlDeviceGetCount())
        found = [(index, said(lambda index=index: self._library.nvmlDeviceGetHandleByIndex(index))) for index in range(within(count, 0, 1024) or 0)]
        self._cards = [(index, card) for index, card in found if card is not None]

    def read(self, pid: int) -> dict[int, tuple[int | None, int | None]]:
        """By index; None where the driver does not say."""
        return {index: self._of(card, pid) for index, card in self._cards}

    def close(self) -> None:
        """Let go of the driver."""
        self._cards = []
        if self._library is not None:
            said(lambda: self._library.nvmlShutdown())
            self._library = None

    def _of(self, card: Any, pid: int) -> tuple[int | None, int | None]:
        ask = _asking(self._library, card)
        memory = ask("nvmlDeviceGetMemoryInfo")
        total = within(getattr(memory, "total", None), 1, MOST_BYTES) or 0
        listed = _listed(ask("nvmlDeviceGetComputeRunningProcesses"), total)
        return None if listed is None else listed.get(pid, 0), within(getattr(memory, "used", None), 0, total)


def _opened(library: Any) -> Any:
    if library is None:
        try:
            import pynvml as library
        except ImportError:
            return None
    return library if said(lambda: (library.nvmlInit(), True)) else None


def _asking(library: Any, card: Any) -> Answer:
    return lambda function, *more: said(lambda: getattr(library, function)(card, *more))


def _gpu(library: Any, index: int, driver: str) -> Gpu | None:
    card = said(lambda: library.nvmlDeviceGetHandleByIndex(index))
    ask = _asking(library, card)
    memory = None if card is None else ask("nvmlDeviceGetMemoryInfo")
    total = within(getattr(memory, "total", None), 1, MOST_BYTES)
    if total is None:  # a card that has fallen off the bus still counts, but nothing can be planned for it
        return None
    utilisation = ask("nvmlDeviceGetUtilizationRates")
    return Gpu(index=index, name=text(ask("nvmlDeviceGetName")), uuid=text(ask("nvmlDeviceGetUUID")), total=int(total),
               used=within(getattr(memory, "used", None), 0, total), free=within(getattr(memory, "free", None), 0, total),
               utilisation=within(getattr(utilisation, "gpu", None), 0, 100),
               temperature=within(ask("nvmlDeviceGetTemperature", 0), 0, MOST_CELSIUS),  # 0: the sensor of the chip
               power=_watts(ask("nvmlDeviceGetPowerUsage")), driver=driver, processes=_processes(ask, total),
               power_limit=_watts(ask("nvmlDeviceGetEnforcedPowerLimit")),
               graphics_clock=within(ask("nvmlDeviceGetClockInfo", GRAPHICS), 0, MOST_MHZ),
               memory_clock=within(ask("nvmlDeviceGetClockInfo", MEMORY), 0, MOST_MHZ), throttled=_throttled(ask))


def _watts(milliwatts: Any) -> float | None:
    found = within(milliwatts, 0, MOST_WATTS * 1000)
    return None if found is None else found / 1000


def _throttled(ask: Answer) -> tuple[str, ...] | None:
    bits = ask("nvmlDeviceGetCurrentClocksEventReasons")
    bits = within(ask("nvmlDeviceGetCurrentClocksThrottleReasons") if bits is None else bits, 0, MOST_REASONS - 1)
    if not isinstance(bits, int):
        return None
    return tuple(REASONS.get(1 << place, f"reason {1 << place:#x}") for place in range(bits.bit_length()) if bits >> place & 1)


def _processes(ask: Answer, total: int) -> tuple[GpuProcess, ...] | None:
    listed = [_listed(ask(f"nvmlDeviceGet{kind}RunningProcesses"), total) for kind in ("Compute", "Graphics")]
    if listed == [None, None]:
        return None
    # a process that does both is in both lists, with the same size
    return tuple(GpuProcess(pid, size) for pid, size in sorted({**(listed[0] or {}), **(listed[1] or {})}.items()))


def _listed(rows: Any, total: int) -> dict[int, int | None] | None:
    return said(lambda: {row.pid: within(row.usedGpuMemory, 0, total) for row in rows})
