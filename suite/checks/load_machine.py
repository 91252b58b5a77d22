"""The machine under a load, as the stack's own monitoring sees it."""

from __future__ import annotations

from typing import Any

from suite.checks.target import Target
from suite.errors import SuiteError
from suite.monitoring.exposition import Sample, samples

UNKNOWN = -1.0  # in a column of numbers: nobody says
MACHINE = ("cpu", "rss_bytes", "vram_bytes")
_METRICS = ("suite_host_cpu_ratio", "suite_process_resident_bytes", "suite_gpu_memory_bytes")


def machine(target: Target) -> dict[str, float]:
    """How busy the processors are (0 to 1), bytes of the host and its children, and of all cards; UNKNOWN where nobody says."""
    found = dict.fromkeys(MACHINE, UNKNOWN)
    if "monitoring" not in target.urls:
        return found
    try:
        answer = target.call("GET", "monitoring", "/metrics/monitoring")
        text = answer.text if answer.is_success else ""
        # the page has hundreds of lines, and the load shares the machine with whoever reads them
        rows = samples("".join(f"{line}\n" for line in text.splitlines() if line.startswith(_METRICS)))
    except SuiteError:
        return found
    return {name: _sum(rows, metric) for name, metric in zip(MACHINE, _METRICS, strict=True)}


def busiest(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The most of each, among rows; None where no row says."""
    most = {name: max(row.get(name, UNKNOWN) for row in rows) for name in MACHINE}
    return {name: None if value == UNKNOWN else value for name, value in most.items()}


def _sum(rows: list[Sample], metric: str) -> float:
    values = [row.value for row in rows if row.name == metric and row.labels.get("kind", "used") == "used"]
    return sum(values) if values else UNKNOWN
