"""How each check stands in the newest reports, as Prometheus series."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.monitoring.table import gauge_family

NAME = re.compile(r"^(?P<stamp>\d{8}T\d{6}Z)(?:-(?P<number>\d+))?-(?P<runbook>.+)\.ipynb$")  # the names that an execution gives its reports
RELEASE = re.compile(r"^(?P<stamp>\d{8}T\d{6}Z)-.+$")  # the folders of releases, each with the notebooks of its phases
MOST_RELEASES = 5  # newest folders that are looked into
MOST_UNFINISHED = 5  # newer reports of one runbook that may be unfinished, or of an older version: those before them are not looked at


class CheckSeries(Collector):
    """`suite_check_state` and `suite_runbook_age_seconds`, of the newest report of each runbook in a folder of reports.

    The notebooks of the newest releases are among them. A report is read again only when its file has changed. One that is still being written, or
    holds no verdict, counts for nothing.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._read: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}

    def collect(self) -> Iterable[Metric]:
        """A sample for each check in its present state, and one for each runbook."""
        states, ages = gauge_family("suite_check_state"), gauge_family("suite_runbook_age_seconds")
        newest: dict[str, tuple[float, int, str]] = {}
        for runbook, found in sorted(self._newest().items()):
            ages.add_metric((runbook,), max(0.0, self._clock() - found["at"]))
            for row in found["checks"]:
                newest[row["check"]] = max(newest.get(row["check"], (0.0, 0, "")), (found["at"], row["phase"], row["state"]))
        for check, (_, phase, state) in sorted(newest.items()):
            states.add_metric((check, str(phase), state), 1)
        return [states, ages]

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known, and asking for them costs a look at the reports."""
        return []

    def _newest(self) -> dict[str, dict[str, Any]]:
        """What the newest finished report of each runbook says."""
        named = [(found["stamp"], int(found["number"] or 1), found["runbook"], path) for path in self._folder.glob("*.ipynb")
                 if (found := NAME.match(path.name))] + list(self._of_releases())
        by_runbook: dict[str, list[Path]] = {}
        for _, _, runbook, path in sorted(named, reverse=True):
            by_runbook.setdefault(runbook, []).append(path)
        looked = {str(path) for paths in by_runbook.values() for path in paths[:MOST_UNFINISHED]}
        self._read = {name: kept for name, kept in self._read.items() if name in looked}
        found = {}
        for runbook, paths in by_runbook.items():
            said = next((said for path in paths[:MOST_UNFINISHED] if (said := self._said(path))), None)
            if said is not None:
                found[runbook] = said
        return found

    def _of_releases(self) -> Iterable[tuple[str, int, str, Path]]:
        """Stamp, number, runbook and file of the notebooks in the newest release folders."""
        try:
            folders = sorted((found for name in os.listdir(self._folder) if (found := RELEASE.match(name)) and (self._folder / name).is_dir()),
                             key=lambda found: found[0])
        except FileNotFoundError:  # nothing was ever reported
            return
        for found in folders[-MOST_RELEASES:]:
            for path in (self._folder / found[0]).glob("*.ipynb"):
                yield found["stamp"], 1, path.stem, path

    def _said(self, path: Path) -> dict[str, Any] | None:
        try:
            seen = os.stat(path)
            stamp = (seen.st_mtime_ns, seen.st_size)
            if str(path) not in self._read or self._read[str(path)][0] != stamp:
                self._read[str(path)] = (stamp, _summary(path))
            return self._read[str(path)][1]
        except OSError:  # pruned meanwhile
            return None


def _summary(path: Path) -> dict[str, Any] | None:
    """What an execution wrote into its report: when it ended, and the state of each check; None of anything else."""
    try:
        said = json.loads(path.read_bytes())["metadata"]["suite"]
        checks = [{"check": str(row["check"]), "phase": int(row["phase"]), "state": str(row["state"])} for row in said["checks"]]
        return {"at": float(said["at"]), "checks": checks}
    except (ValueError, KeyError, TypeError):
        return None
