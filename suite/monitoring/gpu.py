"""The cards of this machine and who uses them, as their drivers say; without a driver there are none, never an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

MOST_WATTS, MOST_CELSIUS, MOST_MHZ = 5_000, 200, 20_000  # what is beyond is no measurement


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a card; `bytes` is None where the driver does not say (WSL2 does not)."""

    pid: int
    bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """One card. `total`, `used` and `free` are bytes; `utilisation` percent, `temperature` °C, `power` and `power_limit` watts, clocks MHz.

    `throttled` are the reasons, in words, why it does not run as fast as it could. What the driver does not say, or what cannot be, is None.
    """

    index: int
    name: str
    uuid: str
    total: int
    used: int | None
    free: int | None
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    driver: str = ""
    processes: tuple[GpuProcess, ...] | None = ()
    power_limit: float | None = None
    graphics_clock: int | None = None
    memory_clock: int | None = None
    throttled: tuple[str, ...] | None = None

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


def gpus(library: Any = None, amd: Any = None) -> tuple[Gpu, ...]:
    """All cards by index, AMD's after NVIDIA's; none when there is no driver, no card, or no permission.

    `library` and `amd` stand in for the modules pynvml and amdsmi, in tests.
    """
    from suite.monitoring import amd as amd_cards
    from suite.monitoring import nvidia

    found = nvidia.cards(library)
    return (*found, *amd_cards.cards(amd, len(found)))


def within(value: Any, least: float, most: float) -> Any:
    """A number that a driver gave, or None where it is none (`N/A`) or cannot be: negative, too large, all bits set."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if least <= value <= most else None


def said(ask: Callable[[], Any]) -> Any:
    """A driver's answer, or None where it has none, for whatever reason: what a card does not support is an error there, and a driver may fail."""
    try:
        return ask()
    except Exception:  # noqa: BLE001 - each library has errors of its own, and an old one lacks functions; a missing number must end nothing
        return None


def text(value: Any) -> str:
    """What a driver calls something."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
