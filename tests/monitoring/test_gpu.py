from __future__ import annotations

import os
import types
from typing import Any

import pytest

from suite.monitoring.gpu import Gpu, GpuProcess, gpus

MIB = 1 << 20


class Driver(types.SimpleNamespace):
    """The functions of pynvml that are used; `cannot` are those that this card or system does not support."""

    NVML_TEMPERATURE_GPU = 0

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

    def nvmlDeviceGetComputeRunningProcesses(self, card: int) -> list[Any]:
        return [types.SimpleNamespace(pid=7, usedGpuMemory=100 * MIB), types.SimpleNamespace(pid=9, usedGpuMemory=None)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: int) -> list[Any]:
        return [types.SimpleNamespace(pid=7, usedGpuMemory=100 * MIB)]


def test_a_card_is_read_with_all_that_the_driver_says():
    driver = Driver(cards=2)
    first, second = gpus(driver)
    assert first == Gpu(0, "NVIDIA GeForce RTX 4050", "GPU-0", 6141 * MIB, 141 * MIB, 6000 * MIB, 31, 45, 27.5, "581.29",
                        (GpuProcess(7, 100 * MIB), GpuProcess(9, None)))
    assert (second.index, second.uuid, driver.closed) == (1, "GPU-1", 1)
    assert first.to_dict()["processes"][0] == {"pid": 7, "bytes": 100 * MIB}


def test_who_holds_how_much():
    card = gpus(Driver())[0]
    assert (card.held_by(7), card.held_by(9), card.held_by(1)) == (100 * MIB, None, 0)


def test_what_a_card_or_wsl2_does_not_support_is_none():
    card = gpus(Driver(cannot=("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature", "nvmlDeviceGetUtilizationRates", "nvmlSystemGetDriverVersion",
                               "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses", "nvmlShutdown")))[0]
    assert (card.power, card.temperature, card.utilisation, card.processes, card.driver) == (None, None, None, None, "")
    assert card.held_by(7) is None
    assert card.free == 6000 * MIB


@pytest.mark.parametrize("cannot", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_without_a_driver_or_a_readable_card_there_is_none(cannot):
    driver = Driver(cannot=(cannot,))
    assert gpus(driver) == () and driver.closed == (cannot != "nvmlInit")


def test_the_real_library_never_raises():
    found = gpus()
    assert all(card.total >= card.free for card in found)
    if not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
        assert found == ()
