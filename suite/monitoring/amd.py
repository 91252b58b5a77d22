"""AMD's cards, read by AMD's own library (amdsmi) where it is installed; it comes with the driver and is no dependency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.monitoring.gpu import MOST_CELSIUS, MOST_MHZ, MOST_WATTS, Gpu, GpuProcess, said, text, within

MOST_BYTES = 1 << 50


def cards(library: Any = None, first: int = 0) -> tuple[Gpu, ...]:
    """All cards, the first of them with the index `first`; none without library, driver or card. `library` stands in for the module amdsmi."""
    if library is None:
        try:
            import amdsmi as library
        except (ImportError, OSError, KeyError):  # OSError, KeyError: its own library, or the place of it, is not there
            return ()
    if not said(lambda: (library.amdsmi_init(), True)):
        return ()
    try:
        found = (_gpu(library, handle) for handle in said(library.amdsmi_get_processor_handles) or ())
        known = [row for row in found if row is not None]
        return tuple(Gpu(index=index, **row) for index, row in enumerate(known, first))
    finally:
        said(library.amdsmi_shut_down)


def _gpu(library: Any, handle: Any) -> dict[str, Any] | None:
    def ask(function: str, *more: Any) -> Any:
        return said(lambda: getattr(library, function)(handle, *more))

    def number(function: str, key: str, most: float) -> Any:
        return within(_of(ask(function), key), 0, most)

    def kind(name: str, member: str) -> Any:
        return said(lambda: getattr(getattr(library, name), member))

    memory = kind("AmdSmiMemoryType", "VRAM")
    total = within(ask("amdsmi_get_gpu_memory_total", memory), 1, MOST_BYTES)
    if total is None:
        return None
    used = within(ask("amdsmi_get_gpu_memory_usage", memory), 0, total)
    heats = (ask("amdsmi_get_temp_metric", kind("AmdSmiTemperatureType", place), kind("AmdSmiTemperatureMetric", "CURRENT"))
             for place in ("EDGE", "HOTSPOT"))  # cards of data centres have no sensor at the edge
    powers = (number("amdsmi_get_power_info", key, MOST_WATTS) for key in ("current_socket_power", "average_socket_power"))
    limit = number("amdsmi_get_power_cap_info", "power_cap", MOST_WATTS * 1e6)  # microwatts
    clocks = [_clock(ask("amdsmi_get_clock_info", kind("AmdSmiClkType", name))) for name in ("GFX", "MEM")]
    return {"name": text(_of(ask("amdsmi_get_gpu_asic_info"), "market_name")), "uuid": text(ask("amdsmi_get_gpu_device_uuid")), "total": int(total),
            "used": used, "free": None if used is None else int(total) - used, "utilisation": number("amdsmi_get_gpu_activity", "gfx_activity", 100),
            "temperature": _first(within(heat, 0, MOST_CELSIUS) for heat in heats), "power": _first(powers),
            "driver": text(_of(ask("amdsmi_get_gpu_driver_info"), "driver_version")),
            "processes": _processes(ask("amdsmi_get_gpu_process_list"), total), "power_limit": within(limit and limit / 1e6, 1, MOST_WATTS),
            "graphics_clock": clocks[0], "memory_clock": clocks[1]}


def _processes(rows: Any, total: int) -> tuple[GpuProcess, ...] | None:
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):  # older versions give handles
        return None
    return tuple(GpuProcess(row["pid"], within(_of(row.get("memory_usage"), "vram_mem"), 0, total)) for row in rows
                 if isinstance(row.get("pid"), int))


def _clock(info: Any) -> int | None:
    return _first(within(_of(info, key), 0, MOST_MHZ) for key in ("clk", "cur_clk"))


def _first(values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _of(row: Any, key: str) -> Any:
    return row.get(key) if isinstance(row, Mapping) else None
