"""Fire drills of the rules about the machine and its GPU, which nobody fills or heats for a drill: who is asked about them says that they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from suite.checks.fire import Cause, Fire, Scene, bent
from suite.monitoring import hostinfo

GB = 10**9
TOTAL = 1000 * GB
ALL_LAYERS = 99


class Machine:
    """What hostinfo asks about the machine, with other answers to some questions."""

    def __init__(self, honest: Any, **answers: Callable[..., Any]) -> None:
        self._honest = honest
        vars(self).update(answers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


def told(**answers: Any) -> Cause:
    """The system answers questions about the machine like this."""
    @contextmanager
    def cause(scene: Scene) -> Iterator[None]:
        given = {name: lambda *_, answer=answer: answer for name, answer in answers.items()}
        with bent(hostinfo, "psutil", Machine(hostinfo.psutil, **given)):
            yield

    return cause


@contextmanager
def at_rest() -> Iterator[None]:
    """The system says that the machine has nothing to do and room enough, whatever else runs on it, and though drills keep it busy."""
    given = {"cpu_percent": lambda *_: 5.0, "virtual_memory": lambda: SimpleNamespace(total=64 * GB, available=32 * GB),
             "disk_usage": lambda _: SimpleNamespace(total=TOTAL, free=TOTAL // 2)}
    with bent(hostinfo, "psutil", Machine(hostinfo.psutil, **given)):
        yield


def memory(part: float) -> Cause:
    """So much of the memory is available."""
    return told(virtual_memory=SimpleNamespace(total=64 * GB, available=int(64 * GB * part)))


def disk(free: float, total: float = TOTAL) -> Cause:
    """So many bytes of the disk are free."""
    return told(disk_usage=SimpleNamespace(total=int(total), free=int(free)))


def card(used: float = 0.2, celsius: int = 40) -> Cause:
    """The driver tells of a card of which such a part is used, and which is so hot."""
    @contextmanager
    def cause(scene: Scene) -> Iterator[None]:
        total = 24 * GB
        driver = SimpleNamespace(
            nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlSystemGetDriverVersion=lambda: "1.0", nvmlDeviceGetCount=lambda: 1,
            nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetName=lambda _: "drill", nvmlDeviceGetUUID=lambda _: "GPU-drill",
            nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=total, used=int(total * used), free=int(total * (1 - used))),
            nvmlDeviceGetTemperature=lambda *_: celsius)
        honest = sys.modules.get("pynvml")
        sys.modules["pynvml"] = driver  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules["pynvml"]
            if honest is not None:
                sys.modules["pynvml"] = honest

    return cause


@contextmanager
def unused_card(scene: Scene) -> Iterator[None]:
    """The chat model is to lie on a card, and after its load no more of the card is used than before."""
    server = scene.stack.parts["inference-chat"]
    asked = {name: value for name, value in vars(server.settings).items() if name != "source"} | {"chat_n_gpu_layers": ALL_LAYERS}
    with card()(scene):
        with bent(server, "settings", type(server.settings)(asked, server.settings.source)):
            _reload(server)
        yield
        _reload(server)


def _reload(server: Any) -> None:
    server.unload()
    server.load()


FIRES = (
    Fire("HostMemoryLow/warning", "reported", "the system said that 10 % of the memory are available", memory(0.1)),
    Fire("HostMemoryLow/critical", "reported", "the system said that 3 % of the memory are available", memory(0.03)),
    Fire("HostBusy/warning", "reported", "the system said that the processor is 95 % busy", told(cpu_percent=95.0)),
    Fire("DiskSpaceLow/warning", "reported", "the system said that 10 % of the disk are free", disk(0.1 * TOTAL)),
    Fire("DiskBytesLow/warning", "reported", "the system said that 15 GB of the disk are free", disk(15 * GB)),
    Fire("DiskBytesLow/critical", "reported", "the system said that 1 GB of the disk is free", disk(GB)),
    Fire("GpuMemoryHigh/warning", "reported", "the driver told of a card that is 95 % full", card(used=0.95)),
    Fire("GpuNotUsed/warning", "reported", "the driver told of a card that was no fuller after a model was loaded onto it", unused_card),
    Fire("GpuHot/warning", "reported", "the driver told of a card of 92 °C", card(celsius=92)),
)
