from __future__ import annotations

import os
import types
from typing import Any

import pytest
from driver_stage import MIB, Driver

from suite.monitoring.gpu import Gpu, GpuProcess, gpus
from suite.monitoring.hostinfo import GpuSeries
from suite.monitoring.nvidia import Sizes

ALL_BITS = (1 << 64) - 1  # what a driver gives for what it does not know


def test_a_card_is_read_with_all_that_the_driver_says():
    driver = Driver(cards=2)
    first, second = gpus(driver)
    assert first == Gpu(0, "NVIDIA GeForce RTX 4050", "GPU-0", 6141 * MIB, 141 * MIB, 6000 * MIB, 31, 45, 27.5, "581.29",
                        (GpuProcess(7, 100 * MIB), GpuProcess(9, None)), 115.0, 2370, 8001, ("power cap", "hardware thermal"))
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


def answering(name: str, answer: Any) -> Driver:
    """A driver that answers one question so; an exception is raised."""
    driver = Driver()

    def reply(*_: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    setattr(driver, name, reply)
    return driver


@pytest.mark.parametrize(("question", "answer", "fields"), [
    ("nvmlDeviceGetUtilizationRates", types.SimpleNamespace(gpu=101), ("utilisation",)), ("nvmlDeviceGetTemperature", -1, ("temperature",)),
    ("nvmlDeviceGetTemperature", 4_294_967_295, ("temperature",)), ("nvmlDeviceGetPowerUsage", ALL_BITS, ("power",)),
    ("nvmlDeviceGetPowerUsage", float("nan"), ("power",)), ("nvmlDeviceGetEnforcedPowerLimit", -5, ("power_limit",)),
    ("nvmlDeviceGetClockInfo", ALL_BITS, ("graphics_clock", "memory_clock")), ("nvmlDeviceGetClockInfo", True, ("graphics_clock", "memory_clock")),
    ("nvmlDeviceGetCurrentClocksThrottleReasons", ALL_BITS, ("throttled",)), ("nvmlDeviceGetCurrentClocksThrottleReasons", -1, ("throttled",)),
    ("nvmlDeviceGetMemoryInfo", types.SimpleNamespace(total=6141 * MIB, used=ALL_BITS, free=-1), ("used", "free")),
    ("nvmlDeviceGetMemoryInfo", types.SimpleNamespace(total=6141 * MIB, used=6142 * MIB, free=6142 * MIB), ("used", "free")),
    ("nvmlDeviceGetTemperature", OSError("the library is gone"), ("temperature",)),
    ("nvmlDeviceGetUtilizationRates", RuntimeError("broken"), ("utilisation",)), ("nvmlDeviceGetUtilizationRates", "N/A", ("utilisation",)),
])
def test_nonsense_is_none_and_the_rest_is_still_said(question, answer, fields):
    card, whole = gpus(answering(question, answer))[0], gpus(Driver())[0]
    assert {name for name in Gpu.__dataclass_fields__ if getattr(card, name) != getattr(whole, name)} == set(fields)
    assert [getattr(card, name) for name in fields] == [None] * len(fields)


@pytest.mark.parametrize("total", [0, -1, ALL_BITS, None])
def test_a_card_without_a_size_is_none(total):
    assert gpus(answering("nvmlDeviceGetMemoryInfo", types.SimpleNamespace(total=total, used=1, free=1))) == ()


def test_a_process_that_holds_more_than_there_is_has_no_size():
    driver = answering("nvmlDeviceGetComputeRunningProcesses", [types.SimpleNamespace(pid=3, usedGpuMemory=ALL_BITS),
                                                               types.SimpleNamespace(pid=4, usedGpuMemory=6141 * MIB)])
    assert gpus(driver)[0].processes == (GpuProcess(3, None), GpuProcess(4, 6141 * MIB), GpuProcess(7, 100 * MIB))


def test_a_driver_that_fails_midway_takes_one_card_and_not_the_others():
    driver = Driver(cards=3)

    def handle(index: int) -> int:
        if index == 1:
            raise RuntimeError("fell off the bus")
        return index

    driver.nvmlDeviceGetHandleByIndex = handle
    assert [card.index for card in gpus(driver)] == [0, 2] and driver.closed == 1


@pytest.mark.parametrize(("bits", "words"), [(0, ()), (1, ("idle",)), (0x1FF, ("idle", "application clocks", "power cap", "hardware slowdown", "sync boost",
                                             "software thermal", "hardware thermal", "power brake", "display clocks")), (0x208, ("hardware slowdown", "reason 0x200"))])
def test_reasons_are_words_by_either_name_of_the_function(bits, words):
    assert gpus(answering("nvmlDeviceGetCurrentClocksThrottleReasons", bits))[0].throttled == words
    assert gpus(answering("nvmlDeviceGetCurrentClocksEventReasons", bits))[0].throttled == words


def seen(*cards: Gpu) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels.values()): sample.value for family in GpuSeries(lambda: cards).collect() for sample in family.samples}


def test_a_cards_numbers_become_samples_and_what_is_not_known_none():
    found = seen(gpus(Driver())[0])
    slow = {reason: found.pop(("suite_gpu_throttled", "0", reason)) for _, _, reason in [key for key in found if key[0] == "suite_gpu_throttled"]}
    assert found == {("suite_gpu_memory_bytes", "0", "total"): 6141 * MIB, ("suite_gpu_memory_bytes", "0", "used"): 141 * MIB,
                     ("suite_gpu_utilisation_ratio", "0"): 0.31, ("suite_gpu_temperature_celsius", "0"): 45, ("suite_gpu_power_watts", "0"): 27.5,
                     ("suite_gpu_power_limit_watts", "0"): 115.0, ("suite_gpu_clock_hertz", "0", "graphics"): 2.37e9,
                     ("suite_gpu_clock_hertz", "0", "memory"): 8.001e9}
    assert len(slow) == 9 and {reason for reason, value in slow.items() if value} == {"power cap", "hardware thermal"}
    assert seen(Gpu(3, "", "", 9, None, None)) == {("suite_gpu_memory_bytes", "3", "total"): 9} and seen() == {}


def test_who_looks_often_keeps_the_driver_open():
    driver = Driver(cards=2)
    sizes = Sizes(driver)
    assert sizes.read(7) == {0: (100 * MIB, 141 * MIB), 1: (100 * MIB, 141 * MIB)} and driver.closed == 0
    assert sizes.read(9)[0] == (None, 141 * MIB) and sizes.read(1)[0] == (0, 141 * MIB)
    driver.cannot = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMemoryInfo")
    assert sizes.read(7)[1] == (None, None)
    sizes.close()
    sizes.close()
    assert driver.closed == 1 and sizes.read(7) == {}
    assert Sizes(Driver(cannot=("nvmlInit",))).read(7) == {} and Sizes(Driver(cannot=("nvmlDeviceGetCount",))).read(7) == {}


def test_the_real_library_never_raises():
    found = gpus()
    assert all(card.total >= card.free for card in found)
    if not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
        assert found == ()
