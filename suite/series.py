"""Which numbers each part of a stack gives, and at which target."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from suite.backup.series import BackupSeries
from suite.embedding.series import EmbeddingSeries
from suite.gateway.series import BreakerSeries
from suite.host import PORTS
from suite.maintainer.series import MaintainerSeries
from suite.memory.series import MemorySeries
from suite.monitoring.hostinfo import GpuSeries, HostSeries
from suite.monitoring.metric import Metrics, ReadySeries, ServingSeries
from suite.monitoring.probe import guarded
from suite.monitoring.table import MONITORING, SERVERS
from suite.tools.access_series import AccessSeries
from suite.vectors.series import VectorSeries


class Measured(Protocol):
    """What is asked of a stack."""

    data: Path
    parts: Mapping[str, Any]
    audit: Any
    actors: Any
    backups: Any


def give_series(metrics: Metrics, stack: Measured) -> None:
    """Let each part give its numbers at the moment of a scrape."""
    parts = stack.parts
    given: list[tuple[str, Any]] = [
        ("api-gateway", BreakerSeries(parts["api-gateway"])), ("embedding", EmbeddingSeries(parts["embedding"])),
        ("memory-api", MemorySeries(parts["memory-api"].series)), ("mcp-server", AccessSeries(stack.audit, stack.actors.policy)),
        (MONITORING, HostSeries(stack.data)), (MONITORING, GpuSeries()), (MONITORING, BackupSeries(stack.backups.standing)),
        (MONITORING, MaintainerSeries(parts["memory-maintainer"])), *((name, ServingSeries(parts[name].stats)) for name in SERVERS)]
    if hasattr(parts["qdrant"], "stats"):  # a server by URL has metrics of its own
        given.append(("qdrant", VectorSeries(parts["qdrant"].stats)))
    given += [(name if name in PORTS else MONITORING, ReadySeries(name, partial(guarded, part.ready))) for name, part in parts.items()]
    for job, series in given:
        metrics.registry(job).register(series)
