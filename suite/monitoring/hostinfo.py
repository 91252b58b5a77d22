"""The machine, this process and its children, as Prometheus metrics read at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.monitoring.gpu import Gpu, gpus
from suite.monitoring.nvidia import REASONS
from suite.monitoring.table import counter_family, gauge_family

KERNEL, CHILDREN = "kernel", "children"
GPU_FAMILIES = ("memory_bytes", "utilisation_ratio", "temperature_celsius", "power_watts", "power_limit_watts", "clock_hertz", "throttled")


class HostSeries(Collector):
    """`suite_host_*` and `suite_process_*`; `data` is a folder on the disk that is watched."""

    def __init__(self, data: Path) -> None:
        self._data, self._me = data, psutil.Process()
        self._ended = 0.0  # processor seconds of children that have ended since they were last seen
        self._children: dict[tuple[int, float], float] = {}
        self._pids: list[int] = []
        self._kin: list[psutil.Process] = []
        psutil.cpu_percent()  # the first answer is about nothing, each further one about the time since

    def collect(self) -> Iterable[Metric]:
        """The families."""
        yield gauge_family("suite_host_cpu_ratio", psutil.cpu_percent() / 100)
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._data))
        yield _kinds("suite_host_memory_bytes", total=memory.total, available=memory.available)
        yield _kinds("suite_host_disk_bytes", total=disk.total, free=disk.free)
        yield from self._processes()

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known."""
        return []

    def _processes(self) -> Iterator[Metric]:
        now: dict[tuple[int, float], float] = {}
        resident = 0
        for child in self._descendants():
            try:
                with child.oneshot():
                    spent, held = child.cpu_times(), child.memory_info().rss
                    now[(child.pid, child.create_time())] = spent.user + spent.system
                    resident += held
            except psutil.Error:
                continue  # it has ended meanwhile
        self._ended += sum(seconds for key, seconds in self._children.items() if key not in now)
        self._children = now
        with self._me.oneshot():
            mine = self._me.cpu_times()
            sizes = gauge_family("suite_process_resident_bytes")
            sizes.add_metric((KERNEL,), self._me.memory_info().rss)
            sizes.add_metric((CHILDREN,), resident)
            yield sizes
            seconds = counter_family("suite_process_cpu_seconds_total")
            seconds.add_metric((KERNEL,), mine.user + mine.system)
            seconds.add_metric((CHILDREN,), self._ended + sum(now.values()))
            yield seconds
            yield gauge_family("suite_process_threads", self._me.num_threads())


    def _descendants(self) -> list[psutil.Process]:
        """All children and theirs. To find them each process of the machine is read, so that is done only when one has begun or ended."""
        pids = psutil.pids()
        if pids != self._pids:
            self._pids, self._kin = pids, self._me.children(recursive=True)
        return self._kin


class GpuSeries(Collector):
    """`suite_gpu_*`, a sample per card; none where there is no card, and of what a driver does not say."""

    def __init__(self, cards: Callable[[], Iterable[Gpu]] = gpus) -> None:
        self._cards = cards

    def collect(self) -> Iterable[Metric]:
        """The families that have a sample."""
        families = {name: gauge_family(f"suite_gpu_{name}") for name in GPU_FAMILIES}
        for card in self._cards():
            which = str(card.index)
            known: dict[str, dict[tuple[str, ...], float | None]] = {
                "memory_bytes": {("total",): card.total, ("used",): card.used}, "temperature_celsius": {(): card.temperature},
                "utilisation_ratio": {(): None if card.utilisation is None else card.utilisation / 100}, "power_watts": {(): card.power},
                "power_limit_watts": {(): card.power_limit},
                "clock_hertz": {(kind,): None if clock is None else clock * 1e6
                                for kind, clock in (("graphics", card.graphics_clock), ("memory", card.memory_clock))},
                "throttled": {(reason,): float(reason in card.throttled) for reason in dict.fromkeys((*REASONS.values(), *card.throttled))}
                if card.throttled is not None else {}}
            for name, values in known.items():
                for labels, value in values.items():
                    if value is not None:
                        families[name].add_metric((which, *labels), value)
        return [family for family in families.values() if family.samples]

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the driver."""
        return []


def _kinds(name: str, **values: float) -> Metric:
    family = gauge_family(name)
    for kind, value in values.items():
        family.add_metric((kind,), value)
    return family
