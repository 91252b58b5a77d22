"""What is watched of a stack: which numbers each part gives, at which target, and who is told when something is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from suite.backup.series import BackupSeries
from suite.embedding.series import EmbeddingSeries
from suite.gateway.series import BreakerSeries
from suite.host import PORTS
from suite.maintainer.series import MaintainerSeries
from suite.memory.series import MemorySeries
from suite.monitoring.alertmanager import Alertmanager
from suite.monitoring.gpu import Glance, gpus
from suite.monitoring.hostinfo import GpuSeries, HostSeries
from suite.monitoring.load_dashboards import load_dashboards
from suite.monitoring.load_rules import load_rules
from suite.monitoring.log import FileLog
from suite.monitoring.metric import Metrics, ReadySeries, ServingSeries
from suite.monitoring.model_memory import ModelMemory, ModelMemorySeries, resident, with_rest
from suite.monitoring.monitor import Monitor
from suite.monitoring.probe import guarded
from suite.monitoring.scaling import scaling_rules
from suite.monitoring.scrape import Target
from suite.monitoring.sink import MailSink, WebhookSink
from suite.monitoring.table import MONITORING, ROWS, SERVERS
from suite.monitoring.threads import ThreadSeries
from suite.monitoring.watch import Told, WatchSeries
from suite.runbooks.series import CheckSeries
from suite.tools.access_series import AccessSeries
from suite.vectors.series import VectorSeries

ALERTS, LOGS, DASHBOARD = "alerts", "logs", "dashboard"
SILENT = {ALERTS, LOGS, DASHBOARD}  # ports that give no metrics of their own; their requests are counted at MONITORING


class WatchSettings(Protocol):
    """The settings that say what is watched, and who is told."""

    monitoring_enabled: bool
    monitoring_interval: float
    monitoring_days: float
    alertmanager_enabled: bool
    alertmanager_url: str
    alert_webhook_url: str
    alert_webhook_token: str
    approval_timeout: float
    smtp_host: str
    smtp_to: str


class Measured(Protocol):
    """What is asked of a stack."""

    data: Path
    settings: Any
    parts: Mapping[str, Any]
    audit: Any
    actors: Any
    backups: Any
    clock: Callable[[], float]


def give_series(metrics: Metrics, stack: Measured) -> Callable[[], list[ModelMemory]]:
    """Let each part give its numbers at the moment of a scrape; gives what says how much memory each model holds."""
    parts, cards = stack.parts, Glance(gpus, clock=stack.clock)

    def models() -> list[ModelMemory]:
        seen = cards()
        return with_rest([row for name in SERVERS for row in parts[name].memory(seen)], resident(), seen)

    given: list[tuple[str, Any]] = [
        ("api-gateway", BreakerSeries(parts["api-gateway"])), ("embedding", EmbeddingSeries(parts["embedding"])),
        ("memory-api", MemorySeries(parts["memory-api"].series)), ("mcp-server", AccessSeries(stack.audit, stack.actors.policy, stack.clock)),
        *((name, ServingSeries(parts[name].stats)) for name in SERVERS)]
    given += [(MONITORING, series) for series in (
        HostSeries(stack.data), ThreadSeries(), GpuSeries(cards), ModelMemorySeries(models), CheckSeries(stack.settings.reports_dir, stack.clock),
        BackupSeries(stack.backups.standing), MaintainerSeries(parts["memory-maintainer"], stack.clock))]
    if hasattr(parts["qdrant"], "stats"):  # a server by URL has metrics of its own
        given.append(("qdrant", VectorSeries(parts["qdrant"].stats)))
    given += [(name if name in PORTS else MONITORING, ReadySeries(name, partial(guarded, part.ready))) for name, part in parts.items()]
    for job, series in given:
        metrics.registry(job).register(series)
    return models


def unwatched(settings: WatchSettings) -> set[str]:
    """The ports that are not opened because these settings switch off what they serve."""
    return {MONITORING, ALERTS, DASHBOARD} if not settings.monitoring_enabled else set() if settings.alertmanager_enabled else {ALERTS}


def watching(monitor: Monitor | None, log: FileLog) -> dict[str, Any]:
    """What holds of three settings in a running stack: whether it is watched, whether anybody is told, days that lines of the log are kept."""
    return {"monitoring_enabled": monitor is not None, "alertmanager_enabled": monitor is not None and monitor.watch.telling,
            "loki_retention": log.reader.days}


def monitor(metrics: Metrics, folder: Path, addresses: Mapping[str, str], settings: WatchSettings, mail: Callable[[str, str], None],
            models: Callable[[], list[ModelMemory]] = list, clock: Callable[[], float] = time.time) -> Monitor:
    """The monitoring of a stack whose ports are at `addresses`; `mail` sends a subject and a text, `models` says what each model holds.

    Raises SettingsError for rules and panels that cannot work, StorageError when what was seen before cannot be read.
    """
    own = {MONITORING: f"/metrics/{MONITORING}"}
    targets = [Target(job, address, f"http://{address}{own.get(job, '/metrics')}") for job, address in addresses.items() if job not in SILENT]
    rules = load_rules(table=ROWS, interval=settings.monitoring_interval, thresholds={"ApprovalOverdue": settings.approval_timeout})
    rules += scaling_rules(ROWS, settings.monitoring_interval)
    dashboards = load_dashboards(ROWS, interval=settings.monitoring_interval)
    made = Monitor(metrics, targets, folder, rules, told(settings, mail), settings.monitoring_interval, settings.monitoring_days,
                   dashboards=dashboards, models=models, clock=clock)
    metrics.registry(MONITORING).register(WatchSeries(made.watch, clock))
    metrics.registry(MONITORING).register(made.watch.rehearsals)
    return made


def told(settings: WatchSettings, mail: Callable[[str, str], None]) -> Told:
    """Who is told of alerts by these settings."""
    sinks: list[Any] = [MailSink(mail)] if settings.smtp_host and settings.smtp_to else []
    if settings.alert_webhook_url:
        token = settings.alert_webhook_token
        sinks.append(WebhookSink(settings.alert_webhook_url, {"Authorization": f"Bearer {token}"} if token else None))
    there = Alertmanager(settings.alertmanager_url) if settings.alertmanager_url and settings.alertmanager_enabled else None
    return Told(tuple(sinks), there, settings.alertmanager_enabled)
