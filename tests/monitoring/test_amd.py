"""AMD's cards by a stand-in of AMD's library: the same record, and nothing that is not a number in it."""

from __future__ import annotations

import types
from typing import Any

import pytest

from suite.monitoring.gpu import Gpu, GpuProcess, gpus

GIB = 1 << 30


class Library(types.SimpleNamespace):
    """The functions of amdsmi that are used; `says` replaces what one of them answers, an exception is raised."""

    AmdSmiMemoryType = types.SimpleNamespace(VRAM="vram")
    AmdSmiTemperatureType = types.SimpleNamespace(EDGE="edge", HOTSPOT="hotspot")
    AmdSmiTemperatureMetric = types.SimpleNamespace(CURRENT="current")
    AmdSmiClkType = types.SimpleNamespace(GFX="gfx", MEM="mem")

    def __init__(self, **says: Any) -> None:
        super().__init__()
        self.closed = 0
        answers = {
            "init": lambda: None, "get_processor_handles": lambda: ["a", "b"], "get_gpu_memory_total": lambda card, kind: 24 * GIB,
            "get_gpu_memory_usage": lambda card, kind: 5 * GIB, "get_gpu_asic_info": lambda card: {"market_name": f"Radeon {card}"},
            "get_gpu_device_uuid": lambda card: f"uuid-{card}", "get_gpu_activity": lambda card: {"gfx_activity": 37, "umc_activity": "N/A"},
            "get_temp_metric": lambda card, place, metric: 51 if (place, metric) == ("edge", "current") else 63,
            "get_power_info": lambda card: {"current_socket_power": "N/A", "average_socket_power": 120},
            "get_power_cap_info": lambda card: {"power_cap": 303_000_000},
            "get_clock_info": lambda card, kind: {"clk": 2371} if kind == "gfx" else {"cur_clk": 1249},
            "get_gpu_driver_info": lambda card: {"driver_version": "6.10.5"},
            "get_gpu_process_list": lambda card: [{"pid": 7, "memory_usage": {"vram_mem": GIB}}, {"pid": 8, "memory_usage": {"vram_mem": "N/A"}}]}
        for name, answer in answers.items():
            setattr(self, f"amdsmi_{name}", self._answer(says[name]) if name in says else answer)

    @staticmethod
    def _answer(value: Any) -> Any:
        def reply(*_: Any) -> Any:
            if isinstance(value, BaseException):
                raise value
            return value
        return reply

    def amdsmi_shut_down(self) -> None:
        self.closed += 1


def card(**says: Any) -> Gpu:
    return gpus(amd=Library(**says))[0]


def test_a_card_is_the_same_record() -> None:
    library = Library()
    first, second = gpus(amd=library)
    assert first == Gpu(0, "Radeon a", "uuid-a", 24 * GIB, 5 * GIB, 19 * GIB, 37, 51, 120, "6.10.5", (GpuProcess(7, GIB), GpuProcess(8, None)), 303.0,
                        2371, 1249, None)
    assert (second.index, second.name, library.closed) == (1, "Radeon b", 1) and first.held_by(7) == GIB


def test_it_comes_after_the_cards_of_nvidia() -> None:
    from driver_stage import Driver

    assert [(one.index, one.name[:6]) for one in gpus(Driver(), Library())] == [(0, "NVIDIA"), (1, "Radeon"), (2, "Radeon")]


@pytest.mark.parametrize(("question", "answer", "fields"), [
    ("get_gpu_activity", {"gfx_activity": "N/A"}, ("utilisation",)), ("get_gpu_activity", {"gfx_activity": 65_535}, ("utilisation",)),
    ("get_gpu_activity", RuntimeError(), ("utilisation",)), ("get_gpu_activity", {}, ("utilisation",)),
    ("get_gpu_memory_usage", 25 * GIB, ("used", "free")), ("get_gpu_memory_usage", RuntimeError(), ("used", "free")),
    ("get_temp_metric", -300, ("temperature",)), ("get_power_info", {"current_socket_power": (1 << 32) - 1}, ("power",)),
    ("get_power_cap_info", {"power_cap": 303}, ("power_limit",)), ("get_power_cap_info", {"power_cap": (1 << 64) - 1}, ("power_limit",)),
    ("get_clock_info", {"clk": "N/A"}, ("graphics_clock", "memory_clock")), ("get_gpu_process_list", ["handle"], ("processes",)),
    ("get_gpu_process_list", RuntimeError(), ("processes",)),
])
def test_nonsense_of_the_library_is_none(question: str, answer: Any, fields: tuple[str, ...]) -> None:
    found, whole = card(**{question: answer}), card()
    assert {name for name in Gpu.__dataclass_fields__ if getattr(found, name) != getattr(whole, name)} == set(fields)
    assert [getattr(found, name) for name in fields] == [None] * len(fields)


def test_where_the_edge_has_no_sensor_the_hottest_place_is_told() -> None:
    library = Library()
    library.amdsmi_get_temp_metric = lambda card, place, metric: "N/A" if place == "edge" else 63
    assert gpus(amd=library)[0].temperature == 63


@pytest.mark.parametrize("says", [{"init": RuntimeError("no driver")}, {"get_processor_handles": RuntimeError()}, {"get_processor_handles": []},
                                  {"get_gpu_memory_total": "N/A"}, {"get_gpu_memory_total": 0}])
def test_without_a_driver_or_a_readable_card_of_amd_there_is_none(says: dict[str, Any]) -> None:
    library = Library(**says)
    assert gpus(amd=library) == () and library.closed == ("init" not in says)
