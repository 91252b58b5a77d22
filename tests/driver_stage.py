"""A stand-in for the library of NVIDIA's driver, with as many cards as a test wants."""

from __future__ import annotations

import types
from typing import Any

MIB = 1 << 20


class Driver(types.SimpleNamespace):
    """The functions of pynvml that are used; `cannot` are those that this card or system does not support."""

    class NVMLError(Exception):
        pass

    def __init__(self, cards: int = 1, cannot: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.cards, self.cannot, self.closed = cards, cannot, 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "cannot"):
            def fail(*_: Any) -> None:
                raise Driver.NVMLError(name)
            return fail
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None:
        pass

    def nvmlShutdown(self) -> None:
        self.closed += 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "581.29"

    def nvmlDeviceGetCount(self) -> int:
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, card: int) -> bytes:  # older versions answer in bytes
        return b"NVIDIA GeForce RTX 4050"

    def nvmlDeviceGetUUID(self, card: int) -> str:
        return f"GPU-{card}"

    def nvmlDeviceGetMemoryInfo(self, card: int) -> Any:
        return types.SimpleNamespace(total=6141 * MIB, used=141 * MIB, free=6000 * MIB)

    def nvmlDeviceGetUtilizationRates(self, card: int) -> Any:
        return types.SimpleNamespace(gpu=31, memory=5)

    def nvmlDeviceGetTemperature(self, card: int, sensor: int) -> int:
        return 45

    def nvmlDeviceGetPowerUsage(self, card: int) -> int:
        return 27_500

    def nvmlDeviceGetEnforcedPowerLimit(self, card: int) -> int:
        return 115_000

    def nvmlDeviceGetClockInfo(self, card: int, kind: int) -> int:
        return {0: 2370, 2: 8001}[kind]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card: int) -> int:
        return 0x4 | 0x40

    def nvmlDeviceGetComputeRunningProcesses(self, card: int) -> list[Any]:
        return [types.SimpleNamespace(pid=7, usedGpuMemory=100 * MIB), types.SimpleNamespace(pid=9, usedGpuMemory=None)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: int) -> list[Any]:
        return [types.SimpleNamespace(pid=7, usedGpuMemory=100 * MIB)]
