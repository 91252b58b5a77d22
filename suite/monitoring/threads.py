"""For whom the threads of this process work, by their names, and how much of the processor they took."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.monitoring.table import counter_family, gauge_family

OTHER = "other"
OF_SERVERS = ("decode-", "child-", "wake-", "drain-", "restart-", "idle-")  # and then the server's name
BEGINNINGS = {
    "suite-http": "http", "suite-events": "http", "suite-close": "http", "AnyIO worker": "http", "suite-choices": "api-gateway",
    "suite-usage": "api-gateway", "suite-vectors": "qdrant", "suite-memory": "memory-api", "suite-maintainer": "memory-maintainer",
    "suite-scrape": "monitoring", "suite-notify": "monitoring", "suite-loki": "monitoring", "suite-parser": "rag", "suite-lane": "mcp-server",
    "suite-mail": "mcp-server", "suite-web": "mcp-server", "suite-backup": "backup", "suite-panel": "panels", "suite-start": "stack",
    "suite-stop": "stack"}


def part_of(name: str) -> str:
    """The part that a thread of this name works for."""
    for beginning in OF_SERVERS:
        if name.startswith(f"{beginning}inference-"):
            return name.removeprefix(beginning)
    return next((part for beginning, part in BEGINNINGS.items() if name.startswith(beginning)), OTHER)


class ThreadSeries(Collector):
    """`suite_part_threads` and `suite_part_cpu_seconds_total`, read at the moment of the scrape.

    A thread that a library made by itself has no name here and counts as other: most of what llama.cpp computes.
    """

    def __init__(self, read: Callable[[], Iterable[tuple[int, float]]] | None = None) -> None:
        """`read` gives id and processor seconds of each thread, in tests."""
        self._read, self._me = read or self._ours, psutil.Process()
        self._last: dict[int, tuple[str, float]] = {}
        self._ended: Counter[str] = Counter()  # processor seconds of threads that are gone: a counter never falls

    def collect(self) -> Iterable[Metric]:
        """The families; none where the system does not show threads."""
        names = {thread.native_id: part_of(thread.name) for thread in threading.enumerate()}
        try:
            now = {id: (names.get(id, OTHER), seconds) for id, seconds in self._read()}
        except psutil.Error:
            return []
        for id, (part, seconds) in self._last.items():
            if id not in now or now[id][1] < seconds or now[id][0] != part:  # gone, and perhaps another has its id
                self._ended[part] += seconds
        self._last = now
        threads, spent = gauge_family("suite_part_threads"), counter_family("suite_part_cpu_seconds_total")
        counts = Counter(part for part, _ in now.values())
        sums = Counter(self._ended)
        for part, seconds in now.values():
            sums[part] += seconds
        for part in sorted({*counts, *sums}):
            threads.add_metric((part,), counts[part])
            spent.add_metric((part,), sums[part])
        return [threads, spent]

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known."""
        return []

    def _ours(self) -> Iterable[tuple[int, float]]:
        return [(row.id, row.user_time + row.system_time) for row in self._me.threads()]
