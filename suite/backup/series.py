"""How well the data is backed up, as Prometheus metrics, read at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.backup.listing import Standing
from suite.monitoring.table import gauge_family


class BackupSeries(Collector):
    """`standing` is that of the stack's backups. Where no snapshot was ever verified there is no age and no time to restore."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    def collect(self) -> Iterable[Metric]:
        """The families; none while the folder cannot be read."""
        try:
            now = self._standing()
        except OSError:
            return
        if now.rpo_s is not None and now.rto_s is not None:
            yield gauge_family("suite_backup_verified_age_seconds", now.rpo_s)
            yield gauge_family("suite_backup_restore_seconds", now.rto_s)
        snapshots = gauge_family("suite_backup_snapshots")
        snapshots.add_metric(("yes",), now.verified)
        snapshots.add_metric(("no",), now.snapshots - now.verified)
        yield snapshots
        yield gauge_family("suite_backup_bytes", now.bytes)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at every manifest."""
        return []
