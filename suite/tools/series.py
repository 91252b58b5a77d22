"""Calls of tools as Prometheus metrics, counted as they happen."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from suite.monitoring.table import counter, histogram

LIMITED = "limited"  # an outcome beside those of the audit trail: a limit refused the call


class ToolSeries:
    """`suite_tool_*` and `suite_access_decisions_total`; `trace`, where there is one, is told of each run: a name and its seconds."""

    def __init__(self, registry: CollectorRegistry, trace: Callable[[str, float], None] | None = None) -> None:
        self._trace = trace
        self._calls, self._seconds = counter("suite_tool_calls_total", registry), histogram("suite_tool_seconds", registry)
        self._decisions = counter("suite_access_decisions_total", registry)
        for outcome in ("allowed", "denied", "ask"):
            self._decisions.labels(outcome)  # a rate needs the zero before the first

    def decided(self, outcome: str) -> None:
        """Somebody's wish was allowed, denied, or put to somebody else."""
        self._decisions.labels(outcome).inc()

    def ended(self, tool: str, outcome: str) -> None:
        """A call has come to its end, or waits for an approval."""
        self._calls.labels(tool, outcome).inc()

    def worked(self, tool: str, seconds: float) -> None:
        """A tool has run, well or not."""
        self._seconds.labels(tool).observe(seconds)
        if self._trace is not None:
            self._trace(f"tool {tool}", seconds)
